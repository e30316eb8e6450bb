"""The timer that brings the background thread to the loop."""

from __future__ import annotations

import os
import select
import time

import pytest

from rackactor.kernel import leader, timerfd
from rackactor.kernel.timerfd import Timer


def fires(timer: Timer) -> bool:
    poller = select.poll()
    poller.register(timer.fd, select.POLLIN)
    return bool(poller.poll(2000))


def test_it_can_be_armed_after_another_thread_armed_it_while_it_was_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    timer, read = Timer(), os.read

    def interrupted(fd: int, count: int) -> bytes:
        timer.arm(0.001)
        time.sleep(0.02)
        return read(fd, count)

    try:
        timer.arm(0.001)
        assert fires(timer)
        monkeypatch.setattr(timerfd.os, "read", interrupted)
        timer.clear()
        monkeypatch.undo()
        timer.arm(0.001)
        assert fires(timer)
    finally:
        os.close(timer.fd)


def test_what_was_disarmed_does_not_fire_and_can_be_armed_again() -> None:
    timer = Timer()
    try:
        timer.arm(0.01)
        assert timer.armed
        timer.disarm()
        assert not timer.armed
        poller = select.poll()
        poller.register(timer.fd, select.POLLIN)
        assert not poller.poll(50)
        timer.arm(0.001)
        assert timer.armed
        assert fires(timer)
    finally:
        os.close(timer.fd)


@pytest.mark.parametrize("rests", [True, False])
def test_nobody_is_woken_to_look_at_a_process_that_rests_in_the_loop(rests: bool) -> None:
    armed: list[bool] = []

    def run_once(timeout: float | None) -> None:
        armed.append(turner._timer.armed)

    turner = leader.Leader(run_once, lambda: None, lambda: None, lambda error: None)
    try:
        turner.turn()
        assert turner._timer.armed
        turner.rests = rests
        assert turner.wait(lambda: armed, 1)
        assert armed == [not rests]
        assert turner._timer.armed
    finally:
        turner.close()
