"""Strings for the operating system (arguments of commands, names, paths), and how values are shown in errors."""

from __future__ import annotations

import os
import sys
from typing import Any

from rackactor.errors import InvalidCall

#: The file system encoding here.
_FILES = sys.getfilesystemencoding()

#: The longest part of a value that an error shows, characters.
_SHOWN = 200


def os_text(value: Any, what: str) -> str:
    """Return as a string what Python's own `os` and `subprocess` would pass to the operating system.

    Args:
        value: a str, bytes, or a path (`os.PathLike`: `pathlib`, `os.DirEntry`, ...). Bytes that are not UTF-8 become
            lone surrogates, as in `os.fsdecode`, and arrive as the same bytes.
        what: what the value is, for the error: "an argument of a command".

    Raises:
        InvalidCall: it is something else, or contains what no operating system takes.
    """
    try:
        text: str | bytes = os.fspath(value)
    except TypeError:
        raise InvalidCall(
            f"{what} is a str, bytes or a path, not {show(value)} (of the type {type(value).__name__})"
        ) from None
    text = as_utf8(text)
    if "\0" in text:
        raise InvalidCall(f"{what} cannot hold a NUL character: {show(text)}")
    try:
        to_bytes(text)
    except UnicodeEncodeError:
        raise InvalidCall(f"{what} cannot hold a surrogate that stands for no byte: {show(text)}") from None
    return text


def as_utf8(text: str | bytes) -> str:
    """Return bytes, or a string of this process's locale, as a string that `to_bytes` turns into the same bytes."""
    if isinstance(text, bytes):
        return text.decode("utf-8", "surrogateescape")
    if _FILES == "utf-8":
        return text
    try:
        return os.fsencode(text).decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text  # it did not come from the operating system


def to_bytes(text: str) -> bytes:
    """Return the bytes of a string for the operating system, whatever the locale of this process.

    Raises:
        UnicodeEncodeError: it holds a lone surrogate that stands for no byte.
    """
    return text.encode("utf-8", "surrogateescape")


def show(value: Any) -> str:
    """Return the beginning of a value's repr, for an error message; this never raises."""
    try:
        text = repr(value)
    except Exception:
        return f"<{type(value).__name__}>"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def words_of(error: BaseException) -> str:
    """Return an exception's message, even where its `__str__` fails."""
    try:
        return str(error)
    except Exception:
        return f"<{type(error).__name__}: its message cannot be made>"
