"""Shared by the sub-commands: the choice of a group, and joining it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from cliff.command import Command

from rackactor import units
from rackactor.cli.escaping import visible
from rackactor.cli.tables import Cell
from rackactor.errors import InvalidCall, NoGroup
from rackactor.launch import agent_socket, directories
from rackactor.status import Cause, ExitStatus
from rackactor.syscalls.group import Group, attach

#: How many groups an error names.
_NAMED = 8
#: Causes that the process itself has explained: by its exit code, or by a traceback on its standard error.
_PLAIN = frozenset({Cause.EXITED, Cause.EXCEPTION, Cause.LOAD_FAILED})


class Plain(Command):
    """One of our commands; cliff would look up each one's distribution, which takes longer than most commands run."""

    def get_epilog(self) -> str:
        """Return the text below the options."""
        return self._epilog or ""


class InGroup(Command):
    """A command that is about one group."""

    def get_epilog(self) -> str:
        """Return the text below the options."""
        return self._epilog or ""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser, with the option that chooses the group."""
        parser = super().get_parser(prog_name)
        add_group_choice(parser)
        return parser


def add_group_choice(parser: argparse.ArgumentParser) -> None:
    """Add the option that chooses the group."""
    parser.add_argument(
        "-g",
        "--group",
        metavar="GROUP",
        help="a group by its name, its gid or the beginning of it"
        " (default: the group this runs in, or the only one of this host;"
        " to change something in it, one that was made from this session)",
    )


def choose(wanted: str | None, *, change: bool = False) -> dict[str, Any]:
    """Return how to reach the chosen group.

    Args:
        wanted: a name, a gid or the beginning of one; None: the group that the command runs in, or else the only one.
        change: whether the command ends, changes or takes something. Then the only group must have been made from this
            session: a command meant for a group that has just ended must not reach another one.

    Raises:
        NoGroup: there is no such group.
        InvalidCall: there are several, or the only one must be named.
    """
    if (inside := agent_socket.card(wanted)) is not None:
        return inside
    cards = list(directories.cards())
    here = f"groups on this host: {_name(cards)}" if cards else "no group of yours runs on this host"
    if wanted is None and "RACK_GID" in os.environ:
        wanted = os.environ["RACK_GID"]
        here = f"RACK_GID names one that is not here; {here}"
    found = [card for card in cards if wanted is None or wanted == card["name"] or card["gid"].startswith(wanted)]
    if len(found) == 1:
        if change and wanted is None and not directories.is_own(found[0]):
            name = found[0]["name"]
            raise InvalidCall(
                f"the only group here, {name}, was made from another session: say -g {name} if it is meant"
            )
        return found[0]
    if found:
        raise InvalidCall(f"which group? Choose one with -g: {_name(found)}")
    raise NoGroup(here if wanted is None else f"there is no group {wanted!r}; {here}")


def _name(cards: Sequence[dict[str, Any]]) -> str:
    labels = [f"{card['name']} ({card['gid'][:8]})" for card in cards]
    more = f" and {len(labels) - _NAMED} more" if len(labels) > _NAMED else ""
    return ", ".join(labels[:_NAMED]) + more


@contextmanager
def visit(wanted: str | None, *, unpickle: bool = False, change: bool = False) -> Iterator[Group]:
    """Join a group for one command; the group goes on when the command has ended.

    Args:
        wanted: see `choose`.
        change: see `choose`.
        unpickle: whether values from its processes may be unpickled, which runs their code.
    """
    group = attach(choose(wanted, change=change))
    if not unpickle:
        group.kernel.allow_pickle = False
    try:
        yield group
    finally:
        group.leave()


def explain(pid: int, name: str, status: ExitStatus) -> str | None:
    """Return one line, for `say`, about an end that the process could not explain itself, or None."""
    if status.cause in _PLAIN:
        return None
    first = status.evidence.strip().partition("\n")[0]
    return f"process {pid} ({name}): {status}" + (f": {first}" if first else "")


def say(text: str) -> None:
    """Print a line about processes on standard error."""
    print(f"rack: {visible(text)}", file=sys.stderr)


def clock(seconds: float | None) -> str:
    """Return a time for people: ISO 8601, in the local time zone."""
    return "" if seconds is None else datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")


def moment(seconds: float | None) -> Cell | None:
    """Return a time for a list; as data, seconds since the epoch."""
    return None if seconds is None else Cell(seconds, clock(seconds))


def duration(seconds: float | None) -> Cell | None:
    """Return a duration for a list; as data, seconds."""
    return None if seconds is None else Cell(round(seconds, 3), span(seconds))


def span(seconds: float) -> str:
    """Return a duration for people: 0.25 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def seconds(word: str) -> float | None:
    """Parse a duration of a command line: "1.5", "90s", "1h"; 0 and "inf" too (for argparse)."""
    try:
        return units.timeout(float(word), "this")
    except InvalidCall as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    except ValueError:
        pass
    try:
        return units.seconds(word, "this")
    except InvalidCall as error:
        raise argparse.ArgumentTypeError(str(error)) from None
