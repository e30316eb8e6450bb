"""What the supervisor says of processes, who knows whom, and what it makes of nonsense."""

from __future__ import annotations

from typing import Any

import pytest
from driving import House, refusal

from rackactor.status import Cause, ExitStatus
from rackactor_runtime.supervisor.decisions import messages as m
from rackactor_runtime.supervisor.decisions.calls.dispatch import CALLS
from rackactor_runtime.supervisor.decisions.table import VISITS

USR1 = 10


def test_a_command_line_is_no_process_of_ps(house: House, script: int) -> None:
    pid = house.spawn(script)
    operator = house.operator()
    rows = house.call(operator, "ps").fields["processes"]
    assert [row["pid"] for row in rows] == [script, pid]
    assert [row["pid"] for row in house.call(operator, "ps", pids=[pid]).fields["processes"]] == [pid]
    house.call(operator, "exit", code=0)
    assert house.state.table.get(operator) is None
    house.exit(pid)
    operator = house.operator()
    assert house.call(operator, "wait", pids=[pid]).fields["pid"] == pid
    assert house.state_of(pid) == "zombie"  # its parent has not waited


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
    assert [house.state.table.past(pid) is not None for pid in pids] == [False, False, True, True, True]
    assert refusal(house.call(script, "wait", pids=[pids[0]]))[0] == "NoSuchProcess"


def test_command_lines_do_not_push_processes_out_of_the_history() -> None:
    house = House(history=3)
    script = house.script()
    pid = house.spawn(script)
    house.exit(pid, 3)
    house.call(script, "wait", pids=[pid])
    for _ in range(3 * VISITS):
        house.cast(house.operator(), "bye")
    assert house.call(script, "why", pid=pid).fields["process"]["status"]["code"] == 3
    assert len(house.state.table._past) + len(house.state.table._visits) == 1 + VISITS


def test_a_command_line_that_says_goodbye_has_ended_well_and_at_once(house: House, script: int) -> None:
    operator = house.operator()
    house.cast(operator, "bye")
    assert [dismissed.pid for dismissed in house.pick(m.Dismiss)] == [operator]
    status = house.call(script, "why", pid=operator).fields["process"]["status"]
    assert (status["code"], status["cause"]) == (0, "exited")
    house.cast(script, "bye")
    assert house.state_of(script) == "running", "whether a script has ended is for its death to say"


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
    house.state.table.get(first).correspondents.add(second)  # type: ignore[union-attr]
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
    assert house.state_of(script) in ("zombie", "gone")


@pytest.mark.parametrize("op", ["", "no_such_call", "handle", "__class__", "answer_starts"])
def test_an_unknown_call(house: House, script: int, op: str) -> None:
    name, message = refusal(house.call(script, op))
    assert (name, message) == ("InvalidCall", f"there is no system call {op!r}")


def test_no_call_with_nonsense_harms_the_supervisor(house: House, script: int) -> None:
    calls = CALLS
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


@pytest.mark.parametrize(
    ("cause", "evidence", "words"),
    [
        (
            Cause.BOOT_FAILED,
            "No valid host was found.\nand more",
            "boot-failed with code 255: No valid host was found.",
        ),
        (Cause.BOOT_FAILED, " \n", "boot-failed with code 255"),
        (Cause.EXCEPTION, "Traceback", "exception with code 255"),
    ],
)
def test_an_error_says_why_a_process_is_gone_where_its_cause_alone_does_not(
    cause: Cause, evidence: str, words: str
) -> None:
    assert ExitStatus(code=255, signal=None, cause=cause, evidence=evidence, started=None, ended=0.0).reason == words
