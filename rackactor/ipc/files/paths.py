"""Paths and modes, as everybody who has to do with a group's files understands them. Pure."""

from __future__ import annotations

import io
import os
import posixpath
from typing import Any, NamedTuple

from rackactor.strings import as_utf8, to_bytes

#: Beginning of the names under which unfinished files lie on a backend: none of the group's.
HIDDEN = ".~rack-"
PROTOCOL = "rack"
#: Where the group keeps what is its own (the program's code): in no listing of "/", and not for programs to change.
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
    """Return what a mode means.

    Raises:
        ValueError: `builtins.open` would refuse it, too.
        io.UnsupportedOperation: it wants to read and write at once.
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
        ValueError: it holds a NUL, or (UnicodeEncodeError) what is in no name of a file.
    """
    text = as_utf8(os.fspath(path))
    if "\0" in text:
        raise ValueError("embedded null byte")
    to_bytes(text)
    for prefix in (f"{PROTOCOL}://", f"{PROTOCOL}::"):
        text = text.removeprefix(prefix)
    return posixpath.normpath("/" + text.lstrip("/"))


def is_hidden(path: str) -> bool:
    """Tell whether a part of a path is a name that unfinished files have."""
    return HIDDEN in path and any(part.startswith(HIDDEN) for part in path.split("/"))


def is_kept(path: str) -> bool:
    """Tell whether a normalized path leads to what the group keeps for itself."""
    return path == KEPT or path.startswith(KEPT + "/")


def parent(path: str) -> str:
    """Return the directory of a normalized path."""
    return posixpath.dirname(path)


def name(path: str) -> str:
    """Return the last part of a normalized path; "" of the root."""
    return posixpath.basename(path)
