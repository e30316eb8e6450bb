"""Machines of nobody: what no life claims, and what was given up and may still come."""

from __future__ import annotations

import math

from lifedriver import A, Driver, both, seen

from rackactor_runtime.providers.base import (
    Created,
    Ended,
)
from rackactor_runtime.providers.machines.effects import (
    Ask,
    Discard,
    List,
    Remove,
    Seen,
)
from rackactor_runtime.providers.machines.lifecycle import Machines
from rackactor_runtime.providers.machines.strays import DEBT


def test_what_no_life_claims_is_deleted_when_two_lists_show_it() -> None:
    drive = Driver(Machines("gid", 2, own="me"))
    drive.up()
    me = Seen("gid.1.1", "me", "ACTIVE")
    double = Seen("gid.1.1", "my double", "ACTIVE")
    stray = Seen("gid.99.1", "a stray", "SHUTOFF")
    others = [Seen("other.99.1", "x", "ACTIVE"), Seen("gid.backup", "y", "ACTIVE"), Seen("gid.a.b", "z", "ACTIVE")]
    both(drive, me, double, stray, seen(), *others)
    assert drive.take(Discard) == []
    both(drive, me, double, stray, seen(), *others)
    assert drive.take(Discard) == [Discard("gid.1.1", "my double"), Discard("gid.99.1", "a stray")]
    drive.do(drive.lives.discarded("my double", drive.now))
    drive.do(drive.lives.discarded("a stray", drive.now))
    for _ in range(4):
        both(drive, me, stray, seen(), *others)
    assert drive.take(Discard) == [Discard("gid.99.1", "a stray")]  # it was accepted, and forgotten
    assert drive.told == [Created(A, "i3")]


def test_who_does_not_know_which_server_it_runs_on_touches_no_supervisor() -> None:
    drive = Driver()
    drive.up()
    for _ in range(4):
        both(drive, Seen("gid.1.1", "a", "ACTIVE"), Seen("gid.1.1", "b", "ACTIVE"), seen())
    assert drive.take(Discard) == []


def test_what_was_given_up_is_looked_for_until_it_cannot_come_any_more() -> None:
    drive = Driver()
    drive.order()
    drive.take(Ask)
    drive.do(drive.lives.delete(A, drive.now))
    drive.do(drive.lives.refused(A, "unclear", "no answer", drive.now))
    began = drive.now
    while not drive.take(Remove):
        drive.listed()
    drive.do(drive.lives.removed(A, True, "", "", drive.now))
    assert isinstance(drive.told[-1], Ended)
    lists = 0
    while drive.lives.due() < math.inf:
        drive.now = max(drive.now, drive.lives.due())
        drive.do(drive.lives.tick(drive.now))
        if drive.take(List):
            lists += 1
            drive.do(drive.lives.listed([], drive.now))
    assert DEBT - 60 < drive.now - began < DEBT + 60
    assert 30 < lists < 120
