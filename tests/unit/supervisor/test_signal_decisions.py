"""How the supervisor decides on signals, deadlines and silence."""

from __future__ import annotations

from typing import Any

import pytest
from driving import House, refusal

from rackactor.status import Cause
from rackactor_runtime.providers.base import Key, Liveness
from rackactor_runtime.supervisor.decisions import messages as m

TERM = 15
KILL = 9
USR1 = 10


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
    assert house.state_of(pid) == "stopping"
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
    assert house.state_of(pid) == "stopping"


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
    assert house.pick(m.Probe) == []
    house.pass_time(0.2, heard=[script])
    assert house.pick(m.Probe) == [m.Probe(Key(pid, 1))]
    house.pass_time(0.5, heard=[script])
    assert house.pick(m.Probe) == []
    house.pass_time(0.5, heard=[script])
    assert house.pick(m.Probe) == [m.Probe(Key(pid, 1))]
    house.pass_time(1.0, heard=[script, pid])
    assert house.pick(m.Probe) == []


def test_a_supervisor_that_did_not_run_judges_nobody_by_that(house: House, script: int) -> None:
    """What came meanwhile may still be on its way to it, whatever its provider says."""
    pid = house.spawn(script)
    house.pass_time(2.4, heard=[script])
    house.now += 100.0
    house.hear(m.Absent(100.0))
    house.pass_time(0.1, heard=[script])
    house.probed(pid, Liveness.STOPPED)
    assert house.pick(m.Delete) == []
    house.pass_time(2.5, heard=[script])
    house.probed(pid, Liveness.STOPPED)
    assert [d.key for d in house.pick(m.Delete)] == [(pid, 1)]


def test_many_short_absences_hide_nobody_s_silence(house: House, script: int) -> None:
    pid = house.spawn(script)
    for _ in range(40):
        house.now += 0.2
        house.hear(m.Absent(0.1))
        house.pass_time(0.0, heard=[script])
    house.probed(pid, Liveness.STOPPED)
    assert [d.key for d in house.pick(m.Delete)] == [(pid, 1)]


def test_a_boot_has_its_time_whether_the_supervisor_runs_or_not(house: House, script: int) -> None:
    (pid,) = house.fork(script)
    house.now += 1000.0
    house.hear(m.Absent(1000.0))
    house.pass_time(0.0, heard=[script])
    assert house.pick(m.Delete) == []
    house.up(pid)
    assert house.record(pid).alive


@pytest.mark.parametrize(
    "liveness, silent, lost",
    [
        (Liveness.STOPPED, 3.0, True),
        (Liveness.UNKNOWN, 3.0, False),  # that is no evidence
        (Liveness.UNKNOWN, 61.0, True),
        (Liveness.RUNNING, 3.0, False),
        (Liveness.RUNNING, 59.0, False),
        (Liveness.RUNNING, 61.0, True),
        (Liveness.GONE, 3.0, False),  # its end is told next
        (Liveness.GONE, 61.0, False),
        (Liveness.STOPPED, 2.0, False),  # it has been heard meanwhile
    ],
)
def test_what_the_provider_sees_decides(
    house: House, script: int, liveness: Liveness, silent: float, lost: bool
) -> None:
    pid = house.spawn(script)
    house.pass_time(silent, heard=[script])
    house.probed(pid, liveness)
    assert [d.key for d in house.pick(m.Delete)] == ([(pid, 1)] if lost else [])
    if lost:
        house.die(pid, signal=KILL)
        status = house.record(pid).status
        assert status is not None
        assert status.cause is Cause.LOST
        assert liveness.value in status.evidence


def test_a_booting_instance_is_not_silent(house: House, script: int) -> None:
    (pid,) = house.fork(script)
    house.pass_time(10, heard=[script])
    assert house.pick(m.Probe) == []
    assert house.probed(pid, Liveness.STOPPED) == []


def test_a_silent_command_line_is_forgotten_at_once_and_a_silent_script_later(house: House, script: int) -> None:
    operator = house.operator()
    house.pass_time(3.0)
    assert house.state_of(operator) == "gone"
    assert house.record(script).alive
    house.pass_time(60.0)
    assert house.state.shutdown.reason
    assert not house.record(script).alive
