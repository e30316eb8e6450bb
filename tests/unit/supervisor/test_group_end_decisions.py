"""How a group ends, detached or not."""

from __future__ import annotations

from driving import House, refusal

from rackactor_runtime.supervisor.decisions import messages as m

TERM = 15
KILL = 9


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
    assert len([e for e in house.effects if isinstance(e, m.Notify) and (e.pid, e.event.op) == (script, "end")]) == 1


def test_an_ending_group_starts_nothing(house: House, script: int) -> None:
    house.spawn(script)
    house.cast(script, "end", reason="enough")
    answer = house.call(script, "fork", (b"t", b"a"), n=1, kind="function")
    assert refusal(answer) == ("NotAllowed", "the group is ending: enough")
    assert house.pick(m.Create) == []


def test_only_those_outside_may_end_the_group(house: House, script: int) -> None:
    pid = house.spawn(script)
    assert refusal(house.call(pid, "end"))[0] == "NotAllowed"
    assert not house.state.shutdown.reason


def test_it_ends_with_the_program_that_made_it(house: House, script: int) -> None:
    pid = house.spawn(script)
    house.hear(m.OwnerGone("the program that made the group is gone"))
    assert house.told(pid, "signal") == [{"signal": TERM, "sender": 1}]
    house.die(pid, signal=TERM)
    house.pass_time(0.1)
    assert len(house.pick(m.Finish)) == 1


def test_it_ends_at_its_deadline(house: House, script: int) -> None:
    house.state.deadline_at = house.now + 10
    pid = house.spawn(script)
    house.keep_hearing(9)
    assert not house.state.shutdown.reason
    house.keep_hearing(1)
    assert house.state.shutdown.reason == "the group's deadline passed"
    assert house.told(pid, "signal")


# -- detached ------------------------------------------------------------------------------------------------


def test_detaching_needs_a_deadline_and_is_for_the_script(house: House, script: int) -> None:
    pid = house.spawn(script)
    assert refusal(house.call(script, "detach"))[0] == "InvalidCall"
    house.state.deadline_at = house.now + 3600
    assert refusal(house.call(pid, "detach"))[0] == "NotAllowed"
    assert house.call(script, "detach").ok


def test_a_detached_group_outlives_its_script_and_ends_with_its_last_process(house: House, script: int) -> None:
    house.state.deadline_at = house.now + 3600
    pid = house.spawn(script)
    house.call(script, "detach")
    assert house.state_of(script) == "gone"
    assert not [e for e in house.effects if isinstance(e, m.Notify) and e.pid == pid]
    assert not house.state.shutdown.reason
    assert house.record(pid).ppid == 1
    house.exit(pid, 4)
    house.keep_hearing(5)
    assert house.state_of(pid) == "zombie"  # somebody may ask how it ended
    assert not house.state.shutdown.reason
    operator = house.operator()
    assert house.call(operator, "wait", pids=[pid]).fields["status"]["code"] == 4
    house.call(operator, "exit", code=0)
    assert house.call(house.operator(), "wait", pids=[pid]).fields["status"]["code"] == 4


def test_a_detached_group_does_not_wait_for_ever_to_be_asked() -> None:
    house = House(linger=30)
    script = house.script()
    house.state.deadline_at = house.now + 3600
    pid = house.spawn(script)
    house.call(script, "detach")
    assert house.state_of(script) == "gone"
    house.exit(pid, 4)
    house.keep_hearing(29)
    assert not house.state.shutdown.reason
    house.keep_hearing(2)
    assert house.state.shutdown.reason


def test_what_has_ended_before_its_group_was_detached_may_be_asked_for_like_any_other() -> None:
    """The group ended at once, so that whoever came to ask found none: a quick command under `rack run --detach`."""
    house = House(linger=30)
    script = house.script()
    house.state.deadline_at = house.now + 3600
    pid = house.spawn(script)
    house.exit(pid, 4)
    house.call(script, "detach")
    assert house.state_of(script) == "gone"
    house.keep_hearing(20)
    assert house.call(house.operator(), "wait", pids=[pid]).fields["status"]["code"] == 4
    assert not house.state.shutdown.reason


def test_a_detached_group_that_lives_on_forgets_what_nobody_will_wait_for() -> None:
    house = House(linger=30)
    script = house.script()
    house.state.deadline_at = house.now + 3600
    house.spawn(script)
    parents = [house.spawn(script) for _ in range(3)]
    children = [house.spawn(parent, on_orphan="adopt") for parent in parents]
    house.call(script, "detach")
    for pid in [*parents, *children]:
        house.exit(pid)
    assert {house.state_of(pid) for pid in [*parents, *children]} == {"zombie"}
    house.keep_hearing(32)
    assert {house.state_of(pid) for pid in [*parents, *children]} == {"gone"}
    assert not house.state.shutdown.reason
