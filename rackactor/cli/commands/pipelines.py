"""`rack pipeline`: commands as processes, connected by pipes of the group and not through this machine."""

from __future__ import annotations

import argparse
import os
import signal
import threading
from collections.abc import Sequence
from typing import Any

from rackactor.cli.commands.clouds import place
from rackactor.cli.commands.pipes import pieces
from rackactor.cli.commands.run import AFTER, add_group_options, find_rack, make_group, obey_debug
from rackactor.cli.common import InGroup, explain, say, visit
from rackactor.cli.feeder import Feeder
from rackactor.cli.foreground import Foreground
from rackactor.cli.interrupts import Interrupts
from rackactor.cli.progress import Progress
from rackactor.cli.stages import Stage, StageParser, check
from rackactor.errors import GroupEnded, RackError
from rackactor.status import ExitStatus
from rackactor.syscalls.group import Group
from rackactor.syscalls.lines import Lines
from rackactor.syscalls.process import Process

#: Seconds that the processes of an abandoned pipeline have to end.
_WAY_OUT = 1.0


class Pipeline(InGroup):
    """Run commands as processes; the output of each is the input of the next.

    rack pipeline [options] 'COMMAND' [-n K] 'COMMAND' [-n K] ...

    Each COMMAND is one argument here, and a string for `sh -c` where it runs. `-n K` follows a command that is to run K
    times: each line of its input goes to whichever of the K is free, and their lines of output come in any order. The
    last command's output is this command's output; all of them share its standard error. The exit status is that of
    `set -o pipefail`: of the last command that failed, 0 if none did (of K, the first one that failed).
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = StageParser(prog=prog_name, description=self.get_description(), allow_abbrev=False)
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.usage = "rack pipeline [options] 'COMMAND' [-n K] 'COMMAND' [-n K] ..."
        add_group_options(parser)
        parser.add_argument(
            "-g", "--group", metavar="GROUP", help="run them in this group (default: in one that ends with them)"
        )
        parser.add_argument(
            "--stdin", action="store_true", help="give the first command this terminal's input (always, if no terminal)"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Run it; return its exit code."""
        options = parsed_args
        obey_debug(self, options)
        check(options.stages)
        find_rack()
        far = bool(place(options))
        progress = Progress()
        with Interrupts() as interrupts:
            if options.group is not None:
                with visit(options.group) as group:
                    return _Joined(group, progress, interrupts).pour(options.stages, options)
            progress.show("rack: starting ...")
            made: Group | None = None
            try:
                count = sum(stage.count for stage in options.stages)
                made = make_group(options, options.deadline, AFTER, progress, count)
                return _Joined(made, progress, interrupts).pour(options.stages, options)
            finally:
                if far:
                    interrupts.release()
                progress.clear()
                if made is not None:
                    made.end("the command `rack pipeline` has ended")
                    progress.clear()


class _Joined(Foreground):
    """Run the stages of a pipeline until they have ended."""

    def pour(self, stages: Sequence[Stage], options: argparse.Namespace) -> int:
        """Run the stages; return the exit code."""
        self._stages: list[Sequence[Process[Any]]] = []
        self._show_output(_Lines(single=stages[-1].count == 1))
        try:
            self._fork(stages, options)
            self._attend([process for forked in self._stages for process in forked], "the pipeline")
            self._follow_each()
            return self._finish(settle=False)
        except GroupEnded:
            raise
        except BaseException:
            self._own.broken = True
            raise
        finally:
            if self._own.broken:
                self._give_up()

    def _fork(self, stages: Sequence[Stage], options: argparse.Namespace) -> None:
        """Fork all stages: once they have their ends of the pipes, no other process has any."""
        fed = options.stdin or not os.isatty(0)
        reader: Any = fed
        if fed and stages[0].count > 1:
            reader, writer = self._group.pipe()
            _Pump(writer)
        for stage in stages:
            below, above = self._group.pipe() if stage is not stages[-1] else (None, None)
            plan = stage.plan
            self._stages.append(
                self._group.fork(
                    plan.target, n=stage.count, name=plan.name, deadline=options.deadline, stdin=reader, stdout=above
                )
            )
            for end in (reader, above):
                if end is not None and not isinstance(end, bool):
                    end.close()
            reader = below
        if fed and stages[0].count == 1:
            Feeder(self._stages[0])

    def _give_up(self) -> None:
        """End what is left: the group may be one that goes on."""
        living = [process.pid for process in self._forked if not self._waits[process.pid].done]
        if living:
            self._group.kill(living, "KILL")
            self._kernel.wait(lambda: all(pending.done for pending in self._waits.values()), _WAY_OUT)

    def _verdict(self) -> int:
        """Return the exit code of the last stage that failed; report the ends that are still unexplained."""
        verdict = 0
        for forked in self._stages:
            code = 0
            for process in forked:
                status = self._ended(process.pid)
                if status is None:
                    code = code or (130 if self._interrupts.count else 1)
                    continue
                code = code or status.code
                self._explain(process, status)
            verdict = code or verdict
        return verdict

    def _explain(self, process: Process[Any], status: ExitStatus) -> None:
        if self._interrupts.count or status.signal == signal.SIGPIPE:
            return  # interrupted, or ended by SIGPIPE as intended
        line = explain(process.pid, process.name, status)
        if line is not None:
            say(line)


class _Lines(Lines):
    """Whole lines of all standard errors, and of the last stage's output if several processes print it."""

    def __init__(self, *, single: bool) -> None:
        super().__init__()
        self._single = single

    def take(self, pid: int, stream: int, data: bytes, now: float) -> bytes:
        """Take output of a process; return what may be shown of it now."""
        return data if self._single and stream == 1 else super().take(pid, stream, data, now)


class _Pump:
    """Copies standard input into a pipe that several processes read; a daemon thread, as in `Feeder`."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        threading.Thread(target=self._copy, name="rack-input", daemon=True).start()

    def _copy(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            for piece in pieces(0):
                self._writer.write(piece)
            self._writer.close()
        except (OSError, ValueError, RackError):
            pass  # no reader is left
