"""The timer that brings the background thread to the crank."""

from __future__ import annotations

import os
import select
import time

import pytest

from rackactor import baton
from rackactor.baton import Timer


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
        monkeypatch.setattr(baton.os, "read", interrupted)
        timer.clear()
        monkeypatch.undo()
        timer.arm(0.001)
        assert fires(timer)
    finally:
        os.close(timer.fd)
