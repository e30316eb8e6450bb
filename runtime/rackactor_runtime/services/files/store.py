"""The interface of a backend, which stores files. Paths are normalized paths of the group ("/data/x.csv").

Errors are the `OSError`s of a local disk; the service adds the group's path.
"""

from __future__ import annotations

from typing import Any, Protocol

from rackactor.ipc.service import Data


class Reading(Protocol):
    """A file that is open for reading: the version that existed when it was opened."""

    size: int

    def read(self, start: int, size: int) -> Data:
        """Return up to `size` bytes from `start` on; fewer at the end of the file only."""

    def fileno(self) -> int | None:
        """Return a descriptor for direct reading, or None if there is none."""

    def close(self) -> None:
        """Close it."""


class Writing(Protocol):
    """A file that is being written; it is invisible before `commit`."""

    #: Where writing begins: the present size of a file for appending.
    start: int

    def write(self, at: int, data: memoryview) -> None:
        """Write bytes at an offset (from `start` on when appending)."""

    def truncate(self, size: int) -> None:
        """Truncate it, or extend it with zeros."""

    def fileno(self) -> int | None:
        """Return a descriptor for direct writing, or None if there is none."""

    def commit(self) -> None:
        """Make it appear, all at once; it is closed then, also if this fails."""

    def discard(self) -> None:
        """Leave nothing of it. Idempotent."""


class Store(Protocol):
    """A backend."""

    def info(self, path: str) -> dict[str, Any]:
        """Return plain values: name, size, type ("file", "directory", "other"), mtime and created (seconds), ..."""

    def ls(self, path: str) -> list[dict[str, Any]]:
        """Return `info` of each entry of a directory."""

    def mkdir(self, path: str) -> None:
        """Make a directory; its parent exists."""

    def makedirs(self, path: str) -> None:
        """Make a directory and its parents, those that do not exist."""

    def rmdir(self, path: str) -> None:
        """Remove an empty directory."""

    def rm_file(self, path: str) -> None:
        """Remove a file."""

    def rm_tree(self, path: str) -> None:
        """Remove a directory and all that is in it."""

    def mv(self, source: str, target: str) -> None:
        """Rename a file or a directory; a file may replace another one."""

    def cp_file(self, source: str, target: str) -> None:
        """Copy a file, all at once."""

    def utime(self, path: str) -> None:
        """Set the time of a file to now, if the backend can."""

    def read(self, path: str) -> Reading:
        """Open a file for reading."""

    def write(self, path: str, what: str) -> Writing:
        """Open a file for writing: "w", "x" or "a"."""

    def close(self) -> None:
        """Close the backend, at the group's end."""
