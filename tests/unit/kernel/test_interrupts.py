"""What signal handlers raise while a program does its I/O comes out of the call, tears nothing and blames nobody."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from rackactor.kernel import interrupts
from rackactor.kernel.leader import Leader
from rackactor.kernel.transport import seqpacket


@pytest.fixture
def usr1() -> Iterator[None]:
    before = signal.getsignal(signal.SIGUSR1)
    yield
    signal.signal(signal.SIGUSR1, before)
    interrupts.pending = None


def led(run_once: Any) -> Leader:
    """Return a leader whose loop is this."""
    return Leader(run_once, lambda: None, lambda: None, lambda error: None)


@pytest.mark.parametrize("error", [BrokenPipeError("nobody reads"), KeyboardInterrupt()])
def test_what_a_handler_of_ours_raises_waits_until_nothing_is_half_done(usr1: None, error: BaseException) -> None:
    done: list[str] = []

    def run_once(timeout: float | None) -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        done.append("what was begun")
        leader.unprotect()
        done.append("too much")

    leader = led(run_once)
    signal.signal(signal.SIGUSR1, lambda *_: interrupts.raise_when_safe(error))
    try:
        with pytest.raises(type(error)):
            leader.wait(lambda: False, 5)
    finally:
        leader.close()
    assert done == ["what was begun"]
    assert interrupts.pending is None


def test_elsewhere_it_is_raised_at_once(usr1: None) -> None:
    with pytest.raises(BrokenPipeError):
        interrupts.raise_when_safe(BrokenPipeError())


def test_what_was_put_off_can_be_withdrawn(usr1: None) -> None:
    error = BrokenPipeError()
    interrupts.busy = True
    try:
        interrupts.raise_when_safe(error)
        interrupts.withdraw(BrokenPipeError())
        assert interrupts.pending is error
        interrupts.withdraw(error)
    finally:
        interrupts.busy = False
    interrupts.release()


@pytest.mark.parametrize("order", [1, -1])
def test_a_ctrl_c_is_not_lost_for_another_error(usr1: None, order: int) -> None:
    lost_pipe = BrokenPipeError()
    interrupts.busy = True
    try:
        for error in [KeyboardInterrupt(), lost_pipe][::order]:
            interrupts.raise_when_safe(error)
        interrupts.withdraw(lost_pipe)
    finally:
        interrupts.busy = False
    with pytest.raises(KeyboardInterrupt):
        interrupts.release()


def test_nobody_is_blamed_for_what_a_handler_of_the_program_raises(usr1: None) -> None:
    """Until a program is seen to have handlers, one may interrupt the reading of a message."""
    near, far = seqpacket.socket.socketpair(seqpacket.socket.AF_UNIX, seqpacket.socket.SOCK_SEQPACKET)
    blamed: list[Exception] = []
    ours: dict[str, Any] = {"__name__": "rackactor.somewhere", "os": os, "signal": signal}
    exec("def take(*_): os.kill(os.getpid(), signal.SIGUSR1)", ours)
    take = ours["take"]

    def handler(*_: Any) -> None:
        raise LookupError("the program's own")

    signal.signal(signal.SIGUSR1, handler)
    with near, far:
        near.setblocking(False)
        far.send(seqpacket.msgpack.packb([1]))
        with pytest.raises(LookupError):
            seqpacket.receive(near, take, lambda _, error: blamed.append(error))
        far.send(b"\xc1")
        assert seqpacket.receive(near, take, lambda _, error: blamed.append(error))
    assert len(blamed) == 1
