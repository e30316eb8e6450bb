"""The system calls of waiting, of signals, and of a process's own end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from rackactor.wire.checks import Flag, Number, Pid, Pids, Signal, Text, integer, list_of
from rackactor.wire.schema import Call


class Wait(Call, op="wait"):
    """Wait for the end of a process, of one of several, or of any child (no pids)."""

    pids: Pids = ()
    #: False: answer at once, with pid 0 if none has ended.
    hang: Flag = True


class Cancel(Call, op="cancel"):
    """Withdraw a call, by its number."""

    rid: Number


class Kill(Call, op="kill"):
    """Send a signal to processes: pids, 0 (the whole group), -pgid (a process group)."""

    pids: Annotated[Sequence[int], list_of(integer(-(1 << 32), 1 << 32))]
    signal: Signal


class Exit(Call, op="exit"):
    """Say how the caller's target has ended; what it has returned goes with it."""

    #: "exited", "exception", "load-failed", "signalled" or "oom".
    how: Text = "exited"
    code: Annotated[int, integer(-(1 << 31), 1 << 32)] | None = None
    signal: Annotated[int, integer(1, 127)] | None = None
    evidence: Text | None = None


class Bye(Call, op="bye"):
    """Part from the group: a command line's end. The script's own is known by its death, or by the group's end."""


class SpareChildren(Call, op="spare_children"):
    """Let the caller's children outlive it (Thespian's exit request that is not recursive)."""


class Ps(Call, op="ps"):
    """List the processes, or some of them."""

    pids: Pids = ()


class Why(Call, op="why"):
    """Tell everything that is known of a process, living or ended."""

    pid: Pid
