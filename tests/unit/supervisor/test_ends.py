"""How the supervisor decides on ends: zombies, waits, and who goes with whom."""

from __future__ import annotations

from typing import Any

import pytest
from driving import House, refusal

from rackactor.status import Cause
from rackactor_runtime.providers.base import InstanceExit, Key, Liveness
from rackactor_runtime.supervisor.decisions import messages as m

TERM = 15
KILL = 9


# -- ends and waits ------------------------------------------------------------------------------------------


def test_a_child_ends_is_a_zombie_and_is_waited_for(house: House, script: int) -> None:
    pid = house.spawn(script)
    house.call(pid, "exit", (b"result",), how="exited", code=3)
    assert house.state_of(pid) == "stopping"
    house.die(pid, 3)
    assert house.state_of(pid) == "zombie"
    assert house.pick(m.Dismiss) == [m.Dismiss(pid)]
    (child,) = house.told(script, "child")
    assert (child["pid"], child["status"]["code"]) == (pid, 3)
    assert [gone["pid"] for gone in house.told(script, "gone")] == [pid]
    answer = house.call(script, "wait", pids=[pid])
    assert (answer.fields["pid"], answer.fields["status"]["cause"], answer.blobs) == (pid, "exited", (b"result",))
    assert house.state_of(pid) == "gone"
    assert refusal(house.call(script, "wait", pids=[pid])) == (
        "NoChild",
        f"process {pid} has ended and been waited for already",
    )


def test_a_wait_hangs_until_the_end(house: House, script: int) -> None:
    pid = house.spawn(script)
    rid = house.cast(script, "wait", pids=[pid])
    assert house.answer(script, rid) is None
    house.exit(pid)
    answer = house.answer(script, rid)
    assert answer is not None
    assert answer.fields["pid"] == pid
    assert house.state_of(pid) == "gone"


def test_a_wait_that_does_not_hang(house: House, script: int) -> None:
    pid = house.spawn(script)
    assert house.call(script, "wait", pids=[pid], hang=False).fields == {"pid": 0}
    assert house.call(script, "wait", pids=[], hang=False).fields == {"pid": 0}
    house.exit(pid)
    assert house.call(script, "wait", pids=[], hang=False).fields["pid"] == pid


def test_wait_for_any_child(house: House, script: int) -> None:
    first, second = house.fork(script, n=2)
    house.up(first)
    house.up(second)
    rids = [house.cast(script, "wait", pids=[]) for _ in range(3)]
    house.exit(second)
    house.exit(first)
    answers = [house.answer(script, rid) for rid in rids]
    assert [a.fields.get("pid") for a in answers if a is not None] == [second, first, None]
    assert answers[2] is not None
    assert refusal(answers[2])[0] == "NoChild"


def test_wait_for_the_first_of_several(house: House, script: int) -> None:
    pids = house.fork(script, n=3)
    rid = house.cast(script, "wait", pids=pids)
    house.die(pids[1], code=1)
    answer = house.answer(script, rid)
    assert answer is not None
    assert answer.fields["pid"] == pids[1]
    assert house.state_of(pids[1]) == "gone"


def test_others_may_wait_too_and_only_the_parent_reaps(house: House, script: int) -> None:
    watcher, pid = house.spawn(script), house.spawn(script)
    rids = {who: house.cast(who, "wait", pids=[pid]) for who in (script, watcher)}
    house.exit(pid)
    for who, rid in rids.items():
        answer = house.answer(who, rid)
        assert answer is not None
        assert answer.fields["pid"] == pid
    other = house.spawn(script)
    house.exit(other)
    assert house.call(watcher, "wait", pids=[other]).fields["pid"] == other
    assert house.state_of(other) == "zombie"


def test_a_second_wait_of_the_parent_for_the_same_child(house: House, script: int) -> None:
    pid = house.spawn(script)
    rids = [house.cast(script, "wait", pids=[pid]) for _ in range(2)]
    house.exit(pid)
    first, second = (house.answer(script, rid) for rid in rids)
    assert first is not None
    assert first.ok
    assert second is not None
    assert refusal(second)[0] == "NoChild"


def test_there_is_nothing_to_wait_for(house: House, script: int) -> None:
    assert refusal(house.call(script, "wait", pids=[]))[0] == "NoChild"
    assert refusal(house.call(script, "wait", pids=[999]))[0] == "NoSuchProcess"
    assert refusal(house.call(script, "wait", pids=["x"]))[0] == "InvalidCall"
    assert refusal(house.call(script, "wait", pids=5))[0] == "InvalidCall"
    pid = house.spawn(script)
    house.exit(pid)
    assert house.call(script, "wait", pids=[999, pid]).fields["pid"] == pid


def test_a_wait_can_be_withdrawn(house: House, script: int) -> None:
    pid = house.spawn(script)
    rid = house.cast(script, "wait", pids=[pid])
    house.cast(script, "cancel", rid=rid)
    house.exit(pid)
    assert house.state_of(pid) == "zombie"  # nobody has been told
    answer = house.answer(script, rid)
    assert answer is None or refusal(answer)[0] == "RackTimeout"


