"""The verdict on a process's end: which of what is known is the truth."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rackactor.status import Cause, ExitStatus
from rackactor_runtime.providers.base import InstanceExit
from rackactor_runtime.supervisor.decisions.exit_status import verdict
from rackactor_runtime.supervisor.decisions.table import Process, Sent

TERM, KILL, SEGV, INT, USR1, ABRT = 15, 9, 11, 2, 10, 6


def judge(
    ending: InstanceExit,
    report: dict[str, Any] | None = None,
    sent: tuple[Any, ...] = (),
    intent: Cause | None = None,
    started: bool = True,
    by: int = 2,
) -> ExitStatus:
    """Judge an end."""
    record = Process(pid=5, ppid=2, pgid=5, name="p", kind="function", what="f", created=1.0)
    record.started = 2.0 if started else None
    record.report = report
    record.intent, record.intent_words = intent, "words" if intent else ""
    record.sent = [Sent(3.0, by, sig) for sig in sent]
    return verdict(record, ending, 9.0)


def said(how: str, code: int = 0, sig: int | None = None, evidence: str = "") -> dict[str, Any]:
    """What an agent reports (without what is None, as the supervisor keeps it)."""
    return {"how": how, "code": code, "evidence": evidence, **({} if sig is None else {"signal": sig})}


EXITED, DIED, UNKNOWN = InstanceExit(0), InstanceExit(None, KILL), InstanceExit()
WENT_DOWN = InstanceExit(note="the machine is being shut down", outside=True)

#: ending, report, signals sent, intent, has joined -> code, signal, cause
TABLE: dict[str, tuple[InstanceExit, Any, tuple[Any, ...], Cause | None, bool, tuple[int, int | None, Cause]]] = {
    "returned": (EXITED, said("exited"), (), None, True, (0, None, Cause.EXITED)),
    "sys.exit(3)": (InstanceExit(3), said("exited", 3), (), None, True, (3, None, Cause.EXITED)),
    "os._exit(4): the agent says nothing": (InstanceExit(4), None, (), None, True, (4, None, Cause.EXITED)),
    "os._exit(0)": (EXITED, None, (), None, True, (0, None, Cause.EXITED)),
    "exception": (InstanceExit(1), said("exception", 1), (), None, True, (1, None, Cause.EXCEPTION)),
    "a module that cannot be imported": (
        InstanceExit(1),
        said("load-failed", 1),
        (),
        None,
        True,
        (1, None, Cause.LOAD_FAILED),
    ),
    "a command that is not there": (
        InstanceExit(127),
        said("load-failed", 127),
        (),
        None,
        True,
        (127, None, Cause.LOAD_FAILED),
    ),
    "MemoryError": (InstanceExit(1), said("oom", 1), (), None, True, (1, None, Cause.OOM)),
    "the memory limit killed it": (InstanceExit(None, KILL, oom=True), None, (), None, True, (137, KILL, Cause.OOM)),
    "the memory limit killed it while it was asked to end": (
        InstanceExit(None, KILL, oom=True),
        None,
        (TERM,),
        Cause.DEADLINE,
        True,
        (137, KILL, Cause.OOM),
    ),
    # signals
    "TERM, not handled": (InstanceExit(None, TERM), None, (TERM,), None, True, (143, TERM, Cause.SIGNALLED)),
    "TERM, handled with exit 0": (EXITED, said("exited"), (TERM,), None, True, (0, None, Cause.EXITED)),
    "TERM, handled with exit 5": (
        InstanceExit(5),
        said("exited", 5),
        (TERM,),
        None,
        True,
        (5, None, Cause.EXITED),
    ),
    "TERM, its handler raised": (
        InstanceExit(1),
        said("exception", 1),
        (TERM,),
        None,
        True,
        (1, None, Cause.EXCEPTION),
    ),
    "TERM ignored, then KILL": (DIED, None, (TERM, KILL), None, True, (137, KILL, Cause.SIGNALLED)),
    "TERM, and it crashed": (InstanceExit(None, SEGV), None, (TERM,), None, True, (139, SEGV, Cause.SIGNALLED)),
    "TERM, then a KILL that nobody in the group sent": (
        DIED,
        None,
        (TERM,),
        None,
        True,
        (137, KILL, Cause.DELETED_OUTSIDE),
    ),
    "KILL": (DIED, None, (KILL,), None, True, (137, KILL, Cause.SIGNALLED)),
    "KILL, but it had exited": (EXITED, None, (KILL,), None, True, (0, None, Cause.EXITED)),
    "KILL, but it had crashed": (InstanceExit(None, SEGV), None, (KILL,), None, True, (139, SEGV, Cause.SIGNALLED)),
    "KILL, and the provider cannot know": (UNKNOWN, None, (KILL,), None, True, (137, KILL, Cause.SIGNALLED)),
    "KILL before it had joined": (DIED, None, (KILL,), None, False, (137, KILL, Cause.SIGNALLED)),
    "KILL before it had joined, and the provider cannot know": (
        UNKNOWN,
        None,
        (KILL,),
        None,
        False,
        (137, KILL, Cause.SIGNALLED),
    ),
    "killed by the operating system": (DIED, None, (), None, True, (137, KILL, Cause.DELETED_OUTSIDE)),
    "killed by the operating system after a USR1": (
        DIED,
        None,
        (USR1, "reload", 0),
        None,
        True,
        (137, KILL, Cause.DELETED_OUTSIDE),
    ),
    "TERM from outside": (InstanceExit(None, TERM), None, (), None, True, (143, TERM, Cause.SIGNALLED)),
    "its machine went down, and TERM was quicker": (
        WENT_DOWN,
        said("signalled", 143, sig=TERM),
        (),
        None,
        True,
        (143, TERM, Cause.DELETED_OUTSIDE),
    ),
    "its machine went down, when it had exited": (
        WENT_DOWN,
        said("exited", 3),
        (),
        None,
        True,
        (3, None, Cause.EXITED),
    ),
    "its machine went down, when it had crashed": (
        WENT_DOWN,
        said("signalled", 139, sig=SEGV),
        (),
        None,
        True,
        (139, SEGV, Cause.SIGNALLED),
    ),
    "SEGV": (InstanceExit(None, SEGV), None, (), None, True, (139, SEGV, Cause.SIGNALLED)),
    "a free string is no KILL": (DIED, None, ("KILLED",), None, True, (137, KILL, Cause.DELETED_OUTSIDE)),
    "a VM deleted by hand": (UNKNOWN, None, (), None, True, (255, None, Cause.DELETED_OUTSIDE)),
    "a VM deleted by hand after a USR1": (UNKNOWN, None, (USR1,), None, True, (255, None, Cause.DELETED_OUTSIDE)),
    # commands, whose agent tells how they ended
    "a command died of TERM": (
        InstanceExit(143),
        said("signalled", 143, TERM),
        (TERM,),
        None,
        True,
        (143, TERM, Cause.SIGNALLED),
    ),
    "a command crashed": (
        InstanceExit(139),
        said("signalled", 139, SEGV),
        (),
        None,
        True,
        (139, SEGV, Cause.SIGNALLED),
    ),
    "a command was killed, and not by us": (
        InstanceExit(137),
        said("signalled", 137, KILL),
        (),
        None,
        True,
        (137, KILL, Cause.DELETED_OUTSIDE),
    ),
    "a command was killed, and its provider cannot know more": (
        UNKNOWN,
        said("signalled", 137, KILL),
        (),
        None,
        True,
        (137, KILL, Cause.DELETED_OUTSIDE),
    ),
    "a command exited with 143 by itself": (
        InstanceExit(143),
        said("exited", 143),
        (),
        None,
        True,
        (143, None, Cause.EXITED),
    ),
    # what happens to the agent after it has reported changes nothing
    "reported, then the agent hung and was killed": (
        DIED,
        said("exited"),
        (KILL,),
        None,
        True,
        (0, None, Cause.EXITED),
    ),
    "reported, then the agent crashed": (
        InstanceExit(None, SEGV),
        said("exited", 3),
        (),
        None,
        True,
        (3, None, Cause.EXITED),
    ),
    "reported an exception, then the agent was killed": (
        DIED,
        said("exception", 1),
        (),
        None,
        True,
        (1, None, Cause.EXCEPTION),
    ),
    "reported, then the VM was gone": (UNKNOWN, said("exited"), (), None, True, (0, None, Cause.EXITED)),
    "reported, then exited otherwise": (InstanceExit(7), said("exited"), (), None, True, (0, None, Cause.EXITED)),
    # what the supervisor meant
    "deadline": (InstanceExit(None, TERM), None, (TERM,), Cause.DEADLINE, True, (143, TERM, Cause.DEADLINE)),
    "deadline, TERM ignored": (DIED, None, (TERM, KILL), Cause.DEADLINE, True, (137, KILL, Cause.DEADLINE)),
    "deadline, TERM handled": (EXITED, said("exited"), (TERM,), Cause.DEADLINE, True, (0, None, Cause.DEADLINE)),
    "deadline, TERM made into an interrupt": (
        InstanceExit(130),
        said("signalled", 130, INT),
        (TERM,),
        Cause.DEADLINE,
        True,
        (130, INT, Cause.DEADLINE),
    ),
    "deadline, but it crashed": (
        InstanceExit(None, SEGV),
        None,
        (TERM,),
        Cause.DEADLINE,
        True,
        (139, SEGV, Cause.SIGNALLED),
    ),
    "deadline, but a KILL from outside was quicker": (
        DIED,
        None,
        (TERM,),
        Cause.DEADLINE,
        True,
        (137, KILL, Cause.DELETED_OUTSIDE),
    ),
    "deadline, and the provider cannot know": (
        UNKNOWN,
        None,
        (TERM, KILL),
        Cause.DEADLINE,
        True,
        (137, KILL, Cause.DEADLINE),
    ),
    "parent died": (InstanceExit(None, TERM), None, (TERM,), Cause.PARENT_DIED, True, (143, TERM, Cause.PARENT_DIED)),
    "group ended": (DIED, None, (TERM, KILL), Cause.GROUP_ENDED, True, (137, KILL, Cause.GROUP_ENDED)),
    "lost": (DIED, None, (KILL,), Cause.LOST, True, (137, KILL, Cause.LOST)),
    # never joined
    "could not be made": (InstanceExit(fault="no room"), None, (), None, False, (255, None, Cause.BOOT_FAILED)),
    "it has no directory": (
        InstanceExit(fault="cannot enter directory", kind="directory"),
        None,
        (),
        None,
        False,
        (1, None, Cause.LOAD_FAILED),
    ),
    "its agent ended before it had joined": (
        InstanceExit(1),
        None,
        (),
        None,
        False,
        (1, None, Cause.BOOT_FAILED),
    ),
    "its agent ended with 0 before it had joined": (EXITED, None, (), None, False, (255, None, Cause.BOOT_FAILED)),
    "its agent crashed before it had joined": (
        InstanceExit(None, SEGV),
        None,
        (),
        None,
        False,
        (139, SEGV, Cause.BOOT_FAILED),
    ),
    "killed from outside before it had joined": (DIED, None, (), None, False, (137, KILL, Cause.DELETED_OUTSIDE)),
    "did not come up in time": (DIED, None, (KILL,), Cause.BOOT_FAILED, False, (137, KILL, Cause.BOOT_FAILED)),
}


@pytest.mark.parametrize("name", TABLE)
def test_the_truth(name: str) -> None:
    ending, report, sent, intent, started, (code, sig, cause) = TABLE[name]
    status = judge(ending, report, sent, intent, started)
    assert (status.code, status.signal, status.cause) == (code, sig, cause)
    if cause is not Cause.EXITED and cause is not Cause.EXCEPTION and cause is not Cause.LOAD_FAILED:
        assert status.evidence


def test_the_evidence_of_signals_says_who_sent_them() -> None:
    assert judge(InstanceExit(None, TERM), sent=(TERM,)).evidence == "SIGTERM from process 2"
    assert (
        judge(DIED, sent=(TERM, KILL), by=1).evidence == "SIGTERM from the supervisor; then SIGKILL from the supervisor"
    )
    assert judge(DIED, sent=(TERM, KILL), intent=Cause.DEADLINE, by=1).evidence.startswith("words: SIGTERM from")


def test_the_evidence_of_a_crash() -> None:
    assert judge(InstanceExit(None, SEGV)).evidence == "it crashed: SIGSEGV"
    assert "nobody in the group sent" in judge(DIED).evidence
    assert judge(InstanceExit(None, USR1)).evidence == "SIGUSR1 that nobody in the group sent"


def test_the_evidence_of_a_report() -> None:
    trace = "Traceback\nValueError: x\n"
    status = judge(InstanceExit(1, tail="hello\n" + trace), said("exception", 1, evidence=trace))
    assert status.evidence == trace  # its output, which holds the same, is not told twice
    status = judge(InstanceExit(1, tail="hello\n"), said("exception", 1, evidence=trace))
    assert status.evidence == f"{trace}\nlast output:\nhello"


def test_the_evidence_holds_the_last_lines_and_the_words_of_the_provider() -> None:
    tail = "\n".join(f"line {n}" for n in range(100))
    evidence = judge(InstanceExit(3, note="a note", tail=tail)).evidence
    assert evidence.splitlines()[:2] == ["a note", "last output:"]
    assert evidence.splitlines()[2:] == [f"line {n}" for n in range(80, 100)]
    assert "no room" in judge(InstanceExit(fault="no room"), started=False).evidence


def test_what_befell_the_agent_after_its_report_is_told() -> None:
    assert "SIGSEGV" in judge(InstanceExit(None, SEGV), said("exited", 3)).evidence
    assert judge(InstanceExit(143), said("signalled", 143, TERM), (TERM,)).evidence == "SIGTERM from process 2"


def test_times() -> None:
    assert (judge(EXITED).started, judge(EXITED).ended) == (2.0, 9.0)
    assert judge(EXITED, started=False).started is None


endings = st.builds(
    InstanceExit,
    st.none() | st.integers(0, 255),
    st.none() | st.integers(1, 64),
    st.booleans(),
    st.sampled_from(["", "note"]),
    st.none() | st.just("fault"),
    st.text(max_size=20),
)
reports = st.none() | st.builds(
    said,
    st.sampled_from(["exited", "exception", "load-failed", "signalled", "oom", "?"]),
    st.integers(0, 255),
    st.none() | st.integers(1, 64),
    st.text(max_size=20),
)
signals = st.lists(st.sampled_from([0, TERM, KILL, SEGV, INT, "reload"]), max_size=3).map(tuple)


@given(endings, reports, signals, st.none() | st.sampled_from(list(Cause)), st.booleans())
@settings(max_examples=400, deadline=None)
def test_every_verdict_is_of_one_piece(
    ending: InstanceExit, report: Any, sent: tuple[Any, ...], intent: Cause | None, started: bool
) -> None:
    started = started or report is not None  # who has not joined reports nothing
    status = judge(ending, report, sent, intent, started)
    assert 0 <= status.code <= 255
    if status.signal is not None:
        assert status.code == 128 + status.signal
    if status.cause in (Cause.EXITED, Cause.EXCEPTION, Cause.LOAD_FAILED) and intent is None:
        assert status.signal is None
    if status.cause is Cause.SIGNALLED and intent is None:
        assert status.signal is not None
    if status.cause is Cause.DELETED_OUTSIDE and intent is None:
        assert signal.SIGKILL not in sent
    if status.ok and intent is None:
        assert started
        assert (report or {"code": ending.code})["code"] == 0
    if intent is None and not started and report is None:
        assert status.cause in (Cause.BOOT_FAILED, Cause.SIGNALLED, Cause.DELETED_OUTSIDE, Cause.OOM)


def test_the_evidence_of_a_crash_that_python_has_shown_is_where_the_program_was() -> None:
    ours = [f'  File "/lib/rackactor_runtime/agent/x.py", line {number} in main' for number in range(30)]
    dump = [
        *(f"line {number}" for number in range(30)),
        "Fatal Python error: Segmentation fault",
        "",
        "Thread 0x00007f8c909fd6c0 (most recent call first):",
        '  File "/lib/rackactor/kernel/leader.py", line 330 in _background',
        '  File "/lib/python3.11/threading.py", line 982 in run',
        "",
        "Current thread 0x00007f8c937bfb80 (most recent call first):",
        '  File "/home/me/program.py", line 2 in inner',
        *ours,
        "",
        "Extension modules: numpy (total: 1)",
    ]
    told = judge(InstanceExit(None, SEGV, tail="\n".join(dump))).evidence
    assert "it crashed: SIGSEGV" in told
    assert "line 29\nFatal Python error: Segmentation fault" in told
    assert 'first):\n  File "/home/me/program.py", line 2 in inner' in told
    assert "Extension modules" in told
    assert "rackactor" not in told
    assert "line 3\n" not in told
