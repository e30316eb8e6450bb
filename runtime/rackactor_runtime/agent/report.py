"""An agent's report of its target's end, as plain values for the supervisor, which decides the cause."""

from __future__ import annotations

import traceback
from typing import Any

from rackactor.errors import InvalidCall
from rackactor.records import dataclass
from rackactor.strings import words_of
from rackactor.wire import outcomes
from rackactor.wire.calls.processes import Exit
from rackactor_runtime import memory_reserve

#: Characters of a traceback kept as evidence.
MAX_TEXT = 16_000
#: Characters of the traceback in the result.
LONGEST_TEXT = 1 << 20
#: The files of the agent's frames, which stand above a target's own.
_OURS = (
    "rackactor_runtime/agent/main.py",
    "rackactor_runtime/agent/actors.py",
    "rackactor/program/script.py",
    "rackactor/actors/actor.py",
    "rackactor/kernel/coroutines.py",
    "asyncio/runners.py",
    "asyncio/base_events.py",
)


@dataclass(frozen=True)
class Report:
    """The end of a target."""

    #: "exited", "exception", "load-failed", "signalled" or "oom".
    how: str
    code: int = 0
    signal: int | None = None
    evidence: str = ""
    #: The outcome of a function: see `rackactor.wire.outcomes`.
    result: outcomes.Frames = ()

    def call(self) -> Exit:
        """Return what the supervisor is told."""
        return Exit(self.how, self.code, self.signal, self.evidence[-MAX_TEXT:])


def returned(value: Any) -> Report:
    """Report that a function has returned a value."""
    try:
        return Report("exited", 0, result=outcomes.pack_returned(value))
    except InvalidCall as error:
        return Report("exception", 1, evidence=str(error), result=outcomes.pack_lost(str(error)))
    except MemoryError:
        memory_reserve.release()
        text = "no memory was left to send what the function returned to another process: it takes a copy"
        return Report("oom", 1, evidence=text, result=outcomes.pack_raised(MemoryError(text), text))


def raised(error: BaseException, *, how: str = "exception", code: int = 1) -> Report:
    """Report that an exception ended the target; the agent's own frames are left out."""
    if isinstance(error, MemoryError):
        how = "oom"
    text = "".join(traceback.format_exception(strip(error)))
    return Report(how, code, evidence=text, result=outcomes.pack_raised(error, text[-LONGEST_TEXT:]))


def strip(error: BaseException) -> BaseException:
    """Drop the frames of the agent from the head of a traceback."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None and trace.tb_frame.f_code.co_filename.endswith(_OURS):
        trace = trace.tb_next
    return error.with_traceback(trace)


def exit_code(error: SystemExit) -> tuple[int, str | None]:
    """Return the exit code of a SystemExit, and what Python would print for it, if anything."""
    code = error.code
    if code is None:
        return 0, None
    if isinstance(code, int):
        return (code if -(1 << 63) <= code < 1 << 63 else -1) & 0xFF, None  # as Python's C code takes it
    return 1, words_of(error)
