"""The verdict on a process's end: which of the many things that are known is the truth.

Three know something: the agent (what the target did, if it could still speak), the provider (how the
instance ended) and the supervisor (what it meant to do, and who sent which signal). The agent is
believed on what its target did; the provider on how it died; the supervisor on why.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Any

from rackactor.signals import signal_name
from rackactor.status import Cause, ExitStatus
from rackactor_runtime.supervisor.decisions.table import Process

_LAST_LINES = 20


@dataclass(frozen=True)
class Ending:
    """How the provider says the instance ended."""

    code: int | None
    signal: int | None
    oom: bool = False
    note: str = ""
    fault: str | None = None
    tail: str = ""


def verdict(process: Process, ending: Ending, now: float) -> ExitStatus:
    """Judge how a process ended.

    Args:
        process: its record: report, intent, signals sent.
        ending: what the provider saw.
        now: seconds since the epoch.
    """
    report = process.report or {}
    code, sig = _exit_code(report, ending)
    cause, words = _cause(process, report, ending, sig)
    evidence = _evidence(words, report, ending)
    return ExitStatus(code, sig, cause, evidence, process.started, now)


def _exit_code(report: dict[str, Any], ending: Ending) -> tuple[int, int | None]:
    """Return (code, signal): the report's, for an agent may end with a plain code after its command was killed."""
    sig = report.get("signal", ending.signal) if report else ending.signal
    if sig is not None:
        return 128 + sig, sig
    if report:
        return int(report.get("code", 0)) & 0xFF, None
    if ending.code is not None:
        return ending.code & 0xFF, None
    return 255, None


def _cause(process: Process, report: dict[str, Any], ending: Ending, sig: int | None) -> tuple[Cause, str]:
    """Return the cause and the words that explain it."""
    if ending.oom or report.get("how") == "oom":
        return Cause.OOM, "it used more memory than its limit"
    if ending.fault is not None:
        return Cause.BOOT_FAILED, ending.fault
    if process.intent is not None:
        return process.intent, _join(process.intent_words, _signals(process))
    how = report.get("how")
    if how == "exception":
        return Cause.EXCEPTION, ""
    if how == "load-failed":
        return Cause.LOAD_FAILED, ""
    if how == "exited":
        return Cause.EXITED, ""
    if sig is not None:
        return _signalled(process, sig)
    if process.started is None:
        return Cause.BOOT_FAILED, f"its agent ended with code {ending.code} before it had joined"
    if ending.code is None:
        return Cause.DELETED_OUTSIDE, "the instance is gone, and nobody in the group had asked for that"
    return Cause.EXITED, ""


def _signalled(process: Process, sig: int) -> tuple[Cause, str]:
    """Judge a death by signal: sent by whom?"""
    by_us = any(sent.signal == sig or sig == signal.SIGKILL for sent in process.sent if sent.signal not in (0,))
    if by_us and (sig != signal.SIGKILL or _killed_by_us(process)):
        return Cause.SIGNALLED, _signals(process)
    if sig == signal.SIGKILL:
        return (
            Cause.DELETED_OUTSIDE,
            "SIGKILL that nobody in the group sent: the operating system, its out-of-memory killer, or a person",
        )
    if sig in _FAULTS:
        return Cause.SIGNALLED, f"it crashed: {signal_name(sig)}"
    return Cause.SIGNALLED, f"{signal_name(sig)} that nobody in the group sent"


_FAULTS = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP})


def _killed_by_us(process: Process) -> bool:
    return any(sent.signal == signal.SIGKILL for sent in process.sent)


def _signals(process: Process) -> str:
    return "; then ".join(str(sent) for sent in process.sent[-5:])


def _evidence(words: str, report: dict[str, Any], ending: Ending) -> str:
    tail = "\n".join(ending.tail.splitlines()[-_LAST_LINES:])
    said = str(report.get("evidence", ""))
    if said and said in tail:
        tail = ""
    return _join(words, said, ending.note, tail and f"last output:\n{tail}", sep="\n")


def _join(*parts: str, sep: str = ": ") -> str:
    return sep.join(part for part in parts if part)
