"""`rack pipeline`: commands as processes, connected by pipes of the group and not through this machine."""

from __future__ import annotations

import argparse
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from rackactor.cli.commands.clouds import place
from rackactor.cli.commands.pipes import pieces
from rackactor.cli.commands.run import AFTER, add_group_options, find_rack, make_group, obey_debug
from rackactor.cli.common import InGroup, visit
from rackactor.cli.feeder import Feeder
from rackactor.cli.foreground import Foreground
from rackactor.cli.interrupts import Interrupts
from rackactor.cli.progress import Progress
from rackactor.cli.stages import Stage, StageParser, check
from rackactor.errors import GroupEnded, RackError
from rackactor.syscalls.group import Group
from rackactor.syscalls.lines import Lines
from rackactor.syscalls.process import Process
from rackactor.system import threads

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
                    return _run(group, progress, interrupts, options)
            progress.show("rack: starting ...")
            made: Group | None = None
            try:
                count = sum(stage.count for stage in options.stages)
                made = make_group(options, options.deadline, AFTER, progress, count)
                return _run(made, progress, interrupts, options)
            finally:
                if far:
                    interrupts.release()
                progress.clear()
                if made is not None:
                    made.end("the command `rack pipeline` has ended")
                    progress.clear()


def _run(group: Group, progress: Progress, interrupts: Interrupts, options: argparse.Namespace) -> int:
    """Run the stages of a pipeline until they have ended; return the exit code."""
    foreground = Foreground(group, progress, interrupts, _Lines(single=options.stages[-1].count == 1))
    stages: list[Sequence[Process[Any]]] = []
    fed = options.stdin or not os.isatty(0)
    try:
        for forked in _fork(group, options, fed):
            stages.append(forked)
        if fed and options.stages[0].count == 1:
            Feeder(stages[0])
        foreground.attend(_all(stages), "the pipeline")
        foreground.follow(*(process.pid for process in _all(stages)))
        foreground.await_all(settle=False)
    except GroupEnded:
        raise
    except BaseException:
        foreground.give_up(_all(stages), _WAY_OUT)  # the group may be one that goes on
        raise
    if foreground.broken:
        foreground.give_up(_all(stages), _WAY_OUT)
    codes = [foreground.exit_code(forked, quiet=(signal.SIGPIPE,)) for forked in stages]
    return next((code for code in reversed(codes) if code), 0)


def _all(stages: Sequence[Sequence[Process[Any]]]) -> list[Process[Any]]:
    return [process for forked in stages for process in forked]


def _fork(group: Group, options: argparse.Namespace, fed: bool) -> Iterator[Sequence[Process[Any]]]:
    """Fork the stages, one after the other: once they have their ends of the pipes, no other process has any."""
    stages: Sequence[Stage] = options.stages
    reader: Any = fed
    if fed and stages[0].count > 1:
        reader, writer = group.pipe()
        _Pump(writer)
    for stage in stages:
        below, above = group.pipe() if stage is not stages[-1] else (None, None)
        plan = stage.plan
        forked = group.fork(
            plan.target, n=stage.count, name=plan.name, deadline=options.deadline, stdin=reader, stdout=above
        )
        yield forked
        for end in (reader, above):
            if end is not None and not isinstance(end, bool):
                end.close()
        reader = below


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
        threads.start(threading.Thread(target=self._copy, name="rack-input", daemon=True))

    def _copy(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            for piece in pieces(0):
                self._writer.write(piece)
            self._writer.close()
        except (OSError, ValueError, RackError):
            pass  # no reader is left
