"""`rack ps`, `rack kill`, `rack wait`, `rack logs`: the processes of a group, from outside or from inside."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgpack

from rackactor.cli.common import InGroup, add_group_choice, duration, explain, moment, say, seconds, visit
from rackactor.cli.own_output import write_all
from rackactor.cli.tables import DATA, Listed
from rackactor.errors import InvalidCall, RackTimeout
from rackactor.signals import parse_signal
from rackactor.status import ExitStatus, State
from rackactor.syscalls.group import Group
from rackactor.units import DEFAULT_TIMEOUT
from rackactor.wire.calls.logs import Logs as ReadLogs

#: The exit status of `timeout(1)` when the time is over.
TIMED_OUT = 124

#: Columns of the process table that only data formats have: how it ended, and times in seconds since the epoch.
_DATA = ("Code", "Signal", "Cause", "Evidence", "Created", "Started", "Ended")
_COLUMNS = ("PID", "PPID", "PGID", "Name", "Kind", "State", "Instance", "Address", "Age", "Runs", "Status", *_DATA)


class Ps(InGroup, Listed):
    """List the processes of a group.

    In a table a narrow terminal has no room for all columns; -c chooses. JSON, YAML and CSV have further columns: exit
    codes, signal numbers, causes, evidence, times in seconds.
    """

    spare = ("PGID", "Instance", "Kind", "PPID", "Age", "Address", "Runs")

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument("--tree", action="store_true", help="show who is whose child")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], list[tuple[Any, ...]]]:
        """Return the columns and the rows."""
        with visit(parsed_args.group) as group:
            rows = group.ps()
        now = time.time()
        located = any(row.get("address") for row in rows)  # only machines have addresses
        plain = parsed_args.formatter not in DATA and not parsed_args.columns
        left_out = {*(_DATA if plain else ()), *(() if located else ("Address",))}
        columns = [name for name in _COLUMNS if name not in left_out]
        if not parsed_args.tree:
            return columns, [_row(row, now, columns) for row in rows]
        lines = [(branch, *_row(row, now, columns)) for branch, row in tree(rows)]
        if not plain:
            return ("Process", *columns), lines
        return ("Process", *columns[4:]), [(branch, *cells[4:]) for branch, *cells in lines]  # the branch shows them


def _row(row: dict[str, Any], now: float, columns: Sequence[str]) -> tuple[Any, ...]:
    status = None if row["status"] is None else ExitStatus.from_wire(row["status"])
    cells = {
        **{name: row[name.lower()] for name in ("PID", "PPID", "PGID", "Name", "Kind", "State", "Instance")},
        "Address": row.get("address"),
        "Age": duration((row["ended"] or now) - row["created"]),
        "Runs": row["what"],
        "Status": None if status is None else str(status),
        "Code": None if status is None else status.code,
        "Signal": None if status is None else status.signal,
        "Cause": None if status is None else str(status.cause),
        "Evidence": None if status is None else status.evidence,
        **{name: moment(row.get(name.lower())) for name in ("Created", "Started", "Ended")},
    }
    return tuple(cells[name] for name in columns)


def tree(rows: Sequence[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (branch with pid and name, row), children below their parents; the supervisor is the root."""
    root: dict[str, Any] = {"pid": 1, "ppid": 0, "pgid": 1, "name": "supervisor", "kind": "supervisor", "what": ""}
    root |= {"instance": "", "state": str(State.RUNNING), "status": None, "ended": None}
    root["created"] = min((row["created"] for row in rows), default=time.time())
    known = {row["pid"] for row in rows}
    below: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        below.setdefault(row["ppid"] if row["ppid"] in known else 1, []).append(row)
    yield "1 supervisor", root
    yield from _below(1, below, "")


def _below(pid: int, below: dict[int, list[dict[str, Any]]], indent: str) -> Iterator[tuple[str, dict[str, Any]]]:
    children = below.get(pid, [])
    trunk, branch, end = _lines_of_trees()
    for row in children:
        last = row is children[-1]
        yield f"{indent}{end if last else branch} {row['pid']} {row['name']}", row
        yield from _below(row["pid"], below, indent + ("   " if last else f"{trunk}  "))


