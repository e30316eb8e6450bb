"""`rack why PID`: everything that is known of a process and its end, for people."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Any

from rackactor.cli.commands.processes import records
from rackactor.cli.common import InGroup, clock, span, visit
from rackactor.cli.escaping import block, visible
from rackactor.cli.tables import write_csv
from rackactor.errors import RackError
from rackactor.status import Cause, ExitStatus, signal_name
from rackactor.syscalls.group import Group
from rackactor.wire.calls.processes import Why as AskWhy
from rackactor.wire.frames import SUPERVISOR

#: Lines of output to show.
LAST_LINES = 10
#: Lines of a machine's console to show.
CONSOLE_LINES = 25
_TAIL = 8 << 10
_LAST_OUTPUT = "last output:\n"

#: The meanings of the causes, in a sentence each.
_MEANING = {
    Cause.EXITED: "it ended by itself",
    Cause.EXCEPTION: "an exception that nothing caught",
    Cause.SIGNALLED: "a signal ended it",
    Cause.OOM: "it used more memory than its limit",
    Cause.LOAD_FAILED: "what it was to run could not be loaded",
    Cause.BOOT_FAILED: "its instance did not come up",
    Cause.QUOTA: "the project's quota on the cloud has no room for it",
    Cause.LOST: "its agent stopped answering, and it was deleted",
    Cause.DELETED_OUTSIDE: "something outside the group ended it",
    Cause.DEADLINE: "its deadline passed",
    Cause.EXPELLED: "it sent what no process of a group sends, and was put out of the group",
    Cause.PARENT_DIED: "its parent ended, and it was forked to end with it",
    Cause.GROUP_ENDED: "the group ended while it lived",
}
#: The kinds of processes whose output goes to the group.
_LOGGED = ("actor", "function", "command")


class Why(InGroup):
    """Tell why a process ended, or how it is: cause, evidence, last output, and who sent which signal when."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "-f",
            "--format",
            choices=("text", "json", "yaml", "csv"),
            default="text",
            help="(default: text, for people)",
        )
        parser.add_argument("pid", metavar="PID", type=int)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Print it."""
        with visit(parsed_args.group) as group:
            fields, _ = group.kernel.call(AskWhy(parsed_args.pid))
            if parsed_args.format == "text":
                for line in story(group, parsed_args.pid, fields):
                    print(block(line))
            else:
                _emit(facts(group, parsed_args.pid, fields), parsed_args.format)


def facts(group: Group, pid: int, fields: dict[str, Any]) -> dict[str, Any]:
    """Return what is known of a process as data: times in seconds since the epoch, signals as numbers or strings."""
    row = fields["process"]
    status = None if row["status"] is None else ExitStatus.from_wire(row["status"])
    known = {name: value for name, value in row.items() if name not in ("status", "capabilities")}
    return {
        **known,
        "code": None if status is None else status.code,
        "signal": None if status is None else status.signal,
        "cause": None if status is None else str(status.cause),
        "evidence": None if status is None else status.evidence,
        "fault": fields.get("fault") or None,
        "signals": [{"at": at, "sender": sender, "signal": sig} for at, sender, sig in fields["signals"]],
        "last_output": _last_output(group, pid, None) if row["kind"] in _LOGGED else None,
        "console": fields.get("console") or None,
    }


def _emit(known: dict[str, Any], format: str) -> None:
    if format == "json":
        print(json.dumps(known, indent=2, default=repr))
        return
    if format == "csv":
        write_csv(tuple(known), tuple(known.values()), sys.stdout)
        return
    import yaml

    print(yaml.safe_dump(json.loads(json.dumps(known, default=repr)), sort_keys=False), end="")


def story(group: Group, pid: int, fields: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of what is known of a process."""
    row = fields["process"]
    status = None if row["status"] is None else ExitStatus.from_wire(row["status"])
    what = f", {row['what']}" if row["what"] not in ("", row["name"]) else ""
    yield visible(f"process {pid} ({row['name']}): {row['kind']}{what}")
    yield f"  parent    {_who(group, row['ppid'])}"
    if row["instance"]:
        yield f"  instance  {row['instance']}"
    if row.get("address"):
        yield f"  address   {row['address']}"
    yield from _times(row)
    if status is None:
        yield f"  state     {row['state']}"
    else:
        yield f"  end       {status}: {_MEANING[status.cause]}"
        yield from _section("evidence", status.evidence.partition(_LAST_OUTPUT)[0])
    fault = fields.get("fault") or row.get("note") or ""
    if fault and (status is None or fault not in status.evidence):
        yield from _section("the provider's words", fault)
    yield from _signals(group, fields["signals"])
    if row["kind"] in _LOGGED:
        yield from _section("last output", _last_output(group, pid, status))
    yield from _section("console", "\n".join((fields.get("console") or "").splitlines()[-CONSOLE_LINES:]))


def _times(row: dict[str, Any]) -> Iterator[str]:
    yield f"  forked    {clock(row['created'])}"
    if row["started"] is None:
        yield "  started   never: its agent did not join"
    else:
        yield f"  started   {clock(row['started'])}, {span(row['started'] - row['created'])} later"
    if row["ended"] is not None:
        yield f"  ended     {clock(row['ended'])}, after {span(row['ended'] - (row['started'] or row['created']))}"


def _signals(group: Group, signals: list[Any]) -> Iterator[str]:
    if signals:
        yield "  signals"
    for at, sender, sig in signals:
        yield f"    {clock(at)}  {visible(signal_name(sig))} from {_who(group, sender)}"


def _who(group: Group, pid: int) -> str:
    if pid == SUPERVISOR:
        return "1 (the supervisor)"
    try:
        row = group.process(pid).info()
    except RackError:
        return str(pid)
    kinds = {
        "operator": "a command line",
        "script": "the program that made the group",
        "service": f"the group's service {row['name']!r}",
    }
    kind = kinds.get(row["kind"], row["name"])
    return visible(f"{pid} ({kind})")


def _section(title: str, text: str) -> Iterator[str]:
    lines = block(text).strip("\n").split("\n")
    if any(line.strip() for line in lines):
        yield f"  {title}"
        yield from (f"    {line}" for line in lines)


def _last_output(group: Group, pid: int, status: ExitStatus | None) -> str:
    tail = b""
    for _, data, _ in records(group, pid):
        tail = (tail + data)[-_TAIL:]
    head, _, kept = ("" if status is None else status.evidence).partition(_LAST_OUTPUT)
    text = tail.decode("utf-8", "replace") or kept
    if text.strip() and text.strip() in head:
        return ""  # a traceback, which the evidence has shown already
    return "\n".join(text.replace("\r\n", "\n").rstrip("\n").split("\n")[-LAST_LINES:])
