"""Values of the group for a shell: strings and bytes unchanged, everything else as JSON.

A pickle is not opened: that would run the code of its author with the rights of the user.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from rackactor.cli.encoding import encode
from rackactor.cli.escaping import block, visible
from rackactor.errors import InvalidCall
from rackactor.records import dataclass
from rackactor.wire.codec import PickleRefused


@dataclass(frozen=True)
class Sealed:
    """A value that is a pickle, or contains one, and was not opened.

    Attributes:
        size: of the pickle, bytes.
    """

    size: int

    def __str__(self) -> str:
        return f"pickle, {self.size} bytes"


def add_unpickle(parser: argparse.ArgumentParser) -> None:
    """Add the option that allows pickles to be opened."""
    parser.add_argument(
        "--unpickle",
        action="store_true",
        help="open pickles, which runs code of their authors (default: their sizes are shown)",
    )


def opened(read: Callable[[], Any]) -> Any:
    """Return a value, or a `Sealed` for one that is not opened."""
    try:
        return read()
    except PickleRefused as refused:
        return Sealed(refused.size)


def to_bytes(value: Any) -> bytes:
    """Return a value for standard output: as a line, except bytes, which are written unchanged."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    text = to_text(value)
    return encode(text) + (b"" if text.endswith("\n") else b"\n")


def to_output(value: Any) -> bytes:
    """Return the same, for a terminal without control sequences."""
    raw = isinstance(value, (bytes, bytearray, memoryview)) or not sys.stdout.isatty()
    return to_bytes(value if raw else block(to_text(value)))


def to_text(value: Any) -> str:
    """Return a value as text: numbers, lists and dicts as JSON, and what JSON cannot represent as Python's repr."""
    if isinstance(value, str):
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("utf-8", "surrogateescape")
    if isinstance(value, Sealed):
        return str(value)
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return repr(value)


def to_word(value: Any) -> str:
    """Return a value as text on one line: strings and bytes that are not printable on one line are quoted."""
    text = to_text(value)
    if isinstance(value, (str, bytes, bytearray, memoryview)) and (not text.isprintable() or text[:1] == '"'):
        return json.dumps(encode(text).decode("utf-8", "backslashreplace"))
    return visible(text)


def to_json(value: Any) -> Any:
    """Return a value that JSON can represent."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("utf-8", "backslashreplace")
    if isinstance(value, Sealed):
        return None
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return repr(value)
    return value


def from_word(word: str, *, as_json: bool) -> Any:
    """Return the value of a command-line argument.

    Raises:
        InvalidCall: it should be JSON, and is not.
    """
    if not as_json:
        return word
    try:
        return json.loads(word)
    except ValueError as error:
        raise InvalidCall(f"{word!r} is not JSON: {error}") from None


def read_input() -> bytes:
    """Return all of the standard input."""
    return sys.stdin.buffer.read()
