"""What cannot be opened where it arrives says so, and names process and thing; results of any size arrive."""

from __future__ import annotations

import os
import signal
import threading
import urllib.error
from collections.abc import Callable
from email.message import Message
from typing import Any

import pytest
from support import Script
from targets import Echo, answer

import rackactor as rack
from rackactor import current
from rackactor.status import Cause
from rackactor.wire import frames, outcomes
from rackactor.wire.calls.results import ResultPart
from rackactor.wire.schema import Call

ENOUGH = 20.0


class Two(Exception):
    def __init__(self, left: int, right: int) -> None:
        super().__init__(f"{left} and {right}")
        self.left, self.right = left, right


class NotThere:
    """Can be opened in one process only: the one whose OS pid it has."""

    def __init__(self, home: int) -> None:
        self.home = home

    def __setstate__(self, state: dict[str, Any]) -> None:
        if os.getpid() != state["home"]:
            raise ModuleNotFoundError("No module named 'elsewhere'")
        self.__dict__.update(state)


def raise_two() -> None:
    raise Two(1, 2)


def raise_http() -> None:
    raise urllib.error.HTTPError("http://x/", 404, "Not Found", Message(), None)


def return_two() -> Exception:
    return Two(1, 2)


def return_own() -> NotThere:
    return NotThere(os.getpid())


def return_lock() -> Any:
    return threading.Lock()


def reply_own() -> None:
    rack.receive().reply(NotThere(os.getpid()))


def tell_own(pid: int) -> None:
    rack.process(pid).tell(NotThere(os.getpid()))


def put_own(key: str) -> None:
    rack.shm[key] = NotThere(os.getpid())
    rack.shm.append(f"list of {key}", NotThere(os.getpid()))


def write_own(writer: Any) -> None:
    with writer:
        writer.send(NotThere(os.getpid()))
        writer.send("more")