def test_a_stale_event_of_the_provider_changes_nothing(house: House, script: int) -> None:
    pid = house.spawn(script)
    house.exit(pid, 3)
    for event in (
        m.InstanceEnded(Key(pid, 1), InstanceExit(9)),
        m.InstanceEnded(Key(pid, 2), InstanceExit(9)),
        m.InstanceEnded(Key(999, 1), InstanceExit(9)),
        m.InstanceCreated(Key(pid, 2), "x"),
        m.Probed(Key(pid, 1), Liveness.STOPPED),
        m.Joined(pid, 1),
    ):
        assert house.hear(event) == []
    assert house.call(script, "wait", pids=[pid]).fields["status"]["code"] == 3


def test_what_has_ended_makes_no_calls(house: House, script: int) -> None:
    pid = house.spawn(script)
    house.die(pid, code=0)
    assert house.hear(m.Called(pid, 1, "ps", {})) == []
    assert house.hear(m.Called(999, 1, "ps", {})) == []


@pytest.mark.parametrize(
    "args",
    [
        {"how": "exited", "code": "x"},
        {"how": "exited", "code": 10**30},
        {"how": "signalled", "signal": "x"},
        {"how": "signalled", "signal": 10**6},
        {"how": ["x"], "code": 0},
        {"how": "exited", "code": 0, "evidence": 5},
        {"code": -1},
        {},
    ],
    ids=repr,
)
def test_a_report_that_makes_no_sense_harms_nobody(house: House, script: int, args: dict[str, Any]) -> None:
    pid = house.spawn(script)
    house.cast(pid, "exit", **args)
    house.die(pid, code=0)
    status = house.record(pid).status
    assert status is not None
    assert 0 <= status.code <= 255


def test_an_agent_that_lingers_after_its_report_is_ended(house: House, script: int) -> None:
    pid = house.spawn(script)
    house.call(pid, "exit", how="exited", code=0)
    house.keep_hearing(9)
    assert house.pick(m.Delete) == []
    house.keep_hearing(1)
    assert [d.key for d in house.pick(m.Delete)] == [(pid, 1)]
    house.die(pid, signal=KILL)
    status = house.record(pid).status
    assert status is not None
    assert (status.code, status.signal, status.cause) == (0, None, Cause.EXITED)


# -- orphans -----------------------------------------------------------------------------------------------


def test_a_parent_that_dies_takes_its_descendants_with_it(house: House, script: int) -> None:
    parent = house.spawn(script)
    child = house.spawn(parent)
    grandchild = house.spawn(child)
    house.exit(parent)
    assert house.told(child, "signal") == [{"signal": TERM, "sender": 1}]
    assert house.told(grandchild, "signal") == []
    house.die(child, signal=TERM)
    assert house.told(grandchild, "signal") == [{"signal": TERM, "sender": 1}]
    house.die(grandchild, signal=TERM)
    for pid in (child, grandchild):
        status = house.record(pid).status
        assert status is not None
        assert status.cause is Cause.PARENT_DIED
        assert "its parent, process" in status.evidence


def test_orphans_leave_no_zombies_when_their_parent_has_not_been_waited_for(house: House, script: int) -> None:
    parent = house.spawn(script)
    child = house.spawn(parent)
    house.exit(parent)
    house.die(child, signal=TERM)
    assert house.state_of(parent) == "zombie"
    assert house.state_of(child) == "gone"  # nobody is left who could wait for it
    house.call(script, "wait", pids=[parent])
    assert [record.pid for record in house.state.table] == [script]


def test_zombies_of_a_parent_that_dies_are_reaped(house: House, script: int) -> None:
    parent = house.spawn(script)
    child = house.spawn(parent)
    house.exit(child)
    assert house.state_of(child) == "zombie"
    house.exit(parent)
    assert house.state_of(child) == "gone"


def test_an_adopted_child_lives_on_and_is_reaped_by_the_supervisor(house: House, script: int) -> None:
    parent = house.spawn(script)
    child = house.spawn(parent, on_orphan="adopt")
    house.exit(parent)
    assert house.told(child, "signal") == []
    assert house.record(child).ppid == 1
    house.exit(child)
    assert house.state_of(child) == "gone"


def test_a_detached_child_lives_on_until_its_deadline(house: House, script: int) -> None:
    parent = house.spawn(script)
    child = house.spawn(parent, on_orphan="detach", deadline=20)
    house.exit(parent)
    assert house.record(child).ppid == 1
    house.keep_hearing(19)
    assert house.told(child, "signal") == []
    house.keep_hearing(1)
    assert house.told(child, "signal") == [{"signal": TERM, "sender": 1}]


def test_children_may_be_spared(house: House, script: int) -> None:
    parent = house.spawn(script)
    child = house.spawn(parent)
    house.call(parent, "spare_children")
    house.exit(parent)
    assert house.told(child, "signal") == []
    assert house.record(child).ppid == 1


def test_a_wait_for_a_child_that_loses_its_parent(house: House, script: int) -> None:
    parent = house.spawn(script)
    child = house.spawn(parent)
    rid = house.cast(script, "wait", pids=[child])
    house.exit(parent)
    house.die(child, signal=TERM)
    answer = house.answer(script, rid)
    assert answer is not None
    assert answer.fields["status"]["cause"] == "parent-died"
