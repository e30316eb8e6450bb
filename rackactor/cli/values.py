"""Values of the group as a shell sees them: text as it is, bytes as they are, everything else as JSON.

A pickle is not opened: that would run the code of whoever put it with the rights of whoever looks.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rackactor.cli.encoding import encode
from rackactor.cli.escaping import block, visible
from rackactor.errors import InvalidCall
from rackactor.wire.codec import PickleRefused


@dataclass(frozen=True)
class Sealed:
    """A value that is a pickle, or has one in it, and was not opened.

    Attributes:
        size: of the pickle, bytes.
    """

    size: int

    def __str__(self) -> str:
        return f"pickle, {self.size} bytes"


def add_unpickle(parser: argparse.ArgumentParser) -> None:
    """Add the option by which pickles are opened."""
    parser.add_argument(
        "--unpickle",
        action="store_true",
        help="open pickles, which runs code of whoever wrote them (default: their sizes are shown)",
    )


def opened(read: Callable[[], Any]) -> Any:
    """Return a value, or what stands for one that is not opened."""
    try:
        return read()
    except PickleRefused as refused:
        return Sealed(refused.size)


def to_bytes(value: Any) -> bytes:
    """Return what is written on standard output: a line, but for bytes, which are written as they are."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    text = to_text(value)
    return encode(text) + (b"" if text.endswith("\n") else b"\n")


def to_output(value: Any) -> bytes:
    """Return the same for standard output as it is: a terminal gets text without control sequences."""
    raw = isinstance(value, (bytes, bytearray, memoryview)) or not sys.stdout.isatty()
    return to_bytes(value if raw else block(to_text(value)))


def to_text(value: Any) -> str:
    """Return a value as text: numbers, lists and dicts as JSON, what JSON cannot say as Python does."""
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
    """Return a value as text on one line: text and bytes that have more than one, or are none, in quotes."""
    text = to_text(value)
    if isinstance(value, (str, bytes, bytearray, memoryview)) and (not text.isprintable() or text[:1] == '"'):
        return json.dumps(encode(text).decode("utf-8", "backslashreplace"))
    return visible(text)


def to_json(value: Any) -> Any:
    """Return a value that JSON can say."""
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
    """Return the value that a word of the command line stands for.

    Raises:
        InvalidCall: it is to be JSON, and is not.
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
