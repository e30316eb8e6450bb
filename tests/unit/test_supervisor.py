"""The supervisor actor, driven without a socket: what it hears, and what it wants done."""

from __future__ import annotations

from typing import Any

import pytest
from driving import House

from rackactor.errors import InvalidCall, SpawnIntensityExceeded
from rackactor.status import Cause
from rackactor_runtime.providers.base import Key, Vital
from rackactor_runtime.supervisor.decisions import messages as m
from rackactor_runtime.supervisor.decisions.settings import Settings
from rackactor_runtime.supervisor.decisions.spawning import Intensity

TERM, KILL, USR1 = 15, 9, 10


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def script(house: House) -> int:
    return house.script()


def refusal(answer: m.Reply) -> tuple[str, str]:
    assert not answer.ok
    return answer.fields["type"], answer.fields["message"]


# -- births ------------------------------------------------------------------------------------------------


def test_a_fork_writes_the_intent_and_asks_the_provider(house: House, script: int) -> None:
    blobs = (b"target", b"arguments")
    options = {"n": 1, "kind": "function", "what": "f", "env": {"A": "1"}, "cwd": "/", "memory": 5, "name": "x"}
    answer = house.call(script, "fork", blobs, **options)
    (create,) = house.pick(m.Create)
    (pid,) = answer.fields["pids"]
    assert create.order.key == (pid, 1)
    assert (create.order.env, create.order.cwd, create.order.memory) == ({"A": "1"}, "/", 5)
    assert set(create.order.birth) == {"pid", "incarnation", "token"}  # nothing but what lets it in
    assert house.state(pid) == "new"
    house.hear(m.InstanceCreated(Key(pid, 1), "4711"))
    assert house.state(pid) == "booting"
    house.hear(m.Joined(pid, 4711))
    (welcome,) = house.pick(m.Welcome)
    assert (welcome.pid, welcome.blobs) == (pid, blobs)
    assert (welcome.fields["pid"], welcome.fields["ppid"], welcome.fields["kind"]) == (pid, script, "function")
    assert house.state(pid) == "running"


def test_it_may_join_before_the_provider_says_that_it_exists(house: House, script: int) -> None:
    (pid,) = house.fork(script)
    house.hear(m.Joined(pid, 1))
    house.hear(m.InstanceCreated(Key(pid, 1), "1"))
    assert house.state(pid) == "running"


def test_each_child_has_its_own_arguments(house: House, script: int) -> None:
    answer = house.call(script, "fork", (b"t", b"a", b"b"), n=2, kind="function")
    welcomes = []
    for pid in answer.fields["pids"]:
        house.up(pid)
        welcomes += house.pick(m.Welcome)
    assert [welcome.blobs for welcome in welcomes] == [(b"t", b"a"), (b"t", b"b")]


def test_process_groups(house: House, script: int) -> None:
    first, second = house.fork(script, n=2)
    (other,) = house.fork(script)
    house.up(first)
    (grandchild,) = house.fork(first)
    groups = {pid: house.record(pid).pgid for pid in (first, second, other, grandchild)}
    assert groups == {first: first, second: first, other: other, grandchild: first}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n": 1},
        {"n": 0, "kind": "function"},
        {"n": -1, "kind": "function"},
        {"n": True, "kind": "function"},
        {"n": 10**9, "kind": "function"},
        {"n": "1", "kind": "function"},
        {"n": 1, "kind": "daemon"},
        {"n": 1, "kind": ["function"]},
        {"n": 1, "kind": "function", "on_orphan": "ignore"},
        {"n": 1, "kind": "function", "deadline": -1},
        {"n": 1, "kind": "function", "deadline": "soon"},
        {"n": 1, "kind": "function", "deadline": float("nan")},
        {"n": 1, "kind": "function", "deadline": float("inf"), "on_orphan": "detach"},
        {"n": 1, "kind": "function", "on_orphan": "detach"},
        {"n": 3, "kind": "function"},
        {"n": 1, "kind": "function", "env": 5},
        {"n": 1, "kind": "function", "env": {"A": 1}},
        {"n": 1, "kind": "function", "env": [["A", "1"]]},
        {"n": 1, "kind": "function", "cwd": 5},
        {"n": 1, "kind": "function", "memory": "1G"},
        {"n": 1, "kind": "function", "memory": -1},
        {"n": 1, "kind": "function", "global_name": ["x"]},
    ],
    ids=repr,
)
def test_a_fork_that_makes_no_sense_starts_nothing(house: House, script: int, options: dict[str, Any]) -> None:
    blobs = (b"t", b"a") if options.get("n") != 3 else (b"t", b"a", b"b")
    name, _ = refusal(house.call(script, "fork", blobs, **options))
    assert name == "InvalidCall"
    assert house.pick(m.Create) == []
    assert len(list(house.core.table)) == 1


