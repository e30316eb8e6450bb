"""Handlers, functions and hooks that wait: `async def`, tasks, and what cancels them."""

from __future__ import annotations

import asyncio
import functools
import signal
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from handlertargets import ENOUGH, Counter
from support import eventually
from thespian.actors import Actor
from thespian.troupe import troupe

import rackactor as rack


class Waiting(rack.Actor):
    """Have handlers that wait."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    async def receiveMsg_float(self, seconds: float, sender: Any) -> None:
        self.seen.append(f"begin {seconds}")
        await asyncio.sleep(seconds)
        self.seen.append(f"end {seconds}")
        self.send(sender, self.seen)

    async def receiveMsg_str(self, message: str, sender: Any) -> None:
        await asyncio.sleep(0)
        raise ValueError(message)

    def receiveMsg_int(self, message: int, sender: Any) -> None:
        self.send(sender, self.seen)

    async def receiveMsg_bytes(self, message: bytes, sender: Any) -> None:
        async def later() -> None:
            await asyncio.sleep(0.05)
            self.send(sender, "a task")

        self.task = asyncio.create_task(later())

    async def receiveMsg_list(self, pids: list[int], sender: Any) -> None:
        asked = [asyncio.wrap_future(self.process(pid).submit(number)) for number, pid in enumerate(pids)]
        self.send(sender, await asyncio.gather(*asked))

    async def receiveMsg_dict(self, message: dict[str, Any], sender: Any) -> None:
        self.send(sender, id(asyncio.get_running_loop()))

    async def receiveMsg_bool(self, message: bool, sender: Any) -> Any:
        return self.SUPER

    async def receiveSignal(self, sig: str, sender: int) -> None:
        await asyncio.sleep(0)
        self.seen.append(sig)

    async def receiveUnrecognizedMessage(self, message: Any, sender: Any) -> None:
        await asyncio.sleep(0)
        self.send(sender, "unrecognized")


class TheirsWaiting(Actor):  # type: ignore[misc]
    """An actor of Thespian's own class."""

    async def receiveMessage(self, message: Any, sender: Any) -> None:
        await asyncio.sleep(0.01)
        if message == "fail":
            raise ValueError("no")
        if isinstance(message, str):
            self.send(sender, f"heard {message}")


def test_handlers_may_wait(group: rack.Group) -> None:
    actor = group.fork(Waiting)
    assert actor.ask(0.01, ENOUGH) == ["begin 0.01", "end 0.01"]
    with pytest.raises(rack.HandlerFailed, match=r"raised:\nTraceback(.|\n)*ValueError: no luck"):
        actor.ask("no luck", ENOUGH)
    assert actor.ask((), ENOUGH) == "unrecognized"
    assert actor.ask(True, ENOUGH) == ["begin 0.01", "end 0.01"]
    assert actor.ask({}, ENOUGH) == actor.ask({}, ENOUGH), "one loop for all"
    actor.kill("reload")
    assert eventually(lambda: "reload" in actor.ask(0, ENOUGH))


def test_handlers_that_wait_run_one_after_the_other(group: rack.Group) -> None:
    actor = group.fork(Waiting)
    asked = [actor.submit(seconds) for seconds in (0.05, 0.01)]
    assert asked[1].result(ENOUGH) == ["begin 0.05", "end 0.05", "begin 0.01", "end 0.01"]


def test_tasks_go_on_between_messages(group: rack.Group) -> None:
    assert group.fork(Waiting).ask(b"", ENOUGH) == "a task"


def test_replies_can_be_awaited(group: rack.Group) -> None:
    pids = [process.pid for process in group.fork(Counter, n=3)]
    assert group.fork(Waiting).ask(pids, ENOUGH) == [0, 1, 2]


def test_thespians_own_classes_may_wait(group: rack.Group) -> None:
    actor = group.fork(TheirsWaiting)
    assert actor.ask("one", ENOUGH) == "heard one"
    with pytest.raises(rack.HandlerFailed, match="raised twice"):
        actor.ask("fail", ENOUGH)


class Ending(rack.Actor):
    """Tell of an end."""

    async def receiveMsg_float(self, seconds: float, sender: Any) -> None:
        self.task = asyncio.create_task(wait(3600.0, "task"))
        rack.shm["begun"] = True
        await wait(seconds, "handler")

    async def receiveMsg_ActorExitRequest(self, message: Any, sender: Any) -> None:
        await asyncio.sleep(0.01)
        rack.shm["exit"] = "handled"


async def numbers() -> AsyncIterator[int]:
    try:
        for number in range(10):
            yield number
    finally:
        rack.shm["generator"] = "closed"


async def wait(seconds: float, name: str = "function") -> str:
    try:
        async for _ in numbers():
            asyncio.get_running_loop().call_soon(rack.shm.__setitem__, "waits", name)
            await asyncio.sleep(seconds)
            break
    except asyncio.CancelledError:
        rack.shm[name] = "cancelled"
        raise
    return name


