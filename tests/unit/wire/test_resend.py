"""What two ends of a connection that breaks say again: everything that was lost, in order, and nothing twice."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackactor.wire import resend
from rackactor.wire.resend import ResendBuffer


def test_what_has_arrived_is_not_kept() -> None:
    end = ResendBuffer()
    for number in range(5):
        end.keep(number, 10)
    end.acknowledge(3)
    assert end.resend_from(3) == [3, 4]
    assert end.resend_from(3) == [3, 4], "the answer may be lost as well"
    assert end.resend_from(5) == []
    end.acknowledge(2)  # an old one that comes late
    assert end.resend_from(5) == []


def test_a_sender_hears_before_it_keeps_too_much() -> None:
    end = ResendBuffer()
    assert not end.due
    assert [end.take(0) for _ in range(resend.ACK_MESSAGES)] == [False] * (resend.ACK_MESSAGES - 1) + [True]
    assert end.due
    assert end.tell() == resend.ACK_MESSAGES
    assert not end.due
    assert end.take(resend.ACK_BYTES)


def test_what_is_not_there_any_more_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resend, "LIMIT", 1000)
    end = ResendBuffer()
    for number in range(5):
        end.keep(number, 300)
    assert end.resend_from(0) is None, "the first is gone: what follows must not take its place"
    assert end.resend_from(3) == [3, 4]
    end.keep("too large by itself", 5000)
    assert end.resend_from(5) == ["too large by itself"]


def test_a_count_that_cannot_be() -> None:
    end = ResendBuffer()
    end.keep("a", 1)
    assert end.resend_from(7) is None


class Ends:
    """Two ends and a connection that may swallow everything that is under way."""

    def __init__(self) -> None:
        self.ends = ResendBuffer(), ResendBuffer()
        self.lines: tuple[list[Any], list[Any]] = [], []
        self.said = [0, 0]
        self.heard: tuple[list[int], list[int]] = [], []

    def say(self, side: int) -> None:
        self.said[side] += 1
        self.ends[side].keep(self.said[side], 1)
        self.lines[side].append(self.said[side])

    def carry(self, side: int) -> None:
        if self.lines[side]:
            self.heard[1 - side].append(self.lines[side].pop(0))
            self.ends[1 - side].take(1)

    def acknowledge(self, side: int) -> None:
        self.ends[1 - side].acknowledge(self.ends[side].tell())

    def break_off(self, _: int) -> None:
        for side in (0, 1):
            missing = self.ends[side].resend_from(self.ends[1 - side].tell())
            assert missing is not None
            self.lines[side][:] = missing


@given(st.lists(st.tuples(st.sampled_from(["say", "carry", "acknowledge", "break_off"]), st.integers(0, 1))))
def test_two_ends_miss_nothing_whatever_breaks(schedule: list[tuple[str, int]]) -> None:
    world = Ends()
    for name, side in schedule:
        getattr(world, name)(side)
    world.break_off(0)
    for side in (0, 1):
        while world.lines[side]:
            world.carry(side)
        assert world.heard[1 - side] == list(range(1, world.said[side] + 1))