def test_spawn_intensity() -> None:
    house = House(max_spawns=5, spawn_period=10.0)
    script = house.script()
    house.fork(script, n=5)
    name, message = refusal(house.call(script, "fork", (b"t", b"a"), n=1, kind="function"))
    assert name == "SpawnIntensityExceeded"
    assert "6 forks within 10 s, and the group allows 5" in message
    assert house.pick(m.Create) == []
    house.keep_hearing(10)
    house.fork(script, n=5)


def test_intensity_counts_a_period_and_refuses_all_or_nothing() -> None:
    intensity = Intensity(3, 10.0)
    intensity.admit(2, 0.0)
    with pytest.raises(SpawnIntensityExceeded):
        intensity.admit(2, 5.0)
    intensity.admit(1, 5.0)
    with pytest.raises(SpawnIntensityExceeded):
        intensity.admit(1, 9.999)
    intensity.admit(2, 10.0)
    with pytest.raises(SpawnIntensityExceeded):
        intensity.admit(1, 14.9)
    intensity.admit(1, 15.0)
    with pytest.raises(SpawnIntensityExceeded):
        intensity.admit(4, 1000.0)


def test_an_agent_that_does_not_join_in_time(house: House, script: int) -> None:
    (pid,) = house.fork(script)
    house.keep_hearing(59)
    assert house.pick(m.Delete) == []
    house.keep_hearing(1)
    assert [delete.key for delete in house.pick(m.Delete)] == [(pid, 1)]
    house.keep_hearing(30)
    assert house.pick(m.Delete) == []
    house.die(pid, signal=KILL)
    status = house.record(pid).status
    assert status is not None
    assert (status.cause, status.code, status.started) == (Cause.BOOT_FAILED, 137, None)
    assert "60 s" in status.evidence


def test_an_instance_that_could_not_be_made(house: House, script: int) -> None:
    (pid,) = house.fork(script)
    rid = house.cast(script, "wait", pids=[pid])
    house.die(pid, fault="no valid host was found")
    answer = house.answer(script, rid)
    assert answer is not None
    assert answer.fields["status"]["cause"] == "boot-failed"
    assert "no valid host" in answer.fields["status"]["evidence"]


def test_started_counts_those_who_came_up(house: House, script: int) -> None:
    pids = house.fork(script, n=3)
    rid = house.cast(script, "started", pids=pids, count=2)
    house.up(pids[0])
    house.die(pids[1], code=1)
    assert house.answer(script, rid) is None
    house.up(pids[2])
    answer = house.answer(script, rid)
    assert answer is not None
    assert answer.fields["up"] == [pids[0], pids[2]]


def test_started_says_when_there_are_too_few_left(house: House, script: int) -> None:
    pids = house.fork(script, n=2)
    rid = house.cast(script, "started", pids=pids, count=2)
    house.die(pids[0], code=1)
    answer = house.answer(script, rid)
    assert answer is not None
    assert answer.fields["up"] == []


def test_who_came_up_and_has_ended_came_up(house: House, script: int) -> None:
    pids = house.fork(script, n=2)
    house.up(pids[0])
    house.exit(pids[0])
    rid = house.cast(script, "started", pids=pids, count=2)
    house.up(pids[1])
    answer = house.answer(script, rid)
    assert answer is not None
    assert answer.fields["up"] == pids


@pytest.mark.parametrize(
    "args",
    [{}, {"pids": [[1]], "count": 1}, {"pids": [{}], "count": 1}, {"pids": 5, "count": 1}, {"pids": [], "count": 1}],
)
def test_a_started_that_makes_no_sense_harms_nobody(house: House, script: int, args: dict[str, Any]) -> None:
    assert refusal(house.call(script, "started", **args))[0] == "InvalidCall"
    house.pass_time(0.1)
    house.spawn(script)