def return_in_parts(size: int, part: int) -> bytes:
    outcomes.PART = part
    return bytes(range(256)) * (size // 256)


def die_in_the_midst() -> bytes:
    """Return a large value, and be killed when a part of it is there."""
    kernel = current.current().kernel
    call = kernel.call

    def once(asked: Call, *args: Any, **options: Any) -> Any:
        answer = call(asked, *args, **options)
        if isinstance(asked, ResultPart):
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    kernel.call = once
    return bytes(outcomes.AT_ONCE + 1)


def give(value: Any) -> Any:
    return value


@pytest.mark.machines
def test_an_exception_that_cannot_be_rebuilt_is_of_its_class(group: rack.Group) -> None:
    raised = group.fork(raise_two)
    with pytest.raises(Two) as two:
        raised.result(ENOUGH)
    error: Any = two.value
    assert isinstance(error, rack.ProcessDied)
    assert (error.left, error.right, error.args, error.pid) == (1, 2, ("1 and 2",), raised.pid)
    assert str(error) == f"process {raised.pid} raised test_opening.Two: 1 and 2"
    assert error.status.cause is Cause.EXCEPTION
    assert "raise Two(1, 2)" in str(error.__cause__)
    with pytest.raises(urllib.error.HTTPError, match="HTTP Error 404: Not Found") as web:
        group.fork(raise_http).result(ENOUGH)
    assert web.value.code == 404


@pytest.mark.machines
@pytest.mark.parametrize("target", [return_two, return_own, return_lock])
def test_a_result_that_cannot_be_opened(group: rack.Group, target: Callable[[], Any]) -> None:
    process = group.fork(target)
    with pytest.raises(rack.ProcessDied, match=r"returned \(of the type \w+\) cannot be") as died:
        process.result(ENOUGH)
    assert died.value.pid == process.pid
    assert f"process {process.pid}" in str(died.value)
    status = died.value.status
    assert status is not None
    assert status.cause is (Cause.EXITED if target is return_own else Cause.EXCEPTION)


def test_replies_and_messages(group: rack.Group) -> None:
    process = group.fork(reply_own)
    with pytest.raises(rack.CannotOpen, match=f"the reply of process {process.pid} cannot be opened here: ModuleNotF"):
        process.ask(1, ENOUGH)
    process = group.fork(reply_own)
    with pytest.raises(rack.CannotOpen, match=f"the reply of process {process.pid} cannot be opened here: ModuleNotF"):
        process.submit(1).result(ENOUGH)
    process = group.fork(tell_own, group.getpid())
    with pytest.raises(rack.CannotOpen, match=f"the message from process {process.pid} cannot be opened here"):
        group.receive(ENOUGH)
    named = f"the message from process {group.getpid()} cannot be opened here: ModuleNotFoundError"
    with pytest.raises(rack.HandlerFailed, match=named):
        group.fork(Echo).ask(NotThere(os.getpid()), ENOUGH)
    receiver = group.fork(answer)
    receiver.tell(NotThere(os.getpid()))
    with pytest.raises(rack.CannotOpen, match=named):
        receiver.result(ENOUGH)


def test_shared_memory_and_pipes(group: rack.Group) -> None:
    group.fork(put_own, "key").wait(ENOUGH)
    reads: list[Callable[[], Any]] = [
        lambda: group.shm["key"],
        lambda: group.shm.get("key"),
        lambda: dict(group.shm.items()),
        lambda: group.shm.pop("list of key"),
    ]
    for read in reads:
        with pytest.raises(rack.CannotOpen, match=r"the value of '.*key' cannot be opened here: ModuleNotFoundError"):
            read()
    reader, writer = group.pipe()
    group.fork(write_own, writer)
    writer.close()
    with reader:
        with pytest.raises(rack.CannotOpen, match=r"a message out of <PipeReader of pipe .*> cannot be opened here"):
            reader.recv(ENOUGH)
        assert reader.recv(ENOUGH) == "more"


@pytest.mark.machines
def test_what_a_birth_brings(group: rack.Group) -> None:
    status = group.fork(give, NotThere(os.getpid())).wait(ENOUGH)
    assert status.cause is Cause.LOAD_FAILED
    assert "the arguments of its birth cannot be opened in process" in status.evidence
    assert "No module named 'elsewhere'" in status.evidence


@pytest.mark.machines
def test_results_in_parts(group: rack.Group) -> None:
    value = return_in_parts(1 << 20, outcomes.PART)
    assert group.fork(return_in_parts, 1 << 20, 1000).result(ENOUGH) == value
    process = group.fork(return_in_parts, 1 << 20, 1 << 20)
    process.wait(ENOUGH)
    assert process.result(ENOUGH) == value


@pytest.mark.parametrize("size", [outcomes.AT_ONCE - (1 << 20), outcomes.AT_ONCE + (1 << 20)])
def test_large_results(group: rack.Group, size: int) -> None:
    made = group.fork(return_in_parts, size, outcomes.PART)
    forgotten = group.fork(return_in_parts, size, outcomes.PART)
    assert forgotten.wait(ENOUGH).ok
    del forgotten
    value = made.result(ENOUGH)
    assert len(value) == size
    assert value[-256:] == bytes(range(256))
    with pytest.raises(rack.InvalidCall, match="handed out"):
        made.result(ENOUGH)


def test_a_process_that_is_killed_while_it_hands_over_its_result_has_none(group: rack.Group) -> None:
    process = group.fork(die_in_the_midst)
    with pytest.raises(rack.ProcessDied, match="ended without a result"):
        process.result(ENOUGH)


def test_what_no_frame_can_carry_is_refused_before_anything_is_done(
    group: rack.Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    echo = group.fork(Echo)
    monkeypatch.setattr(frames, "MAX_MESSAGE", 10_000)
    large = b"x" * 20_000
    refused: list[Callable[[], Any]] = [
        lambda: echo.tell(large),
        lambda: echo.ask(large),
        lambda: echo.submit(large),
        lambda: group.fork(give, large),
        lambda: group.fork(give, name="x" * 20_000),
        lambda: group.fork(["true", "x" * 20_000]),
    ]
    for call in refused:
        with pytest.raises(rack.InvalidCall, match=r"\d+ bytes; at most 10000"):
            call()
    assert echo.ask("still there", ENOUGH) == "still there"
    assert {row["pid"] for row in group.ps()} == {group.getpid(), echo.pid}


class Huge(rack.Actor):
    """Replies with what no frame can carry, and fails with as much to say."""

    def receiveMsg_int(self, message: int, sender: Any) -> None:
        frames.MAX_MESSAGE = message
        self.send(sender, bytes(2 * message))

    def receiveMsg_str(self, message: str, sender: Any) -> None:
        raise ValueError("x" * 200_000)


def test_an_actor_outlives_what_is_too_large(group: rack.Group) -> None:
    actor = group.fork(Huge)
    with pytest.raises(rack.HandlerFailed, match=r"200\d\d\d bytes; at most 100000"):
        actor.ask(100_000, ENOUGH)
    with pytest.raises(rack.HandlerFailed, match="xxx"):
        actor.ask("fail", ENOUGH)
    assert actor.is_alive()


#: Classes of a program's main file.
MAIN = """
import sys
import rackactor as rack

class Two(Exception):
    def __init__(self, left, right):
        super().__init__(left)
        self.right = right

class Slotted:
    __slots__ = ("a",)
    def __init__(self, a):
        self.a = a

def fail():
    raise Two(1, 2)

def make():
    return Slotted(3)

def group():
    raise ExceptionGroup("all", [Two(1, 2), KeyError(1)])

with rack.group() as g:
    try:
        g.fork(fail).result(20)
    except Two as error:
        assert isinstance(error, rack.ProcessDied), error
        print("two", error.right)
    try:
        g.fork(group).result(20)
    except* Two as error:
        print("group", error.exceptions[0].right)
    except* KeyError as error:
        print("key", error.exceptions[0].args)
    print("slotted", g.fork(make).result(20).a)
"""


def test_classes_of_the_main_file(script: Callable[..., Script]) -> None:
    code, out, err = script(MAIN).end()
    assert (code, out) == (0, "two 2\ngroup 2\nkey (1,)\nslotted 3\n"), err
