"""Machines that no life claims: deleted when two lists show them, and looked for as long as they may come."""

from __future__ import annotations

import itertools
import math

from rackactor_runtime.providers.machines.effects import Discard, Seen
from rackactor_runtime.providers.machines.strays import LIST_OWING, LIST_STRAY, PAUSES, Strays

STRAY = Seen("gid.7.1", "late", "ACTIVE")


def test_one_list_is_not_believed() -> None:
    strays = Strays()
    assert strays.listed([STRAY], 0.0) == []
    assert strays.listed([], 1.0) == []  # it was claimed after all
    assert strays.listed([STRAY], 2.0) == []
    assert strays.listed([STRAY], 2.1) == []  # too soon
    assert strays.listed([STRAY], 3.0) == [Discard("gid.7.1", "late")]


def test_a_delete_that_is_forgotten_is_asked_for_again_and_again() -> None:
    strays, now, asked = Strays(), 0.0, []
    while now < 300.0:
        for discard in strays.listed([STRAY], now):
            asked.append(now)
            assert strays.listed([STRAY], now) == []  # it is under way
            strays.discarded(discard.instance, now)
        now += 1.0
    gaps = [later - sooner for sooner, later in itertools.pairwise(asked)]
    assert tuple(gaps[: len(PAUSES)]) == PAUSES
    assert set(gaps[len(PAUSES) :]) == {PAUSES[-1]}


def test_lists_go_on_for_as_long_as_something_may_come() -> None:
    strays = Strays()
    assert strays.list_due(5.0, 5.0) == math.inf
    strays.owe("gid.7.1", 100.0)
    strays.owe("gid.8.1", 50.0)
    strays.owe("gid.7.1", 60.0)  # the longest counts
    assert strays.list_due(5.0, 99.0) == 5.0 + LIST_OWING
    strays.listed([STRAY], 99.0)
    assert strays.list_due(99.0, 99.0) == 99.0 + LIST_STRAY
    strays.listed([], 100.0)
    assert strays.list_due(100.0, 100.0) == math.inf


def test_what_is_gone_is_forgotten() -> None:
    strays = Strays()
    strays.listed([STRAY], 0.0)
    [discard] = strays.listed([STRAY], 1.0)
    strays.listed([], 2.0)
    assert len(strays) == 1  # its delete is under way
    strays.discarded(discard.instance, 2.5)
    strays.listed([], 3.0)
    assert len(strays) == 0
