"""`rack group list|show|delete`: the groups of this host."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from typing import Any

from rackactor.cli.common import Plain, choose, duration, moment, visit
from rackactor.cli.tables import Listed, Shown
from rackactor.errors import GroupEnded, RackTimeout
from rackactor.launch import directories
from rackactor.syscalls.group import attach
from rackactor.system.readiness import readable
from rackactor.wire.calls.group import DescribeGroup

#: Seconds within which a supervisor must be gone after its group's end; and the same for a cloud's keeper.
_GONE, _GONE_AFAR = 10.0, 300.0


class GroupList(Plain, Listed):
    """List the groups of this host that are yours."""

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], list[tuple[Any, ...]]]:
        """Return the columns and the rows."""
        rows = [(c["gid"], c["name"], c["provider"], moment(c["created"])) for c in directories.cards()]
        return ("GID", "Name", "Provider", "Created"), rows


class GroupShow(Plain, Shown):
    """Show a group."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument("group", metavar="GROUP", nargs="?", help="its name, its gid or the beginning of it")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        """Return names and values."""
        card = choose(parsed_args.group)
        with visit(card["gid"]) as group:
            fields, _ = group.kernel.call(DescribeGroup())
        return ("gid", "name", "provider", "created", "age", "processes", "detached", "ending", "directory"), (
            card["gid"],
            card["name"],
            card.get("provider", ""),
            moment(card.get("created")),
            duration(time.time() - card["created"] if "created" in card else None),
            fields["processes"],
            fields["detached"],
            fields["ending"],
            str(directories.group_dir(card["gid"])) if "os_pid" in card else "",
        )


class GroupDelete(Plain):
    """End groups: all of their processes (TERM, a short grace period, KILL), then their supervisors."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument("groups", metavar="GROUP", nargs="+", help="a name, a gid or the beginning of one")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """End them, and check that they are gone."""
        for card in [choose(wanted) for wanted in parsed_args.groups]:
            _delete(card)


def _delete(card: dict[str, Any]) -> None:
    if "os_pid" not in card:  # it runs on another host, or is not visible to this process
        attach(card).end("`rack group delete`")
        return
    try:
        supervisor = os.pidfd_open(card["os_pid"])
    except ProcessLookupError:
        return  # it has just ended
    try:
        attach(card).end("`rack group delete`")
        if not readable([supervisor], _GONE if card["provider"] == "local" else _GONE_AFAR):
            who = "supervisor" if card["provider"] == "local" else "keeper"
            raise RackTimeout(f"group {card['name']} has ended, but its {who} (pid {card['os_pid']}) is still there")
    except GroupEnded:
        pass
    finally:
        os.close(supervisor)