def _lines_of_trees() -> tuple[str, str, str]:
    """Return the characters for drawing branches, as far as standard output can encode them."""
    drawn = "│", "├─", "└─"
    try:
        "".join(drawn).encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return "|", "|-", "`-"
    return drawn


class Kill(InGroup):
    """Send a signal to processes: TERM by default.

    A PID of 0 means every process of the group, -PGID a process group: rack kill -s TERM -- -3. The signal may also
    come first, as in kill -9 3 and kill -INT 3.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = _KillParser(prog=prog_name, description=self.get_description())
        add_group_choice(parser)
        parser.add_argument("-s", "--signal", metavar="SIG", help="name, number, or a name of your own")
        parser.add_argument("pids", metavar="PID", nargs="+", type=int)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Send it."""
        sig, pids = parsed_args.signal, parsed_args.pids
        if sig is None and pids[0] < 0:  # `kill -9 3`, as with kill(1)
            sig, pids = str(-pids[0]), pids[1:]
        if not pids:
            raise InvalidCall(f"whom? `rack kill -{sig} PID`; or, for a process group, `rack kill -s TERM -- -{sig}`")
        parse_signal(sig or "TERM")
        with visit(parsed_args.group, change=True) as group:
            group.kill(pids, sig or "TERM")


class _KillParser(argparse.ArgumentParser):
    """Accept `-INT` for `-s INT`, as kill(1) does."""

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Return the options."""
        words = list(sys.argv[1:] if args is None else args)
        for index, word in enumerate(words):
            if word == "--":
                break
            if word.startswith("-") and word[1:2].isalpha() and isinstance(parse_signal(word[1:]), int):
                words[index : index + 1] = ["-s", word[1:]]
                break
        return super().parse_args(words, namespace)


class Wait(InGroup):
    """Wait for the end of a process; the exit status is that of the process."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--timeout", type=seconds, metavar="SECONDS", help=f"give up after this time, with exit status {TIMED_OUT}"
        )
        parser.add_argument("pid", metavar="PID", type=int)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Wait."""
        pid = parsed_args.pid
        with visit(parsed_args.group) as group:
            process = group.process(pid)
            name = process.name
            try:
                status = process.wait(parsed_args.timeout)
            except RackTimeout:
                say(f"process {pid} ({name}) still runs")
                return TIMED_OUT
        line = explain(pid, name, status)
        if line is not None:
            say(line)
        return status.code


class Logs(InGroup):
    """Show the output of a process: its standard output on standard output, its standard error on standard error."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument("-f", "--follow", action="store_true", help="go on until the process ends")
        parser.add_argument("pid", metavar="PID", type=int)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Show it."""
        missed = 0
        with visit(parsed_args.group) as group:
            group.process(parsed_args.pid).info()  # raises if there is no such process
            for stream, data, skipped in records(group, parsed_args.pid, follow=parsed_args.follow):
                missed += skipped
                write_all(stream, data)
        if missed:
            print(f"rack: the first {missed} bytes are gone: a log keeps the last `log_limit` of them", file=sys.stderr)


def records(group: Group, pid: int, *, follow: bool = False) -> Iterator[tuple[int, bytes, int]]:
    """Yield (stream, data, bytes lost before it) of a log; `follow`: until the process has ended."""
    offset, eof = 0, False
    while not eof:
        asked = ReadLogs(pid, offset, follow=follow)
        fields, blobs = group.kernel.call(asked, timeout=None if follow else DEFAULT_TIMEOUT)
        skipped = fields["skipped"]
        for _, stream, _, data in msgpack.unpackb(blobs[0]):
            yield stream, data, skipped
            skipped = 0
        eof = fields["eof"] or (not follow and fields["next"] == offset)
        offset = fields["next"]
