"""How the supervisor decides on births: what may be forked, how often, and who comes up in time."""

from __future__ import annotations

from typing import Any

import pytest
from driving import House, refusal

from rackactor.errors import SpawnIntensityExceeded
from rackactor.status import Cause
from rackactor_runtime.providers.base import Key
from rackactor_runtime.supervisor.decisions import messages as m
from rackactor_runtime.supervisor.decisions.spawn_rate import Intensity

KILL = 9


def test_a_fork_writes_the_intent_and_asks_the_provider(house: House, script: int) -> None:
    blobs = (b"target", b"arguments")
    options = {"n": 1, "kind": "function", "what": "f", "env": {"A": "1"}, "cwd": "/", "memory": 5, "name": "x"}
    answer = house.call(script, "fork", blobs, **options)
    (create,) = house.pick(m.Create)
    (pid,) = answer.fields["pids"]
    assert create.order.key == (pid, 1)
    assert (create.order.env, create.order.cwd, create.order.memory) == ({"A": "1"}, "/", 5)
    assert set(create.order.birth) == {"pid", "incarnation", "token"}  # nothing but what lets it in
    assert house.state_of(pid) == "new"
    house.hear(m.InstanceCreated(Key(pid, 1), "4711"))
    assert house.state_of(pid) == "booting"
    house.hear(m.Joined(pid, 4711))
    (welcome,) = house.pick(m.Welcome)
    assert (welcome.pid, welcome.blobs) == (pid, blobs)
    assert (welcome.fields["pid"], welcome.fields["ppid"], welcome.fields["kind"]) == (pid, script, "function")
    assert house.state_of(pid) == "running"


def test_it_may_join_before_the_provider_says_that_it_exists(house: House, script: int) -> None:
    (pid,) = house.fork(script)
    house.hear(m.Joined(pid, 1))
    house.hear(m.InstanceCreated(Key(pid, 1), "1"))
    assert house.state_of(pid) == "running"


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
    assert len(list(house.state.table)) == 1


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


def test_processes_that_live_at_the_same_time() -> None:
    house = House(max_processes=5)
    script = house.script()
    pids = house.fork(script, n=4)
    name, message = refusal(house.call(script, "fork", (b"t", b"a"), n=2, kind="function"))
    assert name == "ForkError"
    assert "6 processes would live at the same time, and the group allows 5: raise max_processes=" in message
    assert len(list(house.state.table)) == 5  # nothing was begun
    for pid in pids[:2]:
        house.die(pid, code=0)
    house.fork(script, n=3)


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