# -- ends and waits ------------------------------------------------------------------------------------------


def test_a_child_ends_is_a_zombie_and_is_waited_for(house: House, script: int) -> None:
    pid = house.spawn(script)
    house.call(pid, "exit", (b"result",), how="exited", code=3)
    assert house.state(pid) == "stopping"
    house.die(pid, 3)
    assert house.state(pid) == "zombie"
    assert house.pick(m.Dismiss) == [m.Dismiss(pid)]
    (child,) = house.told(script, "child")
    assert (child["pid"], child["status"]["code"]) == (pid, 3)
    assert [gone["pid"] for gone in house.told(script, "gone")] == [pid]
    answer = house.call(script, "wait", pids=[pid])
    assert (answer.fields["pid"], answer.fields["status"]["cause"], answer.blobs) == (pid, "exited", (b"result",))
    assert house.state(pid) == "gone"
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
    assert house.state(pid) == "gone"


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
    assert house.state(pids[1]) == "gone"


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
    assert house.state(other) == "zombie"


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
    assert house.state(pid) == "zombie"  # nobody has been told
    answer = house.answer(script, rid)
    assert answer is None or refusal(answer)[0] == "RackTimeout"


def test_a_stale_event_of_the_provider_changes_nothing(house: House, script: int) -> None:
    pid = house.spawn(script)
    house.exit(pid, 3)
    for event in (
        m.InstanceEnded(Key(pid, 1), 9, None),
        m.InstanceEnded(Key(pid, 2), 9, None),
        m.InstanceEnded(Key(999, 1), 9, None),
        m.InstanceCreated(Key(pid, 2), "x"),
        m.Examined(Key(pid, 1), Vital.STOPPED),
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
    assert house.state(parent) == "zombie"
    assert house.state(child) == "gone"  # nobody is left who could wait for it
    house.call(script, "wait", pids=[parent])
    assert [record.pid for record in house.core.table] == [script]


def test_zombies_of_a_parent_that_dies_are_reaped(house: House, script: int) -> None:
    parent = house.spawn(script)
    child = house.spawn(parent)
    house.exit(child)
    assert house.state(child) == "zombie"
    house.exit(parent)
    assert house.state(child) == "gone"


def test_an_adopted_child_lives_on_and_is_reaped_by_the_supervisor(house: House, script: int) -> None:
    parent = house.spawn(script)
    child = house.spawn(parent, on_orphan="adopt")
    house.exit(parent)
    assert house.told(child, "signal") == []
    assert house.record(child).ppid == 1
    house.exit(child)
    assert house.state(child) == "gone"


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


# -- signals -----------------------------------------------------------------------------------------------


def test_a_signal_is_passed_on_with_its_sender(house: House, script: int) -> None:
    first, second = house.spawn(script), house.spawn(script)
    house.call(first, "kill", pids=[second], signal="reload")
    assert house.told(second, "signal") == [{"signal": "reload", "sender": first}]
    house.call(first, "kill", pids=[second], signal=USR1)
    assert house.told(second, "signal") == [{"signal": USR1, "sender": first}]


def test_signals_are_held_while_the_target_boots_and_come_in_order(house: House, script: int) -> None:
    (pid,) = house.fork(script)
    for sig in (USR1, "reload", TERM, "again"):
        house.call(script, "kill", pids=[pid], signal=sig)
        assert house.pick(m.Notify) == []
    house.up(pid)
    kinds = [type(effect).__name__ for effect in house.last]
    assert kinds == ["Welcome", "Notify", "Notify", "Notify", "Notify"]
    assert [fields["signal"] for fields in house.told(pid, "signal")] == [USR1, "reload", TERM, "again"]


def test_term_has_a_grace_then_the_provider_deletes(house: House, script: int) -> None:
    pid = house.spawn(script)
    house.call(script, "kill", pids=[pid], signal=TERM)
    assert house.state(pid) == "stopping"
    house.keep_hearing(9)
    house.call(script, "kill", pids=[pid], signal=TERM)  # asked again: the grace does not begin anew
    house.keep_hearing(1)
    assert [delete.key for delete in house.pick(m.Delete)] == [(pid, 1)]
    house.keep_hearing(30)
    house.die(pid, signal=KILL)
    status = house.record(pid).status
    assert status is not None
    assert (status.code, status.cause) == (137, Cause.SIGNALLED)
    assert status.evidence.startswith(f"SIGTERM from process {script}; then ")
    assert status.evidence.endswith("SIGKILL from the supervisor")


def test_term_to_a_process_that_never_comes_up(house: House, script: int) -> None:
    (pid,) = house.fork(script)
    house.call(script, "kill", pids=[pid], signal=TERM)
    house.keep_hearing(10)
    assert [delete.key for delete in house.pick(m.Delete)] == [(pid, 1)]


def test_kill_is_the_providers_delete(house: House, script: int) -> None:
    pid = house.spawn(script)
    house.call(script, "kill", pids=[pid], signal=KILL)
    assert house.pick(m.Delete) == [m.Delete(Key(pid, 1))]
    assert house.told(pid, "signal") == []
    assert house.state(pid) == "stopping"


@pytest.mark.parametrize("what", ["deadline", "parent", "group", "boot"])
def test_what_happens_after_a_kill_is_not_its_cause(house: House, script: int, what: str) -> None:
    parent = house.spawn(script)
    (pid,) = house.fork(parent, deadline=30)
    if what != "boot":
        house.up(pid)
    house.call(script, "kill", pids=[pid], signal=KILL)
    if what == "parent":
        house.exit(parent)
    elif what == "group":
        house.cast(script, "end")
    else:
        house.keep_hearing(70 if what == "boot" else 31)
    assert len([e for e in house.effects if e == m.Delete(Key(pid, 1))]) == 1
    house.die(pid, signal=KILL)
    status = house.record(pid).status
    assert status is not None
    assert status.cause is Cause.SIGNALLED


def test_signal_0_tests_for_life(house: House, script: int) -> None:
    pid = house.spawn(script)
    (booting,) = house.fork(script)
    assert house.call(script, "kill", pids=[pid, booting], signal=0).ok
    assert house.pick(m.Notify) == house.pick(m.Delete) == []
    house.exit(pid)
    name, message = refusal(house.call(script, "kill", pids=[pid, booting], signal=0))
    assert (name, message) == ("NoSuchProcess", f"no living process {pid} in this group")


def test_kill_0_is_the_whole_group(house: House, script: int) -> None:
    first, second = house.spawn(script), house.spawn(script)
    operator = house.operator()
    house.call(first, "kill", pids=[0], signal=USR1)
    assert {n.pid for n in house.pick(m.Notify)} == {script, first, second}
    assert operator not in {n.pid for n in house.pick(m.Notify)}


def test_a_negative_pid_is_a_process_group(house: House, script: int) -> None:
    ours = house.fork(script, n=2)
    other = house.spawn(script)
    for pid in ours:
        house.up(pid)
    grandchild = house.spawn(ours[1])
    house.call(script, "kill", pids=[-ours[0]], signal=USR1)
    assert {n.pid for n in house.pick(m.Notify)} == {*ours, grandchild}
    assert refusal(house.call(script, "kill", pids=[-999], signal=USR1))[0] == "NoSuchProcess"
    house.call(script, "kill", pids=[-other], signal=USR1)
    assert {n.pid for n in house.pick(m.Notify)} == {other}


def test_a_list_reaches_those_who_live_and_says_who_does_not(house: House, script: int) -> None:
    first, second = house.spawn(script), house.spawn(script)
    answer = house.call(script, "kill", pids=[first, 998, second, 999], signal=USR1)
    assert {n.pid for n in house.pick(m.Notify)} == {first, second}
    assert refusal(answer) == ("NoSuchProcess", "no living process 998, 999 in this group")


@pytest.mark.parametrize(
    "args",
    [
        {"pids": [2], "signal": 1000},
        {"pids": [2], "signal": ""},
        {"pids": [2], "signal": None},
        {"pids": ["2"], "signal": 15},
        {"pids": 2, "signal": 15},
        {"signal": 15},
        {"pids": [2]},
        {"pids": [2**40], "signal": 15},
    ],
    ids=repr,
)
def test_a_kill_that_makes_no_sense(house: House, script: int, args: dict[str, Any]) -> None:
    assert refusal(house.call(script, "kill", **args))[0] == "InvalidCall"
    assert house.pick(m.Notify) == []


def test_the_script_cannot_be_killed_from_within(house: House, script: int) -> None:
    pid = house.spawn(script)
    assert refusal(house.call(pid, "kill", pids=[script], signal=KILL))[0] == "NotAllowed"
    assert house.call(pid, "kill", pids=[0], signal=KILL).ok  # everybody else
    assert [d.key for d in house.pick(m.Delete)] == [(pid, 1)]
    assert house.record(script).alive


def test_only_a_command_can_be_stopped(house: House, script: int) -> None:
    function, command = house.spawn(script), house.spawn(script, kind="command", words=["sleep"])
    assert refusal(house.call(script, "kill", pids=[function], signal=19))[0] == "InvalidCall"
    assert house.call(script, "kill", pids=[command], signal=19).ok


# -- deadlines, silence -------------------------------------------------------------------------------------


def test_a_deadline(house: House, script: int) -> None:
    pid = house.spawn(script, deadline=5)
    house.keep_hearing(4)
    assert house.told(pid, "signal") == []
    house.keep_hearing(1)
    assert house.told(pid, "signal") == [{"signal": TERM, "sender": 1}]
    house.keep_hearing(10)
    assert [d.key for d in house.pick(m.Delete)] == [(pid, 1)]
    house.die(pid, signal=KILL)
    status = house.record(pid).status
    assert status is not None
    assert (status.cause, status.code) == (Cause.DEADLINE, 137)


def test_silence_is_examined_once_per_heartbeat(house: House, script: int) -> None:
    pid = house.spawn(script)
    house.pass_time(2.4, heard=[script])
    assert house.pick(m.Examine) == []
    house.pass_time(0.2, heard=[script])
    assert house.pick(m.Examine) == [m.Examine(Key(pid, 1))]
    house.pass_time(0.5, heard=[script])
    assert house.pick(m.Examine) == []
    house.pass_time(0.5, heard=[script])
    assert house.pick(m.Examine) == [m.Examine(Key(pid, 1))]
    house.pass_time(1.0, heard=[script, pid])
    assert house.pick(m.Examine) == []


@pytest.mark.parametrize(
    "vital, silent, lost",
    [
        (Vital.STOPPED, 3.0, True),
        (Vital.UNKNOWN, 3.0, True),
        (Vital.RUNNING, 3.0, False),
        (Vital.RUNNING, 59.0, False),
        (Vital.RUNNING, 61.0, True),
        (Vital.GONE, 3.0, False),  # its end is told next
        (Vital.GONE, 61.0, False),
        (Vital.STOPPED, 2.0, False),  # it has been heard meanwhile
    ],
)
def test_what_the_provider_sees_decides(house: House, script: int, vital: Vital, silent: float, lost: bool) -> None:
    pid = house.spawn(script)
    house.pass_time(silent, heard=[script])
    house.examined(pid, vital)
    assert [d.key for d in house.pick(m.Delete)] == ([(pid, 1)] if lost else [])
    if lost:
        house.die(pid, signal=KILL)
        status = house.record(pid).status
        assert status is not None
        assert status.cause is Cause.LOST
        assert vital.value in status.evidence


def test_a_booting_instance_is_not_silent(house: House, script: int) -> None:
    (pid,) = house.fork(script)
    house.pass_time(10, heard=[script])
    assert house.pick(m.Examine) == []
    assert house.examined(pid, Vital.STOPPED) == []


def test_a_silent_command_line_is_forgotten_at_once_and_a_silent_script_later(house: House, script: int) -> None:
    operator = house.operator()
    house.pass_time(3.0)
    assert house.state(operator) == "gone"
    assert house.record(script).alive
    house.pass_time(60.0)
    assert house.core.ending
    assert not house.record(script).alive


# -- the group's end -----------------------------------------------------------------------------------------


def test_the_end_of_the_group(house: House, script: int) -> None:
    first, second = house.spawn(script), house.spawn(script)
    rid = house.cast(script, "end", reason="enough")
    assert {n.pid for n in house.pick(m.Notify)} == {first, second}
    house.die(first, signal=TERM)
    house.pass_time(0.9, heard=[script, second])
    assert house.pick(m.Delete) == []
    house.pass_time(0.2, heard=[script, second])
    assert [d.key for d in house.pick(m.Delete)] == [(second, 1)]
    house.pass_time(0.1, heard=[script])
    assert house.answer(script, rid) is None
    house.die(second, signal=KILL)
    house.pass_time(0.1, heard=[script])
    answer = house.answer(script, rid)
    assert answer is not None
    statuses = dict(answer.fields["statuses"])
    assert {pid: status["cause"] for pid, status in statuses.items()} == dict.fromkeys((first, second), "group-ended")
    assert {pid: status["code"] for pid, status in statuses.items()} == {first: 143, second: 137}
    assert "enough" in statuses[first]["evidence"]
    assert house.pick(m.Finish) == [m.Finish("enough")]
    assert house.told(script, "end") == [{"reason": "enough"}]


def test_it_finishes_once_and_still_answers(house: House, script: int) -> None:
    operator = house.operator()
    rid = house.cast(script, "end")
    for _ in range(5):
        house.pass_time(0.1, heard=[script, operator])
    late = house.cast(operator, "end")
    house.pass_time(0.1, heard=[script, operator])
    assert house.answer(script, rid) is not None
    assert house.answer(operator, late) is not None
    assert len([e for e in house.effects if isinstance(e, m.Finish)]) == 1
    assert len([e for e in house.effects if isinstance(e, m.Notify) and (e.pid, e.name) == (script, "end")]) == 1


def test_an_ending_group_starts_nothing(house: House, script: int) -> None:
    house.spawn(script)
    house.cast(script, "end", reason="enough")
    answer = house.call(script, "fork", (b"t", b"a"), n=1, kind="function")
    assert refusal(answer) == ("NotAllowed", "the group is ending: enough")
    assert house.pick(m.Create) == []


def test_only_those_outside_may_end_the_group(house: House, script: int) -> None:
    pid = house.spawn(script)
    assert refusal(house.call(pid, "end"))[0] == "NotAllowed"
    assert not house.core.ending


def test_it_ends_with_the_program_that_made_it(house: House, script: int) -> None:
    pid = house.spawn(script)
    house.hear(m.OwnerGone("the program that made the group is gone"))
    assert house.told(pid, "signal") == [{"signal": TERM, "sender": 1}]
    house.die(pid, signal=TERM)
    house.pass_time(0.1)
    assert len(house.pick(m.Finish)) == 1


def test_it_ends_at_its_deadline(house: House, script: int) -> None:
    house.core.deadline_at = house.now + 10
    pid = house.spawn(script)
    house.keep_hearing(9)
    assert not house.core.ending
    house.keep_hearing(1)
    assert house.core.ending == "the group's deadline passed"
    assert house.told(pid, "signal")


# -- detached ------------------------------------------------------------------------------------------------


def test_detaching_needs_a_deadline_and_is_for_the_script(house: House, script: int) -> None:
    pid = house.spawn(script)
    assert refusal(house.call(script, "detach"))[0] == "InvalidCall"
    house.core.deadline_at = house.now + 3600
    assert refusal(house.call(pid, "detach"))[0] == "NotAllowed"
    assert house.call(script, "detach").ok


def test_a_detached_group_outlives_its_script_and_ends_with_its_last_process(house: House, script: int) -> None:
    house.core.deadline_at = house.now + 3600
    pid = house.spawn(script)
    house.call(script, "detach")
    assert house.state(script) == "gone"
    assert not [e for e in house.effects if isinstance(e, m.Notify) and e.pid == pid]
    assert not house.core.ending
    assert house.record(pid).ppid == 1
    house.exit(pid, 4)
    house.keep_hearing(5)
    assert house.state(pid) == "zombie"  # somebody may ask how it ended
    assert not house.core.ending
    operator = house.operator()
    assert house.call(operator, "wait", pids=[pid]).fields["status"]["code"] == 4
    house.call(operator, "exit", code=0)
    assert house.call(house.operator(), "wait", pids=[pid]).fields["status"]["code"] == 4


def test_a_detached_group_does_not_wait_for_ever_to_be_asked() -> None:
    house = House(linger=30)
    script = house.script()
    house.core.deadline_at = house.now + 3600
    pid = house.spawn(script)
    house.call(script, "detach")
    assert house.state(script) == "gone"
    house.exit(pid, 4)
    house.keep_hearing(29)
    assert not house.core.ending
    house.keep_hearing(2)
    assert house.core.ending


# -- looking, names, dead letters ----------------------------------------------------------------------------


def test_a_command_line_is_no_process_of_ps(house: House, script: int) -> None:
    pid = house.spawn(script)
    operator = house.operator()
    rows = house.call(operator, "ps").fields["processes"]
    assert [row["pid"] for row in rows] == [script, pid]
    assert [row["pid"] for row in house.call(operator, "ps", pids=[pid]).fields["processes"]] == [pid]
    house.call(operator, "exit", code=0)
    assert house.core.table.get(operator) is None
    house.exit(pid)
    operator = house.operator()
    assert house.call(operator, "wait", pids=[pid]).fields["pid"] == pid
    assert house.state(pid) == "zombie"  # its parent has not waited


def test_a_command_line_learns_how_a_process_ended_that_was_waited_for(house: House, script: int) -> None:
    pid = house.spawn(script)
    house.exit(pid, 3)
    house.call(script, "wait", pids=[pid])
    assert house.call(house.operator(), "wait", pids=[pid]).fields["status"]["code"] == 3


def test_why(house: House, script: int) -> None:
    pid = house.spawn(script)
    house.call(script, "kill", pids=[pid], signal=USR1)
    house.exit(pid, 3)
    house.call(script, "wait", pids=[pid])
    fields = house.call(script, "why", pid=pid).fields
    assert fields["process"]["status"]["code"] == 3
    assert fields["process"]["state"] == "gone"
    assert [sent[1:] for sent in fields["signals"]] == [[script, USR1]]
    assert refusal(house.call(script, "why", pid=999))[0] == "NoSuchProcess"


def test_the_history_is_bounded() -> None:
    house = House(history=3)
    script = house.script()
    pids = [house.spawn(script) for _ in range(5)]
    for pid in pids:
        house.exit(pid)
        house.call(script, "wait", pids=[pid])
    assert [house.core.table.past(pid) is not None for pid in pids] == [False, False, True, True, True]
    assert refusal(house.call(script, "wait", pids=[pids[0]]))[0] == "NoSuchProcess"


def test_a_global_name_is_one_process(house: House, script: int) -> None:
    (pid,) = house.fork(script, kind="actor", global_name="registry")
    assert house.fork(script, kind="actor", global_name="registry") == [pid]
    assert house.pick(m.Create) == []
    assert house.call(script, "lookup", name="registry").fields == {"pid": pid}
    assert house.call(script, "lookup", name="other").fields == {"pid": 0}
    house.up(pid)
    house.exit(pid)
    assert house.call(script, "lookup", name="registry").fields == {"pid": 0}
    assert house.fork(script, kind="actor", global_name="registry") != [pid]


def test_whoever_exchanged_messages_hears_of_the_end(house: House, script: int) -> None:
    first, second, third = (house.spawn(script) for _ in range(3))
    house.core.table.get(first).correspondents.add(second)  # type: ignore[union-attr]
    house.die(first, signal=11)
    assert [fields["why"] for fields in house.told(second, "gone")] == ["signalled by SIGSEGV (code 139)"]
    assert house.told(third, "gone") == []
    assert house.told(second, "child") == []


def test_an_introduction(house: House, script: int) -> None:
    first, second = house.spawn(script), house.spawn(script)
    house.cast(first, "introduce", pid=second)
    (listen,) = house.told(second, "listen")
    assert listen["pid"] == first
    number = listen["number"]
    house.cast(second, "listening", pid=first, endpoint="tcp://127.0.0.1:5", ticket=b"t", number=number)
    (meet,) = house.told(first, "meet")
    assert (meet["pid"], meet["endpoint"], meet["ticket"]) == (second, "tcp://127.0.0.1:5", b"t")
    assert meet["number"] == number
    house.cast(first, "introduce", pid=second)
    assert house.told(second, "listen")[0]["number"] > number, "each is known by a number of its own"
    house.cast(first, "part", pid=second, numbers=[number])
    assert house.told(second, "part") == [{"pid": first, "numbers": [number]}]


@pytest.mark.parametrize(
    "args",
    [
        {"endpoint": 5, "ticket": b"t", "number": 1},
        {"endpoint": "x", "ticket": [1], "number": 1},
        {"endpoint": "x", "number": 1},
        {"ticket": b"t", "number": 1},
        {"endpoint": "x", "ticket": b"t", "number": "1"},
    ],
)
def test_an_introduction_that_makes_no_sense_reaches_nobody(house: House, script: int, args: dict[str, Any]) -> None:
    first, second = house.spawn(script), house.spawn(script)
    house.cast(second, "listening", pid=first, **args)
    assert house.pick(m.Notify) == []


def test_without_direct_connections_nobody_is_introduced() -> None:
    house = House(direct=False)
    script = house.script()
    first, second = house.spawn(script), house.spawn(script)
    house.cast(first, "introduce", pid=second)
    assert house.pick(m.Notify) == []


def test_who_ended_itself_because_it_was_cut_off_is_lost() -> None:
    house = House(lease=5.0)
    script = house.script()
    cut, quick, talker = (house.spawn(script) for _ in range(3))
    house.pass_time(4.9, heard=[script, talker])
    house.die(cut, 1)
    assert house.record(cut).status.cause == "lost"  # type: ignore[union-attr]
    assert "lease (5 s)" in house.record(cut).status.evidence  # type: ignore[union-attr]
    house.die(talker, 1)
    assert house.record(talker).status.cause == "exited", "it was heard until its end"  # type: ignore[union-attr]
    house.exit(quick, 3)
    assert house.record(quick).status.cause == "exited", "it could say so"  # type: ignore[union-attr]
    killed = house.spawn(script)
    house.pass_time(60, heard=[script])
    house.die(killed, signal=11)
    assert house.record(killed).status.cause == "signalled"  # type: ignore[union-attr]


def test_who_has_missed_something_for_good_is_lost(house: House, script: int) -> None:
    child = house.spawn(script)
    house.hear(m.Severed(child, "too much was under way"))
    assert [delete.key.pid for delete in house.pick(m.Delete)] == [child]
    house.die(child, signal=9)
    status = house.record(child).status
    assert status is not None
    assert (status.cause, "too much was under way" in status.evidence) == ("lost", True)
    house.hear(m.Severed(child, "once more"))
    house.hear(m.Severed(77, "a stranger"))
    house.hear(m.Severed(script, "too much was under way"))
    assert house.state(script) in ("zombie", "gone")


@pytest.mark.parametrize("op", ["", "no_such_call", "handle", "__class__", "check_starts"])
def test_an_unknown_call(house: House, script: int, op: str) -> None:
    name, message = refusal(house.call(script, op))
    assert (name, message) == ("InvalidCall", f"there is no system call {op!r}")


def test_no_call_with_nonsense_harms_the_supervisor(house: House, script: int) -> None:
    calls = house._actor._calls._ops
    names = ("pid", "pids", "n", "kind", "signal", "rid", "count", "name", "set", "reason", "code", "source_hash")
    nonsense: list[dict[str, Any]] = [
        {},
        {name: [[1]] for name in names},
        dict.fromkeys(names, -(2**63)),
        dict.fromkeys(names, 1e308),
        dict.fromkeys(names, "x"),
        {name: {"a": []} for name in names},
    ]
    for op in sorted(set(calls) - {"end", "shutdown"}):
        for args in nonsense:
            pid = house.spawn(script)
            for blobs in ((), (b"x",), (b"t", b"a")):
                house.hear(m.Called(pid, 1, op, args, blobs))
                house.pass_time(0.01, heard=[script, pid])
            house.die(pid, code=0)
    house.spawn(script)


# -- settings --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        {"grace": 0},
        {"grace": -1},
        {"grace": "10"},
        {"grace": True},
        {"grace": None},
        {"pickle": 1},
        {"direct": None},
        {"deadline": 0},
        {"heartbeat": float("nan")},
        {"no_such_setting": 1},
    ],
    ids=repr,
)
def test_a_setting_that_cannot_be(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidCall, match=repr(next(iter(given)))):
        Settings.parse(given)


def test_settings() -> None:
    assert Settings.parse({"grace": 1, "pickle": False, "deadline": None}).grace == 1
    assert Settings.parse({"deadline": 5.5}).deadline == 5.5
