"""Credit of a child's output, over real pipes and an event loop that only takes notes."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackactor_runtime.providers.local.output import FIRST_CREDIT, Credit, Pipes


class Rig:
    def __init__(self) -> None:
        self.watched: set[int] = set()
        self.out, self.out_end = os.pipe()
        self.err, self.err_end = os.pipe()
        for fd in (self.out, self.err):
            os.set_blocking(fd, False)
        self.pipes = Pipes({self.out: 1, self.err: 2}, self.watched.add, self.watched.remove)

    def close(self) -> None:
        self.pipes.close()
        os.close(self.out_end)
        os.close(self.err_end)


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.close()


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 10**6))))
def test_credit_is_never_negative_and_never_forgets_a_grant(steps: list[tuple[bool, int]]) -> None:
    credit, model = Credit(), FIRST_CREDIT
    for grants, count in steps:
        if grants:
            credit.grant(count)
            model += count
        else:
            count = min(count, credit.left)
            credit.spend(count)
            model -= count
        assert credit.left == model >= 0


def test_credit_cannot_be_taken_back() -> None:
    with pytest.raises(ValueError):
        Credit().grant(-1)


def test_reading_stops_at_the_credit_for_both_streams_and_goes_on_with_a_grant(rig: Rig) -> None:
    os.write(rig.out_end, b"o" * 40_000)
    os.write(rig.err_end, b"e" * 40_000)
    assert rig.pipes.read(rig.out) == (1, b"o" * 40_000)
    assert rig.pipes.read(rig.err) == (2, b"e" * (FIRST_CREDIT - 40_000))
    assert rig.watched == set()
    assert rig.pipes.read(rig.err) is None
    rig.pipes.grant(10)
    assert rig.watched == {rig.out, rig.err}
    assert rig.pipes.read(rig.err) == (2, b"e" * 10)


def test_a_dead_childs_last_words_are_read_beyond_the_credit(rig: Rig) -> None:
    os.write(rig.out_end, b"x" * 65_536)
    assert rig.pipes.read(rig.out) is not None
    os.write(rig.out_end, b"y" * 65_536)
    os.write(rig.err_end, b"last")
    said = list(rig.pipes.drain())
    assert b"".join(data for stream, data in said if stream == 1) == b"y" * 65_536
    assert b"".join(data for stream, data in said if stream == 2) == b"last"


@pytest.mark.parametrize("failures", [1, 5, 1000])
def test_last_words_that_the_system_refuses_are_asked_for_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    os.write(rig.out_end, b"words")
    refused = itertools.count(1)
    read = os.read

    def refuse(fd: int, count: int) -> bytes:
        if next(refused) <= failures:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(fd, count)

    monkeypatch.setattr(os, "read", refuse)
    said = list(rig.pipes.drain())
    lost = failures == 1000
    assert said == ([] if lost else [(1, b"words")])
    assert rig.pipes.unread == ("Input/output error" if lost else "")


def test_end_of_one_stream_leaves_the_other() -> None:
    rig = Rig()
    os.close(rig.out_end)
    assert rig.pipes.read(rig.out) is None
    assert rig.watched == {rig.err}
    assert rig.pipes.read(rig.out) is None
    rig.out_end = os.dup(rig.err_end)
    rig.close()
