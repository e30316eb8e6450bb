"""`rack fs ls|cat|cp|rm|mv|mkdir`: the group's files."""

from __future__ import annotations

import argparse
import posixpath
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rackactor.cli.common import InGroup, moment, visit
from rackactor.cli.group_paths import SCHEME, inside, plainly
from rackactor.cli.own_output import write_all
from rackactor.cli.tables import Cell, Listed
from rackactor.errors import InvalidCall
from rackactor.syscalls.group import Group

_CHUNK = 1 << 20


class FsLs(InGroup, Listed):
    """List directories of the group's files, or files: type, size in bytes, time of the last change."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument("paths", metavar="PATH", nargs="*", default=["/"], help="(default: /)")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], list[tuple[Any, ...]]]:
        """Return the columns and the rows."""
        paths = [inside(path) for path in parsed_args.paths]
        rows: list[tuple[Any, ...]] = []
        with visit(parsed_args.group) as group, plainly():
            for path in paths:
                for entry in group.fs.ls(path, detail=True):
                    name = posixpath.basename(entry["name"].rstrip("/"))
                    rows.append(_row(entry, name if len(paths) == 1 else posixpath.join(path, name)))
        return ("Name", "Type", "Size", "Modified"), sorted(rows, key=lambda row: str(row[0]))


def _row(entry: dict[str, Any], name: str) -> tuple[Any, ...]:
    changed = entry.get("mtime")
    when = changed.timestamp() if isinstance(changed, datetime) else changed
    is_file = entry["type"] == "file"
    return Cell(name, name if is_file else f"{name}/"), entry["type"], entry["size"] if is_file else None, moment(when)


class FsCat(InGroup):
    """Copy files of the group to standard output, one after the other."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument("paths", metavar="PATH", nargs="+")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Copy them."""
        with visit(parsed_args.group) as group:
            for path in parsed_args.paths:
                with plainly():
                    file = group.open(inside(path), "rb")
                with file:
                    while data := _read(file):
                        write_all(1, data)


def _read(file: Any) -> bytes:
    with plainly():
        data: bytes = file.read(_CHUNK)
        return data


class FsCp(InGroup):
    """Copy files into the group, out of it, and within it: rack fs cp FROM... TO.

    A path of the group begins with `rack:`, any other is a local one, and `-` is standard input or output. If TO is a
    directory, the copies go into it. A file of the group appears when it is complete, or not at all.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument("-r", "--recursive", action="store_true", help="copy directories with all that is in them")
        parser.add_argument("sources", metavar="FROM", nargs="+")
        parser.add_argument("target", metavar="TO")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Copy them."""
        from rackactor.cli.copying import copy

        options = parsed_args
        if not any(path.startswith(SCHEME) for path in (*options.sources, options.target)):
            raise InvalidCall(f"none of these is a path of the group, which begins with {SCHEME!r}: use cp")
        with visit(options.group, change=options.target.startswith(SCHEME)) as group, plainly(""):
            copy(group, options.sources, options.target, recursive=options.recursive)


class FsRm(InGroup):
    """Remove files of the group, and with -r directories and all that is in them."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument("-r", "--recursive", action="store_true", help="remove directories, too")
        parser.add_argument("-f", "--force", action="store_true", help="it is no error if there is no such file")
        parser.add_argument("paths", metavar="PATH", nargs="+")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Remove them."""
        with visit(parsed_args.group, change=True) as group, plainly():
            for path in parsed_args.paths:
                _remove(group, inside(path), parsed_args)


def _remove(group: Group, path: str, options: argparse.Namespace) -> None:
    try:
        if group.fs.isdir(path):
            if not options.recursive:
                raise InvalidCall(f"{SCHEME}{path} is a directory: -r removes it, and all that is in it")
            group.fs.rm(path, recursive=True)
        else:
            group.fs.rm_file(path)
    except FileNotFoundError:
        if not options.force:
            raise


class FsMv(InGroup):
    """Rename files and directories of the group: rack fs mv FROM... TO. If TO is a directory, they go into it."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument("sources", metavar="FROM", nargs="+")
        parser.add_argument("target", metavar="TO")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Rename them."""
        sources, target = [inside(path) for path in parsed_args.sources], inside(parsed_args.target)
        with visit(parsed_args.group, change=True) as group, plainly():
            into = group.fs.isdir(target)
            if not into and len(sources) > 1:
                raise InvalidCall(f"{SCHEME}{target} is no directory, and several files cannot become one")
            for source in sources:
                group.fs.mv(source, posixpath.join(target, posixpath.basename(source)) if into else target)


class FsMkdir(InGroup):
    """Make directories among the group's files."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument("-p", "--parents", action="store_true", help="with those above; it may exist already")
        parser.add_argument("paths", metavar="PATH", nargs="+")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Make them."""
        with visit(parsed_args.group, change=True) as group, plainly():
            for path in map(inside, parsed_args.paths):
                if parsed_args.parents:
                    group.fs.makedirs(path, exist_ok=True)
                else:
                    group.fs.mkdir(path, create_parents=False)
