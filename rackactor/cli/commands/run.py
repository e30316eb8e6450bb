"""`rack run`: a script or a command as a process of its own group."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from typing import Any

from cliff.command import Command

from rackactor.cli.commands.clouds import add_cloud_options, place
from rackactor.cli.common import Plain
from rackactor.cli.foreground import run_plan
from rackactor.cli.interrupts import Interrupts
from rackactor.cli.plan import Plan, for_command, for_script
from rackactor.cli.progress import Progress
from rackactor.errors import InvalidCall
from rackactor.launch import directories
from rackactor.syscalls.group import Group, group

#: The default deadline of a detached group.
DETACHED_DEADLINE = "24h"
#: Seconds that a group outlives its processes' deadline: time for them to end, and to be asked how they ended.
AFTER, _AFTER_DETACHED = 15.0, 600.0
#: With fewer commands than this, fewer processes than a group's default are made ready.
_FEW = 8


class Run(Plain):
    """Run a script or a command as a process: `rack run script.py [ARGS...]`, or `rack run -- COMMAND [ARGS...]`.

    It runs in its own group, which ends with it. Its input, output and exit status are this command's. The
    options of a script are the annotated parameters of its main(): try `rack run script.py --help`.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser of the options before the script or the command."""
        parser = _RunParser(prog=prog_name, description=self.get_description(), allow_abbrev=False)
        parser.usage = "rack run [options] script.py [ARGS...]\n       rack run [options] -- COMMAND [ARGS...]"
        add = parser.add_argument
        add("-n", dest="count", type=_count, default=1, metavar="N", help="run N of them; lines of output do not mix")
        add("--detach", action="store_true", help="print the group and the pid, and go; it has no standard input")
        add_group_options(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Run it; return its exit code."""
        options = parsed_args
        obey_debug(self, options)
        if options.script is None and not options.words:
            raise InvalidCall("what is to run? `rack run script.py`, or `rack run -- COMMAND [ARGS...]`")
        find_rack()
        plan = for_script(options.script, options.words) if options.script else for_command(options.words)
        return _detach(plan, options) if options.detach else _run(plan, options)


def _run(plan: Plan, options: argparse.Namespace) -> int:
    far = bool(place(options))
    progress = Progress()
    with Interrupts() as interrupts:
        progress.show("rack: starting ...")
        made: Group | None = None
        try:
            made = make_group(options, options.deadline, AFTER, progress, _count_commands(plan, options))
            return run_plan(made, progress, interrupts, plan, options.count, options.deadline)
        finally:
            if far:
                interrupts.release()  # the end of such a group takes its time: Ctrl-C leaves it to the keeper
            progress.clear()
            if made is not None:
                made.end("the command `rack run` has ended")
                progress.clear()


def _detach(plan: Plan, options: argparse.Namespace) -> int:
    deadline = options.deadline or DETACHED_DEADLINE
    progress = Progress()
    _refuse_name(options.name)
    try:
        made = make_group(options, deadline, _AFTER_DETACHED, progress, _count_commands(plan, options))
    finally:
        progress.clear()
    try:
        _refuse_name(options.name, made.gid)  # if two began at the same time, one stays
        if plan.path:
            made.shipping.add_script(plan.path)
        forked = made.fork(plan.target, *plan.args, n=options.count, name=plan.name, deadline=deadline, stdin=False)
        made.detach()
    except BaseException:
        made.end("it could not be detached")
        raise
    for process in forked:
        print(made.gid, process.pid)
    if not options.deadline:
        print(f"rack: it ends after {deadline} at the latest (--deadline says otherwise)", file=sys.stderr)
    return 0


def _refuse_name(name: str | None, own: str | None = None) -> None:
    """Check that no other group has this name.

    Args:
        name: the name that the group is to have; None: its default name.
        own: the group's gid, once it is made: then only groups that were made before it count.

    Raises:
        InvalidCall: there is such a group.
    """
    if name is None:
        return
    found = directories.named(name)
    before = found[: found.index(own)] if own in found else [] if own else found
    if before:
        raise InvalidCall(
            f"there is a group named {name} ({before[0][:8]}) on this host already: take another --name,"
            f" or end that one first: rack group delete {before[0][:8]}"
        )


def add_group_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that `rack run` and `rack pipeline` share."""
    add = parser.add_argument
    add("--name", help="what people call the group")
    add("--deadline", metavar="TIME", help='end it after this time: seconds, or "90s", "10m", "1h"')
    add("--transport", choices=("ipc", "tcp"), help="tcp: encrypted (default: ipc on this host)")
    add("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks of rack's own errors")
    add_cloud_options(parser)


def obey_debug(command: Command, options: argparse.Namespace) -> None:
    """Accept `--debug` after the sub-command as if it came before."""
    if command.app_args is not None and getattr(options, "debug", False):
        command.app_args.debug = True


def make_group(
    options: argparse.Namespace, deadline: str | None, after: float, progress: Progress, commands: int | None
) -> Group:
    """Make the group that a command runs its processes in.

    Args:
        options: of the command line.
        deadline: of the processes.
        after: seconds by which the group outlives the deadline.
        progress: called with progress messages.
        commands: how many processes there will be, if they are commands; None: unknown.
    """
    from rackactor import units

    bound = units.seconds(deadline, "--deadline")
    return group(
        options.name,
        transport=options.transport,
        deadline=None if bound is None else bound + after,
        echo=False,
        progress=lambda text: progress.show(f"rack: {text} ..."),
        **(place(options) or _make_ready(commands)),
    )


def _make_ready(commands: int | None) -> dict[str, Any]:
    """Return the settings with which a group on this host makes no more processes ready than are needed."""
    return {} if commands is None or commands >= _FEW else {"provider_settings": {"warm": commands}}


def _count_commands(plan: Plan, options: argparse.Namespace) -> int | None:
    return None if plan.script else int(options.count)


def find_rack() -> None:
    """Make processes find the `rack` command, wherever this one was started from."""
    if shutil.which("rack") is None:
        os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", os.defpath), os.path.dirname(sys.executable)])


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


class _RunParser(argparse.ArgumentParser):
    """Parse what comes before the script or the command; the rest belongs to that.

    (argparse.REMAINDER treats `--` in a different way in each release of Python.)
    """

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Return the options, `script` (a path or None) and `words`."""
        words = list(sys.argv[1:] if args is None else args)
        end = self._end_of_options(words)
        known = super().parse_args(words[:end], namespace)
        rest = words[end:]
        if rest[:1] == ["--"]:
            known.script, known.words = None, rest[1:]
        else:
            known.script, known.words = (rest[0], rest[1:]) if rest else (None, [])
        return known

    def _end_of_options(self, words: Sequence[str]) -> int:
        index = 0
        while index < len(words) and words[index].startswith("-") and words[index] not in ("-", "--"):
            action = self._option_string_actions.get(words[index])
            index += 2 if action is not None and action.nargs is None else 1
        return min(index, len(words))
