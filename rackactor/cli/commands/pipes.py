"""`rack pipe read|write|list`: the group's named pipes (FIFOs)."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from typing import Any

from rackactor.cli.common import InGroup, visit
from rackactor.cli.outlet import while_read
from rackactor.cli.own_output import write_all
from rackactor.cli.tables import Cell, Listed
from rackactor.cli.values import add_unpickle, opened, to_bytes
from rackactor.errors import InvalidCall, PipeEnded

#: The exit status of a writer whose reader has gone, as in a shell: 128 + SIGPIPE.
BROKEN_PIPE = 141
_CHUNK = 64 << 10


class PipeList(InGroup, Listed):
    """List the pipes of the group."""

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], list[tuple[Any, ...]]]:
        """Return the columns and the rows."""
        with visit(parsed_args.group) as group:
            rows = group.pipes()
        return ("Pipe", "Name", "Readers", "Writers"), [_row(row) for row in rows]


def _row(row: dict[str, Any]) -> tuple[Any, ...]:
    ends = (Cell(row[key], " ".join(str(pid) for pid in row[key])) for key in ("readers", "writers"))
    return row["id"], row["name"], *ends


class PipeRead(InGroup):
    """Copy a pipe to standard output, until its last writer has closed it.

    Bytes are written unchanged, strings as lines, other values as lines of JSON, pickles as their sizes. Waits for a
    writer if there is none yet. If a writer dies in the middle, it says so and exits with 1. When the reader of its own
    output has gone, it exits as of SIGPIPE (141).
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument("name", metavar="NAME")
        parser.add_argument(
            "-n", "--count", metavar="COUNT", type=int, help="end after so many messages; others get what follows"
        )
        add_unpickle(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Copy."""
        count, unpickle = parsed_args.count, parsed_args.unpickle
        if count is not None and count < 1:
            raise InvalidCall("--count is a number of messages, from 1 on")
        with (
            visit(parsed_args.group, unpickle=unpickle, change=True) as group,
            while_read(),
            group.pipe(parsed_args.name, "r") as pipe,
        ):
            taken = 0
            while count is None or taken < count:
                try:
                    message = opened(lambda: pipe.recv(timeout=None))
                except PipeEnded:
                    return
                write_all(1, to_bytes(message))
                taken += 1


class PipeWrite(InGroup):
    """Copy standard input into a pipe; waits for readers, also while they are slower.

    Each message is one or more whole lines, or a piece of a very long line. When the last reader has gone, it exits as
    of SIGPIPE (141).
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        parser.add_argument("name", metavar="NAME")
        parser.add_argument(
            "-l", "--lines", action="store_true", help="make each line a message of its own: readers share them"
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        """Copy."""
        with visit(parsed_args.group, change=True) as group, group.pipe(parsed_args.name, "w", timeout=None) as pipe:
            try:
                for piece in pieces(0):
                    for message in lines(piece) if parsed_args.lines else [piece]:
                        pipe.send(message)
            except BrokenPipeError:
                return BROKEN_PIPE
        return 0


def pieces(fd: int) -> Iterator[bytes]:
    """Yield the data of a descriptor in pieces; each ends with a line, unless the line is very long."""
    rest = b""
    while data := os.read(fd, _CHUNK):
        rest += data
        end = rest.rfind(b"\n") + 1
        if not end and len(rest) >= _CHUNK:
            end = len(rest)
        if end:
            yield rest[:end]
            rest = rest[end:]
    if rest:
        yield rest


def lines(piece: bytes) -> Iterator[bytes]:
    """Yield the lines of a piece, each with its end."""
    start = 0
    while start < len(piece):
        end = piece.find(b"\n", start) + 1 or len(piece)
        yield piece[start:end]
        start = end
