"""`rack shm get|set|incr|cas|watch|ls|rm`: the group's shared memory."""

from __future__ import annotations

import argparse
import json
import os
import shlex
from collections.abc import Sequence
from functools import partial
from typing import Any

from rackactor.cli.common import InGroup, say, visit
from rackactor.cli.encoding import encode
from rackactor.cli.outlet import while_read
from rackactor.cli.own_output import write_all
from rackactor.cli.tables import Cell, Listed
from rackactor.cli.values import (
    Sealed,
    add_unpickle,
    from_word,
    opened,
    read_input,
    to_bytes,
    to_json,
    to_output,
    to_text,
    to_word,
)
from rackactor.errors import InvalidCall
from rackactor.syscalls.group import Group

#: Characters of a value in a table.
_SHOWN = 60
_MISSING = object()


class _Keyed(InGroup):
    """A command for one key."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument("key", metavar="KEY")
        return parser


class ShmGet(_Keyed):
    """Print the value of a key: strings and numbers as a line, bytes unchanged, other values as JSON.

    A pickle is shown by its size. If there is no such key, it says so on standard error and exits with 1.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument("--default", metavar="TEXT", help="print this if there is no such key, and exit with 0")
        add_unpickle(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Print it."""
        with visit(parsed_args.group, unpickle=parsed_args.unpickle) as group:
            value = opened(lambda: group.shm.get(parsed_args.key, _MISSING))
        if value is _MISSING:
            value = parsed_args.default
            if value is None:
                return _say_missing(parsed_args.key)
        write_all(1, to_output(value))
        return 0


class ShmSet(_Keyed):
    """Set a key to a string, or with --json to a number, a list, ..."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument("value", metavar="VALUE", nargs="?")
        parser.add_argument("--json", action="store_true", help="VALUE is JSON: a number, a list, ...")
        parser.add_argument("--stdin", action="store_true", help="the value is the standard input, as bytes")
        parser.add_argument("--lease", action="store_true", help="the key goes when the process that this runs in ends")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Set it."""
        options = parsed_args
        if (options.value is None) is not options.stdin:
            raise InvalidCall("give the value either on the command line or, with --stdin, on standard input")
        if options.stdin and options.json:
            value = from_word(read_input().decode(), as_json=True)
        else:
            value = read_input() if options.stdin else from_word(options.value, as_json=options.json)
        with visit(options.group, change=True) as group:
            group.shm.put(options.key, value, lease=_own_pid(group) if options.lease else False)


def _own_pid(group: Group) -> int:
    if os.environ.get("RACK_GID") != group.gid or not os.environ.get("RACK_PID", "").isdecimal():
        raise InvalidCall("--lease: this command runs in no process of the group, with which the key could go")
    return int(os.environ["RACK_PID"])


class ShmIncr(_Keyed):
    """Add to a number (a missing key counts as 0), atomically, and print the sum."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument("by", metavar="BY", nargs="?", type=int, default=1, help="what is added (default: 1)")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Add it."""
        key = parsed_args.key
        with visit(parsed_args.group, change=True) as group:
            try:
                value = group.shm.incr(key, parsed_args.by)
            except InvalidCall as error:
                if key not in group.shm:
                    raise
                raise InvalidCall(f"{error} (a number is set by `rack shm set --json {shlex.quote(key)} 5`)") from error
        write_all(1, to_bytes(value))


class ShmCas(_Keyed):
    """Compare and set: set a key to NEW if its value is OLD, as `rack shm get` prints it; else exit with 1.

    If the value was a number and NEW is one, it stays a number. With --absent there is no OLD: set a missing key.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument("old", metavar="OLD", nargs="?")
        parser.add_argument("new", metavar="NEW")
        parser.add_argument("--absent", action="store_true", help="the key must not exist")
        parser.add_argument("--json", action="store_true", help="OLD and NEW are JSON")
        add_unpickle(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Compare and set."""
        options = parsed_args
        if (options.old is None) is not options.absent:
            raise InvalidCall("give OLD and NEW; or --absent and NEW")
        with visit(options.group, unpickle=options.unpickle, change=True) as group:
            found, done = _cas(group, options)
        if not done:
            state = "does not exist" if found is _MISSING else f"is {to_word(found)}"
            say(f"{options.key} {state}")
        return 0 if done else 1


def _cas(group: Group, options: argparse.Namespace) -> tuple[Any, bool]:
    """Return the value that was found, and whether it was replaced."""
    entry = opened(lambda: group.shm.entry(options.key))
    found = _MISSING if entry is None else entry if isinstance(entry, Sealed) else entry.value
    if options.absent or entry is None:
        new = from_word(options.new, as_json=options.json)
        return found, options.absent and entry is None and bool(group.shm.cas(options.key, new=new, revision=0))
    if isinstance(entry, Sealed) or not _same(found, options.old, as_json=options.json):
        return found, False
    number = type(found) is int and options.new.lstrip("-").isdecimal()
    new = from_word(options.new, as_json=options.json or number)
    if group.shm.cas(options.key, new=new, revision=entry.revision):
        return found, True
    return _cas(group, options)  # the key has been put since, perhaps with the same value


def _same(value: Any, word: str, *, as_json: bool) -> bool:
    return bool(value == from_word(word, as_json=True)) if as_json else to_text(value) == word


class ShmWatch(InGroup):
    """Print each change of the keys that begin with PREFIX, as it happens: REVISION CHANGE KEY VALUE.

    A value that is not text on one line is printed as JSON. Ctrl-C ends the command.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        add = parser.add_argument
        add("prefix", metavar="PREFIX", nargs="?", default="", help="(default: all keys)")
        add("--from-revision", metavar="N", type=int, help="begin with the changes of the past, from this one on")
        add("-n", "--count", metavar="COUNT", type=int, help="end after so many")
        add("-f", "--format", choices=("plain", "json"), default="plain", help="json: an object on each line")
        add_unpickle(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Watch."""
        options = parsed_args
        if options.count is not None and options.count < 1:
            raise InvalidCall("--count is a number of changes, from 1 on")
        show = _as_json if options.format == "json" else _as_line
        with visit(options.group, unpickle=options.unpickle) as group, while_read():
            changes = group.shm.watch(options.prefix, from_revision=options.from_revision)
            for number, change in enumerate(changes, 1):
                write_all(1, encode(show(change)) + b"\n")
                if number == options.count:
                    return


def _as_line(change: Any) -> str:
    words = [str(change.revision), change.kind, to_word(change.key)]
    return " ".join(words if change.kind == "delete" else [*words, to_word(opened(lambda: change.value))])


def _as_json(change: Any) -> str:
    fields = {"revision": change.revision, "change": change.kind, "key": change.key}
    if change.kind != "delete":
        value = opened(lambda: change.value)
        fields["value"] = to_json(value)
        if isinstance(value, Sealed):
            fields["pickle"] = value.size
    return json.dumps(fields, ensure_ascii=False)


class ShmLs(InGroup, Listed):
    """List the keys that begin with PREFIX: value, revision at which it was put, process of its lease.

    A table shows the beginnings of long values. A pickle is shown by its size.
    """

    only_data = ("Kind", "Size")
    spare = ("Lease", "Revision")

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument("prefix", metavar="PREFIX", nargs="?", default="", help="(default: all keys)")
        add_unpickle(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], list[tuple[Any, ...]]]:
        """Return the columns and the rows."""
        rows = []
        with visit(parsed_args.group, unpickle=parsed_args.unpickle) as group, group.shm.reading() as reading:
            for key in reading.keys(parsed_args.prefix):
                facts = reading.facts(key)
                if facts is not None:
                    value = _cell(opened(partial(reading.get, key)), parsed_args.formatter)
                    rows.append((key, value, facts.kind, facts.size, facts.revision, facts.lease or None))
        return ("Key", "Value", "Kind", "Size", "Revision", "Lease"), rows


def _cell(value: Any, formatter: str) -> Any:
    word = to_word(value)
    return Cell(to_json(value), word if formatter != "table" or len(word) <= _SHOWN else word[: _SHOWN - 4] + " ...")


class ShmRm(InGroup):
    """Remove keys; exits with 1 if one of them did not exist."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument("keys", metavar="KEY", nargs="+")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Remove them."""
        missing = 0
        with visit(parsed_args.group, change=True) as group:
            for key in parsed_args.keys:
                if not group.shm.delete(key):
                    missing = _say_missing(key)
        return missing


def _say_missing(key: str) -> int:
    say(f"shared memory has no key {key!r}")
    return 1
