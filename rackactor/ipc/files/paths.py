"""Paths and modes of a group's files, with one meaning for every part of the project. Pure."""

from __future__ import annotations

import io
import os
import posixpath
from typing import Any, NamedTuple

from rackactor.strings import as_utf8, to_bytes

#: Prefix of the names of unfinished files on a backend; no file of the group may have such a name.
HIDDEN = ".~rack-"
PROTOCOL = "rack"
#: Where the group keeps its own files (the program's code): not listed in "/", and not for programs to change.
KEPT = "/.rack"


class Mode(NamedTuple):
    """How a file is opened."""

    #: "r", "w", "x" or "a".
    what: str
    binary: bool

    @property
    def writes(self) -> bool:
        """Tell whether it is opened for writing."""
        return self.what != "r"


def parse_mode(mode: Any) -> Mode:
    """Parse a mode.

    Raises:
        ValueError: `builtins.open` would refuse it, too.
        io.UnsupportedOperation: it asks for reading and writing at once.
    """
    if not isinstance(mode, str):
        raise TypeError(f"a mode is a string such as 'r' or 'wb', not {mode!r}")
    letters = set(mode)
    if len(letters) != len(mode) or not letters <= set("rwxabt+"):
        raise ValueError(f"invalid mode: {mode!r}")
    what = letters & set("rwxa")
    if len(what) != 1 or {"b", "t"} <= letters:
        raise ValueError(f"invalid mode: {mode!r}: one of r, w, x, a, and not both b and t")
    if "+" in letters:
        raise io.UnsupportedOperation(
            f"mode {mode!r}: a file of a group is read or written anew, not changed in place; read it, then write it"
        )
    return Mode(what.pop(), "b" in letters)


def normalize(path: Any) -> str:
    """Return the absolute path in the group's namespace; ".." does not lead out of it.

    Raises:
        TypeError: it is no path.
        ValueError: it contains a NUL, or (UnicodeEncodeError) characters that no file name can have.
    """
    text = as_utf8(os.fspath(path))
    if "\0" in text:
        raise ValueError("embedded null byte")
    to_bytes(text)
    for prefix in (f"{PROTOCOL}://", f"{PROTOCOL}::"):
        text = text.removeprefix(prefix)
    return posixpath.normpath("/" + text.lstrip("/"))


def is_hidden(path: str) -> bool:
    """Tell whether a part of a path is the name of an unfinished file."""
    return HIDDEN in path and any(part.startswith(HIDDEN) for part in path.split("/"))


def is_kept(path: str) -> bool:
    """Tell whether a normalized path leads to the group's own files."""
    return path == KEPT or path.startswith(KEPT + "/")


def parent(path: str) -> str:
    """Return the directory of a normalized path."""
    return posixpath.dirname(path)


def name(path: str) -> str:
    """Return the last part of a normalized path; "" of the root."""
    return posixpath.basename(path)
