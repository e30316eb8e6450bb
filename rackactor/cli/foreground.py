"""Processes in the foreground: they use this command's input and output, get its Ctrl-C, and set its exit status."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rackactor.cli.common import explain, say
from rackactor.cli.feeder import Feeder
from rackactor.cli.interrupts import SIGNALS, Interrupts
from rackactor.cli.own_output import OwnOutput
from rackactor.cli.plan import Plan
from rackactor.cli.progress import Progress
from rackactor.errors import GroupEnded, NoChild, NoSuchProcess, RackTimeout
from rackactor.kernel.pending import Pending
from rackactor.status import ExitStatus
from rackactor.syscalls.group import Group
from rackactor.syscalls.lines import PATIENCE, PATIENCE_WITH_COPIES, Lines
from rackactor.syscalls.output import OutputFollower
from rackactor.syscalls.process import Process
from rackactor.wire.calls.fork import Started
from rackactor.wire.calls.logs import FEED
from rackactor.wire.calls.processes import Kill, Wait

#: The exit status of a writer whose reader has gone, as in a shell: 128 + SIGPIPE.
BROKEN_PIPE = 141
#: Seconds to wait for a killed process; after that the group's end takes care of it.
_AFTER_KILL = 1.0
#: Seconds that a script's children have to end after the script.
_SETTLE = 1.0


def run_plan(
    group: Group, progress: Progress, interrupts: Interrupts, plan: Plan, count: int, deadline: str | None
) -> int:
    """Run a script, a function or a command so many times, until all have ended; return the exit code."""
    lines = Lines(PATIENCE if count == 1 else PATIENCE_WITH_COPIES) if count > 1 or plan.script else None
    foreground = Foreground(group, progress, interrupts, lines)
    if plan.script:
        foreground.follow(FEED)
    if plan.path:
        group.shipping.add_script(plan.path)
    forked = group.fork(plan.target, *plan.args, n=count, name=plan.name, deadline=deadline, stdin=True)
    foreground.attend(forked, plan.name if count == 1 else f"{count} of {plan.name}")
    if not plan.script:
        foreground.follow(*(process.pid for process in forked))
    Feeder(forked)
    foreground.await_all(settle=plan.script)
    return foreground.exit_code(forked)


class Foreground:
    """Await processes.

    Args:
        group: theirs.
        progress: is cleared before anything else is shown.
        interrupts: are passed on to them, with a stronger signal each time.
        lines: which pieces of their output are shown at a time; None: each as it comes.
    """

    def __init__(self, group: Group, progress: Progress, interrupts: Interrupts, lines: Lines | None) -> None:
        self._group = group
        self._kernel = group.kernel
        self._progress = progress
        self._interrupts = interrupts
        self._waits: dict[int, Pending] = {}
        self._own = OwnOutput(progress.clear)
        self._output = OutputFollower(self._kernel, self._own, lines)

    def follow(self, *pids: int) -> None:
        """Show what processes write."""
        for pid in pids:
            self._output.follow(pid)

    def attend(self, forked: Sequence[Process[Any]], what: str) -> None:
        """Begin to wait for processes; from now on they get Ctrl-C."""
        self._interrupts.notify(self._kernel.wake)
        pids = [process.pid for process in forked]
        self._waits = {pid: self._kernel.begin_call(Wait([pid]))[0] for pid in pids}
        self._watch_start(pids, what)

    def await_all(self, *, settle: bool) -> None:
        """Wait for their ends (with `settle`, of those that they have left, too), and until all output is shown."""
        try:
            self._await_ends()
            if settle and not self._own.broken:
                self._settle()
            self._await_output()
        except GroupEnded as error:
            if not all(self.status(pid) for pid in self._waits):
                say(f"the group has ended: {error}")
        self._progress.clear()
        if self._own.fault is not None:
            raise self._own.fault

    def exit_code(self, forked: Sequence[Process[Any]], *, quiet: Sequence[int] = ()) -> int:
        """Return the first exit code that is not 0, in the order of pids; say how the others have ended.

        Args:
            forked: the processes that count.
            quiet: signals by which they may end without a word.
        """
        if self._own.broken:
            return BROKEN_PIPE
        code = 0
        for process in forked:
            status = self.status(process.pid)
            if status is None:
                code = code or (130 if self._interrupts.count else 1)
                continue
            code = code or status.code
            line = explain(process.pid, process.name, status)
            if line is not None and not self._interrupts.count and status.signal not in quiet:
                say(line)
        return code

    def status(self, pid: int) -> ExitStatus | None:
        """Return how a process has ended, if it is known."""
        pending = self._waits[pid]
        if not pending.done or pending.error is not None:
            return None
        return ExitStatus.from_wire(pending.value["status"])

    def give_up(self, forked: Sequence[Process[Any]], seconds: float) -> None:
        """Kill those that are left, and wait so long for the end of those that are awaited."""
        over = {pid for pid, pending in self._waits.items() if pending.done}
        living = [process.pid for process in forked if process.pid not in over]
        if living:
            self._group.kill(living, "KILL")
            self._kernel.wait(lambda: all(pending.done for pending in self._waits.values()), seconds)

    @property
    def broken(self) -> bool:
        """Nobody reads this command's output any more."""
        return self._own.broken

    # -- while they run ----------------------------------------------------------------------------------

    def _watch_start(self, pids: list[int], what: str) -> None:
        self._progress.show(f"rack: starting {what} ...")
        self._kernel.begin_call(Started(pids, len(pids)), callback=lambda _: self._progress.clear())

    def _await_ends(self) -> None:
        handled = 0
        while not self._over():
            bound = _AFTER_KILL if handled >= len(SIGNALS) else None
            if not self._kernel.wait(lambda: self._over() or self._interrupts.count > handled, bound):  # noqa: B023
                return  # killed, but not gone: the group's end takes care of it
            while self._interrupts.count > handled:
                handled += 1
                self._interrupt(handled)

    def _over(self) -> bool:
        return self._own.broken or all(pending.done for pending in self._waits.values())

    def _interrupt(self, press: int) -> None:
        """Pass a Ctrl-C on, with a stronger signal each time."""
        living = [pid for pid, pending in self._waits.items() if not pending.done]
        self._kernel.begin_call(Kill(living, SIGNALS[min(press, len(SIGNALS)) - 1]))

    # -- when they have ended ----------------------------------------------------------------------------

    def _settle(self) -> None:
        """End the children that a script has left, so that all of their output is shown."""
        if not self._alone_within(_SETTLE):
            self._group.kill(self._living(), "KILL")
            self._alone_within(_AFTER_KILL)
        self._output.finish()

    def _alone_within(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while living := self._living():
            try:
                self._group.wait(living, max(0.001, until - time.monotonic()))
            except RackTimeout:
                return False
            except (NoChild, NoSuchProcess):
                pass  # the last of them has just ended
        return True

    def _living(self) -> list[int]:
        return [row["pid"] for row in self._group.ps() if row["kind"] != "script" and not row["ended"]]

    def _await_output(self) -> None:
        """Wait until all output has been shown; Ctrl-C ends the wait."""
        pressed = self._interrupts.count
        bound = _AFTER_KILL if pressed else None
        self._kernel.wait(lambda: self._output.done or self._own.broken or self._interrupts.count > pressed, bound)
