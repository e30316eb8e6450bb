"""Deciding how a process ended, from several sources of information.

Three sources know something: the agent (what the target did, if the agent could still report), the provider (how the
instance ended) and the supervisor (what it intended, and who sent which signal). The agent decides
what the target did, the provider how it died, the supervisor why.
"""

from __future__ import annotations

import re
import signal
from typing import Any

from rackactor.status import Cause, ExitStatus, signal_name
from rackactor_runtime.memory_reserve import NO_MEMORY
from rackactor_runtime.providers.base import NO_DIRECTORY, InstanceExit
from rackactor_runtime.supervisor.decisions.table import Process

_LAST_LINES = 20
#: The first line of a dump by Python's faulthandler. Below a program's frames are those of the agent, of its fork
#: server and of the supervisor from which that was forked; and each process has threads of the agent.
_CRASH = "Fatal Python error: "
_OUR_FRAME = re.compile(r'  File "([^"]*/rackactor_runtime/|<frozen runpy>)')
_OUR_THREAD = re.compile(r'Thread 0x\w+ [^\n]*\n  File "[^"]*/rackactor/')
#: A shell's code for a command that cannot be run.
NOT_EXECUTABLE = 126


def verdict(process: Process, ending: InstanceExit, now: float) -> ExitStatus:
    """Decide how a process ended.

    Args:
        process: its record: report, intent, signals sent.
        ending: the provider's report.
        now: seconds since the epoch.
    """
    report = process.report or {}
    sig = _signal(process, report, ending)
    cause, words = _cause(process, report, ending, sig)
    evidence = _evidence(words, report, ending, sig)
    return ExitStatus(_exit_code(process, report, ending, sig), sig, cause, evidence, process.started, now)


def _signal(process: Process, report: dict[str, Any], ending: InstanceExit) -> int | None:
    """Return the signal that ended the target; what happens to the agent after its report does not count."""
    if report:
        sig: int | None = report.get("signal") if report.get("how") == "signalled" else None
        return sig
    if ending.signal is None and ending.code is None and ending.fault is None and _killed_by_us(process):
        return int(signal.SIGKILL)  # the provider only knows that it is gone; we had asked for that
    return ending.signal


def _exit_code(process: Process, report: dict[str, Any], ending: InstanceExit, sig: int | None) -> int:
    """Return 0-255: the report's code takes precedence, since an agent may end normally after a killed command."""
    if sig is not None:
        return 128 + sig
    if report:
        return int(report.get("code", 0)) & 0xFF
    if ending.fault is not None and ending.kind == NO_DIRECTORY:
        return NOT_EXECUTABLE if process.kind == "command" else 1
    if ending.code is None or (ending.code == 0 and process.started is None):
        return 255
    return ending.code & 0xFF


def _cause(process: Process, report: dict[str, Any], ending: InstanceExit, sig: int | None) -> tuple[Cause, str]:
    """Return the cause, and the evidence for people."""
    how = report.get("how")
    unknown = not report and ending.code is None and ending.signal is None
    if ending.oom and (sig == signal.SIGKILL or unknown):
        return Cause.OOM, f"it used more memory than its limit{_limit(process)}"
    if how == "oom" or (process.memory is not None and not report and ending.code == NO_MEMORY):
        return Cause.OOM, f"it could not get the memory that it asked for{_limit(process)}"
    if ending.fault is not None:
        return _REFUSED.get(ending.kind, Cause.BOOT_FAILED), ending.fault
    if process.intent is not None and not _surprising(process, sig):
        return process.intent, _join(process.intent_words, _signals(process))
    if how in _SAID:
        return _SAID[how], ""
    if sig is not None:
        return _signalled(process, ending, sig)
    if process.started is None and not ending.outside:
        how = "the instance ended" if ending.code is None else f"its agent ended with code {ending.code}"
        return Cause.BOOT_FAILED, f"{how} before it had joined"
    if ending.code is None and not report:
        return Cause.DELETED_OUTSIDE, "the instance is gone, and nobody in the group had asked for that"
    return Cause.EXITED, ""


def _limit(process: Process) -> str:
    return "" if process.memory is None else f" (memory={process.memory}, {process.memory / (1 << 20):.1f} MiB)"


def _surprising(process: Process, sig: int | None) -> bool:
    """Tell whether its end is not explained by a request to end: a crash, a SIGKILL from outside."""
    return (sig in _FAULTS or sig == signal.SIGKILL) and not _sent(process, sig)


def _signalled(process: Process, ending: InstanceExit, sig: int) -> tuple[Cause, str]:
    """Decide on a death by signal, by the sender."""
    if _sent(process, sig):
        return Cause.SIGNALLED, _signals(process)
    if ending.outside and sig not in _FAULTS:  # a machine that is switched off takes its processes along
        return Cause.DELETED_OUTSIDE, f"{signal_name(sig)} that nobody in the group sent, as its machine went down"
    if sig == signal.SIGKILL:
        return (
            Cause.DELETED_OUTSIDE,
            "SIGKILL that nobody in the group sent: the operating system, its out-of-memory killer, or a person",
        )
    if process.started is None:
        return Cause.BOOT_FAILED, f"its agent was ended by {signal_name(sig)} before it had joined"
    if sig in _FAULTS:
        return Cause.SIGNALLED, f"it crashed: {signal_name(sig)}"
    return Cause.SIGNALLED, f"{signal_name(sig)} that nobody in the group sent"


#: The causes by the kind of the reason why it could not be made; all others are `boot-failed`.
_REFUSED = {"quota": Cause.QUOTA, NO_DIRECTORY: Cause.LOAD_FAILED}
#: The causes that an agent may report of its target's end.
_SAID = {"exception": Cause.EXCEPTION, "load-failed": Cause.LOAD_FAILED, "exited": Cause.EXITED}
_FAULTS = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP})


def _sent(process: Process, sig: int | None) -> bool:
    return any(sent.signal == sig for sent in process.sent)


def _killed_by_us(process: Process) -> bool:
    return _sent(process, signal.SIGKILL)


def _signals(process: Process) -> str:
    return "; then ".join(str(sent) for sent in process.sent[-5:])


def _evidence(words: str, report: dict[str, Any], ending: InstanceExit, sig: int | None) -> str:
    tail = _last_lines(ending.tail)
    said = str(report.get("evidence", ""))
    if said.strip() and said.strip() in tail:
        tail = ""
    later = ""
    if report and ending.signal not in (None, sig):
        later = f"after it had reported this, its agent was ended by {signal_name(ending.signal or 0)}"
    note = "" if ending.note == words else ending.note
    return _join(words, said, note, later, tail and f"last output:\n{tail}", sep="\n")


def _last_lines(text: str) -> str:
    """Return the last lines of the output; for a crash that Python has shown, the place in the program."""
    lines = text.splitlines()
    crash = next((at for at in range(len(lines) - 1, -1, -1) if lines[at].startswith(_CRASH)), None)
    if crash is None:
        return "\n".join(lines[-_LAST_LINES:])
    dump = "\n".join(line for line in lines[crash:] if not _OUR_FRAME.match(line))
    threads = [part for part in dump.split("\n\n") if not _OUR_THREAD.match(part)]
    shown = "\n\n".join(threads).splitlines()[: 2 * _LAST_LINES]  # the innermost frame comes first
    return "\n".join(lines[:crash][-_LAST_LINES // 4 :] + shown)


def _join(*parts: str, sep: str = ": ") -> str:
    return sep.join(part for part in parts if part)