def test_the_end_of_an_actor_cancels_what_waits(group: rack.Group) -> None:
    actor = group.fork(Ending)
    asked = actor.submit(3600.0)
    assert eventually(lambda: "begun" in group.shm and "waits" in group.shm)
    begun = time.monotonic()
    actor.kill()
    status = actor.wait(ENOUGH)
    assert (status.code, status.signal) == (143, signal.SIGTERM)
    assert time.monotonic() - begun < 2.0, "its grace was not needed"
    assert [group.shm.get(name) for name in ("handler", "task", "exit")] == ["cancelled", "cancelled", "handled"]
    with pytest.raises(rack.NoSuchProcess):
        asked.result(ENOUGH)


async def add(left: int, right: int = 1) -> int:
    await asyncio.sleep(0)
    return left + right


async def fail() -> None:
    await asyncio.sleep(0)
    raise LookupError("not here")


class Method:
    async def __call__(self) -> str:
        return "called"

    async def method(self) -> str:
        return "method"


async def hook() -> None:
    await asyncio.sleep(0)
    rack.shm["hook"] = "run"


async def on_signal(sig: Any, pid: Any) -> None:
    await asyncio.sleep(0)
    rack.shm["signal"] = str(sig)


async def listen() -> None:
    rack.on_exit(hook)
    rack.signal("reload", on_signal)
    rack.shm["ready"] = True
    while "signal" not in rack.shm:
        await asyncio.sleep(0.01)


def listen_plainly() -> None:
    rack.signal("USR1", on_signal)
    rack.shm["ready"] = True
    while "signal" not in rack.shm:
        time.sleep(0.01)


def test_functions_may_wait(group: rack.Group) -> None:
    assert group.fork(add, 1).result(ENOUGH) == 2
    assert group.fork(functools.partial(add, right=5), 1).result(ENOUGH) == 6
    assert group.fork(Method()).result(ENOUGH) == "called"
    assert group.fork(Method().method).result(ENOUGH) == "method"
    assert [each.result(ENOUGH) for each in group.fork(add, each=[1, 2])] == [2, 3]
    with pytest.raises(LookupError, match="not here") as failed:
        group.fork(fail).result(ENOUGH)
    assert "asyncio" not in str(failed.value.__cause__)


@pytest.mark.parametrize(("sig", "code"), [("TERM", 143), ("INT", 130)])
def test_a_signal_cancels_a_function(group: rack.Group, sig: str, code: int) -> None:
    process = group.fork(wait, 3600.0)
    assert eventually(lambda: "waits" in group.shm)
    process.kill(sig)
    assert process.wait(ENOUGH).code == code
    assert (group.shm.get("function"), group.shm.get("generator")) == ("cancelled", "closed")


@pytest.mark.parametrize(("target", "sig"), [(listen, "reload"), (listen_plainly, "USR1")])
def test_signal_handlers_and_hooks_may_wait(group: rack.Group, target: Any, sig: str) -> None:
    process = group.fork(target)
    assert eventually(lambda: "ready" in group.shm)
    process.kill(sig)
    assert process.wait(ENOUGH).ok
    assert "signal" in group.shm
    assert target is not listen or group.shm["hook"] == "run"


class Yielding(rack.Actor):
    """Have handlers that never run."""

    def receiveMsg_int(self, message: int, sender: Any) -> Iterator[int]:
        yield message

    async def receiveMsg_str(self, message: str, sender: Any) -> AsyncIterator[str]:
        yield message


@pytest.mark.parametrize("message", [1, "text"])
def test_a_handler_with_a_yield_is_refused(group: rack.Group, message: Any) -> None:
    with pytest.raises(rack.HandlerFailed, match="has a `yield`, which makes it a generator: nothing of it has run"):
        group.fork(Yielding).ask(message, ENOUGH)


def test_a_coroutine_is_no_target(group: rack.Group) -> None:
    coroutine = add(1)
    with pytest.raises(rack.InvalidCall, match=r"fork\(add, \.\.\.\), not fork\(add\(\.\.\.\)\)"):
        group.fork(coroutine)
    coroutine.close()


@troupe(max_count=2, idle_count=1)
class Members(rack.Actor):
    """Share work that waits."""

    async def receiveMsg_int(self, message: int, sender: Any) -> None:
        await asyncio.sleep(0.01)
        self.send(sender, -message)


def test_troupes_may_wait(group: rack.Group) -> None:
    class Head(rack.Actor):
        def receiveMsg_list(self, numbers: list[int], sender: Any) -> None:
            self.sender, self.left = sender, set(numbers)
            members = self.createActor(Members)
            for number in numbers:
                self.send(members, number)

        def receiveMsg_int(self, number: int, sender: Any) -> None:
            self.left.discard(-number)
            if not self.left:
                self.send(self.sender, "done")

    assert group.fork(Head).ask([1, 2, 3, 4], ENOUGH) == "done"
