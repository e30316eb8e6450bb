"""What becomes of a message: which handler takes it, and how often it runs."""

from __future__ import annotations

import concurrent.futures
import signal
from decimal import Decimal
from typing import Any

import pytest
from handlertargets import ENOUGH, Counter
from support import eventually
from thespian.actors import ActorTypeDispatcher, WakeupMessage

import rackactor as rack
from rackactor.wire.calls.logs import Logs

#: An answer that is given at once comes well before any timeout.
AT_ONCE = 10.0


class Deeper(Counter):
    """Leave some to the class above."""

    def receiveMsg_int(self, message: int, sender: Any) -> Any:
        if message > 0:
            return self.SUPER
        self.send(sender, "mine")
        return None

    def receiveMsg_list(self, message: list[Any], sender: Any) -> Any:
        return self.SUPER


class Taking(Counter):
    """Take the rest."""

    def receiveUnrecognizedMessage(self, message: Any, sender: Any) -> None:
        self.send(sender, ["taken", message])


class Silent(rack.Actor):
    """Have no handler."""


class Waking(Counter):
    """Ask for a wake-up that no handler takes."""

    def receiveMsg_bytes(self, message: bytes, sender: Any) -> None:
        self.wakeupAfter(0)
        self.send(sender, "soon")


@pytest.mark.parametrize(
    ("actor", "message", "words"),
    [
        (Counter, 1.5, "Counter has no handler for float; it has handlers for int, str"),
        (Counter, None, "Counter has no handler for NoneType; it has handlers for int, str"),
        (Counter, Decimal(1), "Counter has no handler for decimal.Decimal; it has handlers for int, str"),
        (Deeper, [], "Deeper has no handler for list; it has handlers for int, list, str"),
        (Silent, 1, "Silent has no handler for int; it has none at all"),
    ],
)
def test_an_ask_that_no_handler_takes_is_answered_at_once(
    group: rack.Group, actor: Any, message: Any, words: str
) -> None:
    process = group.fork(actor)
    with pytest.raises(rack.HandlerFailed) as failed:
        process.ask(message, AT_ONCE)
    assert str(failed.value) == f"process {process.pid}: {words}"
    assert str(process.submit(message).exception(AT_ONCE)) == str(failed.value)
    assert process.is_alive()


def test_numbers_of_numpy_are_named(group: rack.Group) -> None:
    numpy = pytest.importorskip("numpy")
    actor = group.fork(Counter)
    with pytest.raises(rack.HandlerFailed, match=r"no handler for numpy\.int64; .* is no int: send int\(\.\.\.\), or"):
        actor.ask(numpy.int64(3), AT_ONCE)
    assert actor.ask(int(numpy.int64(3)), AT_ONCE) == 3


def test_handlers_of_classes_above(group: rack.Group) -> None:
    actor = group.fork(Deeper)
    assert actor.ask(0, ENOUGH) == "mine"
    assert actor.ask(7, ENOUGH) == 7
    assert actor.ask(True, ENOUGH) == 1, "a bool is an int"
    assert group.fork(Taking).ask(1.5, ENOUGH) == ["taken", 1.5]


def test_a_tell_that_no_handler_takes_is_said_once(group: rack.Group) -> None:
    actor = group.fork(Waking)
    for message in (1.5, 2.5, [], 3.5):
        actor.tell(message)
    assert actor.ask(b"", ENOUGH) == "soon"
    logs: Any = b""

    def printed() -> bool:
        nonlocal logs
        logs = b"".join(text for _, text in lines(group, actor))
        return b"WakeupMessage" in logs

    assert eventually(printed)
    assert logs.count(b"no handler for float") == 1
    assert logs.count(b"no handler for list") == 1
    assert f"a message from process {group.getpid()} was dropped".encode() in logs
    actor.kill()
    assert actor.wait(ENOUGH).signal == signal.SIGTERM


def lines(group: rack.Group, process: rack.Process) -> list[tuple[int, bytes]]:
    """Return what a process has printed so far."""
    import msgpack

    _, blobs = group.kernel.call(Logs(process.pid, 0))
    return [(stream, data) for _, stream, _, data in msgpack.unpackb(blobs[0])]


class Theirs(ActorTypeDispatcher):  # type: ignore[misc]
    """An actor of Thespian's own class."""

    calls = 0

    def receiveMsg_int(self, message: int, sender: Any) -> None:
        self.send(sender, self.calls)

    def receiveMsg_str(self, message: str, sender: Any) -> None:
        self.calls += 1
        raise ValueError(message)


def test_actors_of_thespians_own_classes_keep_its_rules(group: rack.Group) -> None:
    actor = group.fork(Theirs)
    with pytest.raises(rack.HandlerFailed, match="Theirs has no handler for float; it has handlers for int, str"):
        actor.ask(1.5, AT_ONCE)
    with pytest.raises(rack.HandlerFailed, match="the handler for str raised twice:"):
        actor.ask("again", ENOUGH)
    assert actor.ask(0, ENOUGH) == 2


def test_a_handler_runs_once(group: rack.Group) -> None:
    actor = group.fork(Counter)
    with pytest.raises(rack.HandlerFailed, match=r"the handler for str raised:\nTraceback(.|\n)*ValueError: once"):
        actor.ask("once", ENOUGH)
    assert actor.ask(0, ENOUGH) == 1


def test_replies_are_futures_of_the_standard_library(group: rack.Group) -> None:
    actor, echo = group.fork(Counter), group.fork(Taking)
    good, bad, never = actor.submit(1), actor.submit(1.5), group.fork(rack.receive).submit("no answer")
    done, left = concurrent.futures.wait([good, bad], ENOUGH)
    assert (done, left) == ({good, bad}, set())
    assert list(concurrent.futures.as_completed([bad], ENOUGH)) == [bad]
    assert isinstance(bad.exception(ENOUGH), rack.HandlerFailed)
    assert good.exception(ENOUGH) is None
    value = echo.submit([1])
    assert value.result(ENOUGH) is value.result(ENOUGH), "a future has one result"
    with pytest.raises((rack.NoSuchProcess, rack.ProcessDied)):
        never.result(ENOUGH)


def test_a_wake_up_that_is_taken_is_not_told_of(group: rack.Group) -> None:
    class Awake(rack.Actor):
        def receiveMsg_str(self, message: str, sender: Any) -> None:
            self.sender = sender
            self.wakeupAfter(0.01, "now")

        async def receiveMsg_WakeupMessage(self, message: WakeupMessage, sender: Any) -> None:
            self.send(self.sender, message.payload)

    assert group.fork(Awake).ask("wake", ENOUGH) == "now"
