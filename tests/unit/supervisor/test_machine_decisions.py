"""Processes that are machines, as the supervisor sees them: their members, placements, silence and ends."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from driving import House

from rackactor_runtime.providers.base import Key, Liveness, Order
from rackactor_runtime.supervisor.decisions import messages as m
from rackactor_runtime.supervisor.decisions.machines import MARGIN, UNKNOWN

KILL = 9


@pytest.fixture
def house() -> House:
    return House(machines=True, lost_after=2.5, silence_limit=20.0, grace=5.0, boot_timeout=30.0)


def order_of(house: House) -> Order:
    [create] = [effect for effect in house.effects if isinstance(effect, m.Create)]
    return create.order


def up(house: House, pid: int) -> int:
    """Have a process's machine and then its agent come up; return the pid of the machine's member."""
    member = house.record(pid).machine
    house.hear(m.InstanceCreated(Key(pid, 1), "server"))
    house.hear(m.Joined(member, 77))
    house.hear(m.Joined(pid, 78))
    return member


def test_the_birth_of_a_machine_and_of_its_agent(house: House, script: int) -> None:
    (pid,) = house.fork(script, env={"A": "1"}, memory=5, deadline=60.0, name="x", args={"colour": "red"})
    order = order_of(house)
    member = house.record(pid).machine
    assert order.key == (pid, 1)
    assert (order.name, order.ppid, order.args) == ("x", script, {"colour": "red"})
    assert order.deadline == house.now + 1e9 + 60.0 + 5.0 + MARGIN  # when the supervisor has long ended it
    birth = order.birth
    assert (birth["role"], birth["pid"], birth["lease"], birth["boot_timeout"]) == ("machine", member, 10.0, 30.0)
    assert birth["deadline"] == order.deadline
    house.hear(m.Joined(member, 77))
    [welcome] = house.pick(m.Welcome)
    agent = welcome.fields["order"]
    assert (agent["pid"], agent["env"], agent["cwd"], agent["memory"]) == (pid, {"A": "1"}, None, 5)
    assert agent["birth"]["token"] != bytes.fromhex(birth["token"])
    house.hear(m.Joined(pid, 78))
    [welcome] = house.pick(m.Welcome)
    assert welcome.fields["remote"] is True


def test_machines_are_nobodys_processes(house: House, script: int) -> None:
    (pid,) = house.fork(script)
    member = up(house, pid)
    rows = house.call(script, "ps").fields["processes"]
    assert [row["pid"] for row in rows] == [script, pid]
    answer = house.call(script, "kill", pids=[member], signal=KILL)
    assert "is the machine of process" in answer.fields["message"]
    house.call(script, "kill", pids=[0], signal=10)
    assert house.told(member, "signal") == []


def test_children_have_their_parents_placement(house: House, script: int) -> None:
    (parent,) = house.fork(script, placement={"image": "a", "flavor": "small", "keypair": None})
    assert house.record(parent).placement == {"image": "a", "flavor": "small"}
    up(house, parent)
    (child,) = house.fork(parent, placement={"flavor": "large", "security_groups": ["x", "y"]})
    assert house.record(child).placement == {"image": "a", "flavor": "large", "security_groups": ["x", "y"]}
    for wrong in ({"colour": "red"}, {"image": 5}, {"image": ""}, ["image"]):
        answer = house.call(script, "fork", (b"", b""), n=1, kind="function", placement=wrong)
        assert answer.fields["type"] == "InvalidCall"


def test_a_machine_may_wait_for_its_turn_but_not_for_its_agent(house: House, script: int) -> None:
    (pid,) = house.fork(script)
    house.keep_hearing(100.0)
    assert house.state_of(pid) == "new"
    house.hear(m.InstanceCreated(Key(pid, 1), "server"))
    house.keep_hearing(29.0)
    assert house.state_of(pid) == "booting"
    house.keep_hearing(2.0)
    assert [effect for effect in house.effects if isinstance(effect, m.Delete)] == [m.Delete(Key(pid, 1))]
    house.die(pid, note="its console")
    status = house.record(pid).status
    assert status is not None
    assert (status.cause, "its console" in status.evidence) == ("boot-failed", True)


def test_the_silence_of_a_machine_is_looked_into_and_no_verdict(house: House, script: int) -> None:
    (pid,) = house.fork(script)
    member = up(house, pid)
    house.pass_time(3.0, heard=[script, pid])
    assert house.pick(m.Probe) == [m.Probe(Key(pid, 1))]
    house.probed(pid, Liveness.RUNNING)
    assert house.state_of(pid) == "running"
    for _ in range(8):
        house.pass_time(2.0, heard=[script, pid])
    assert house.state_of(pid) == "running"
    house.pass_time(2.0, heard=[script, pid])
    assert house.pick(m.Delete) == [m.Delete(Key(pid, 1))]
    house.die(pid)
    status = house.record(pid).status
    assert status is not None
    assert status.cause == "lost"
    assert "guest program" in status.evidence
    assert house.state.table.get(member) is None


def test_what_is_over_is_not_killed_for_being_slow_to_go(house: House, script: int) -> None:
    (pid,) = house.fork(script)
    up(house, pid)
    house.call(pid, "exit", (b"",), how="exited", code=0)
    house.hear(m.InstanceOver(Key(pid, 1)))
    assert house.state_of(pid) == "stopping"
    for _ in range(30):
        house.pass_time(1.0, heard=[script])
        assert house.pick(m.Delete) == house.pick(m.Probe) == []
    house.die(pid, 0)
    status = house.record(pid).status
    assert status is not None
    assert (status.ok, house.record(pid).sent) == (True, [])


@pytest.mark.parametrize(
    ("silent", "deleted", "cause"),
    [(3.0, False, "deleted-outside"), (9.0, False, "lost"), (9.0, True, "deleted-outside")],
)
def test_off_by_hand_or_by_its_own_lease(house: House, script: int, silent: float, deleted: bool, cause: str) -> None:
    (pid,) = house.fork(script)
    up(house, pid)
    house.pass_time(silent, heard=[script])
    house.die(pid, note="server is SHUTOFF, and nobody in the group had asked for that", outside=True, deleted=deleted)
    status = house.record(pid).status
    assert status is not None
    assert status.cause == cause
    assert "SHUTOFF" in status.evidence


def test_faults(house: House, script: int) -> None:
    for kind, cause in (("quota", "quota"), ("no-valid-host", "boot-failed"), ("", "boot-failed")):
        (pid,) = house.fork(script)
        house.die(pid, fault="in the cloud's own words", kind=kind)
        status = house.record(pid).status
        assert status is not None
        assert (status.cause, status.evidence) == (cause, "in the cloud's own words")


def test_unkillable(house: House, script: int) -> None:
    (pid,) = house.fork(script)
    up(house, pid)
    house.call(script, "kill", pids=[pid], signal=KILL)
    house.hear(m.Unconfirmed(Key(pid, 1), "409 Conflict"))
    [row] = [row for row in house.call(script, "ps").fields["processes"] if row["pid"] == pid]
    assert (row["state"], row["note"]) == ("unkillable", "409 Conflict")
    house.call(script, "kill", pids=[pid], signal=15)
    house.keep_hearing(20.0)
    assert house.state_of(pid) == "unkillable"
    house.die(pid)
    assert house.state_of(pid) == "zombie"


def test_a_cloud_that_gives_no_clear_answer_is_said(house: House, script: int) -> None:
    (pid,) = house.fork(script)
    house.pass_time(40.0, heard=[script])
    house.hear(m.Unanswered(Key(pid, 1), 40.0, "HTTP 503"))
    row = house.call(script, "why", pid=pid).fields["process"]
    since = datetime.fromtimestamp(house.now + 1e9 - 40.0, UTC)
    assert (row["state"], row["note"]) == (
        "new",
        f"the cloud gives no clear answer since {since:%H:%M:%S} UTC: HTTP 503",
    )
    house.hear(m.InstanceCreated(Key(pid, 1), "server"))
    row = house.call(script, "why", pid=pid).fields["process"]
    assert (row["state"], row["note"]) == ("booting", "")
    house.hear(m.Unanswered(Key(pid, 1), 40.0, "HTTP 503"))  # too late: it is there
    assert house.record(pid).note == ""


def test_what_may_still_come_is_told_at_the_end(house: House, script: int) -> None:
    house.hear(m.Owed(900.0))
    house.hear(m.Owed(20.0))  # the longest counts
    house.pass_time(100.0, heard=[script])
    house.cast(script, "end", reason="enough")
    [told] = house.told(script, "end")
    assert told == {"reason": "enough", "owed": pytest.approx(800.0)}


def test_who_is_left_without_a_word_may_still_come(house: House, script: int) -> None:
    house.fork(script)
    house.cast(script, "end", reason="enough")
    house.keep_hearing(70.0)  # its create has no answer to the last
    ended = [e.event.to_wire() for e in house.effects if isinstance(e, m.Notify) and e.event.op == "end"]
    assert [fields["owed"] for fields in ended] == [UNKNOWN]


def test_what_is_one_fork_is_said_to_the_provider(house: House, script: int) -> None:
    first, second = house.fork(script, 3), house.fork(script, 2)
    orders = [create.order for create in house.effects if isinstance(create, m.Create)]
    assert [order.fork for order in orders] == [first[0]] * 3 + [second[0]] * 2
    assert {order.boot_timeout for order in orders} == {30.0}


def test_the_end_names_what_is_not_confirmed(house: House, script: int) -> None:
    (stuck, fine) = house.fork(script, 2)
    for pid in (stuck, fine):
        up(house, pid)
    rid = house.cast(script, "end")
    house.pass_time(2.0)
    house.die(fine)
    house.hear(m.Unconfirmed(Key(stuck, 1), "409 Conflict"))
    house.keep_hearing(50.0)
    assert house.answer(script, rid) is None
    house.keep_hearing(15.0)
    answer = house.answer(script, rid)
    assert answer is not None
    assert answer.fields["left"] == [f"process {stuck}: server: 409 Conflict"]
    [finish] = [effect for effect in house.effects if isinstance(effect, m.Finish)]
    assert list(finish.left) == answer.fields["left"]


def test_a_connection_of_a_machine_that_cannot_be_mended(house: House, script: int) -> None:
    (pid,) = house.fork(script)
    member = up(house, pid)
    house.hear(m.Severed(member, "too much under way"))
    assert house.pick(m.Delete) == [m.Delete(Key(pid, 1))]


def test_a_keeper_is_not_given_up_for_a_short_silence(house: House, script: int) -> None:
    keeper, other = house.operator(), house.operator()
    assert house.call(keeper, "keep").ok
    assert not house.call(script, "keep").ok
    house.pass_time(5.0, heard=[script])
    assert (house.record(keeper).alive, house.record(other).alive) == (True, False)
    for _ in range(5):
        house.pass_time(10.0, heard=[keeper])
    assert house.record(script).alive, "the keeper knows whether the script lives"
    assert house.state.shutdown.reason == ""
    house.pass_time(25.0)
    house.pass_time(0.1)
    assert not house.record(keeper).alive
    assert house.state.shutdown.reason, "neither is heard any more"
