"""Whether a poll stays awake: staying awake must pay, and on a busy machine it does not."""

from __future__ import annotations

import os
import select

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackactor.kernel.transport import sockets as sockets_module
from rackactor.kernel.transport.sockets import Sockets
from rackactor.kernel.transport.spinning import WAKEFUL, Wakefulness


def _converse(
    wakefulness: Wakefulness, took: float, found: bool, turns: int, pause: float = 0.0001
) -> tuple[int, float]:
    """Have as many polls as that, each `pause` seconds after the last; return (tries, seconds spent on them)."""
    now, tries = 0.0, 0
    for _ in range(turns):
        if now >= wakefulness.again:
            wakefulness.ended(now, now + took, found)
            tries, now = tries + 1, now + took
        now += pause
    return tries, tries * took


def test_in_a_lively_conversation_every_poll_stays_awake() -> None:
    tries, _ = _converse(Wakefulness(), 30e-6, True, 1000)
    assert tries == 1000


def test_whoever_loses_the_processor_sleeps_from_then_on() -> None:
    """Ten seconds of a conversation on a busy machine: today's 3 ms for each message become a few tries in all."""
    tries, spent = _converse(Wakefulness(), 0.003, False, 100_000)
    assert tries <= 12
    assert spent <= 0.036


def test_a_lucky_try_on_a_busy_machine_is_not_believed() -> None:
    """Every other try is answered at once; the others lose the processor."""
    wakefulness, now, spent = Wakefulness(), 0.0, 0.0
    for turn in range(100_000):
        if now >= wakefulness.again:
            took = 0.003 if turn % 2 else 30e-6
            wakefulness.ended(now, now + took, not turn % 2)
            spent += took
        now += 0.0001
    assert spent < 0.01 * now


def test_what_was_in_vain_is_tried_again_soon() -> None:
    """An answer that takes a little longer than we stay awake: at most a hundredth of the time goes on tries."""
    tries, spent = _converse(Wakefulness(), WAKEFUL, False, 100_000)
    assert tries > 100
    assert spent < 0.1


def test_a_machine_that_is_quiet_again_is_trusted_again() -> None:
    wakefulness = Wakefulness()
    now = 0.0
    for _ in range(20):
        wakefulness.ended(now, now + 0.01, False)
        now = wakefulness.again
    for _ in range(1000):
        assert now >= wakefulness.again
        wakefulness.ended(now, now + 30e-6, True)
        now += 60e-6
    wakefulness.ended(now, now + 0.003, False)
    assert wakefulness.again - now < 0.1


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.floats(0, 1)), max_size=60))
def test_no_rest_is_longer_than_two_seconds(tries: list[tuple[float, bool, float]]) -> None:
    wakefulness, now = Wakefulness(), 0.0
    for took, found, pause in tries:
        before, began = wakefulness.again, now
        now += took
        wakefulness.ended(began, now, found)
        assert wakefulness.again <= max(before, now + 2.0)
        now += pause


def test_a_poll_that_loses_the_processor_yields_it_once_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The poll itself: a yield that takes 3 ms is the last one for a while."""
    clock = [100.0]
    yields: list[float] = []

    def give_away() -> None:
        yields.append(clock[0])
        clock[0] += 0.003

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return clock[0]

    class Yielding:
        sched_yield = staticmethod(give_away)

        def __getattr__(self, name: str) -> object:
            return getattr(os, name)

    sockets = Sockets()
    try:
        monkeypatch.setattr(sockets_module, "time", Clock)
        monkeypatch.setattr(sockets_module, "os", Yielding())
        for _ in range(20):
            sockets.spin = True
            assert sockets.poll(0.001) == []
            clock[0] += 0.001
        assert len(yields) == 1
        assert isinstance(sockets._poll, select.epoll)
    finally:
        monkeypatch.undo()
        sockets.close()
