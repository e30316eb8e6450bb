"""Snapshots that come in from members, in parts: kept in the group's directory until they are whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from rackactor.errors import InvalidCall


class Restoring:
    """The snapshots that are under way, one of each member at the most."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files: dict[int, BinaryIO] = {}

    def take(self, pid: int, offset: int, data: Any) -> None:
        """Take a part; one at offset 0 begins anew.

        Raises:
            InvalidCall: it does not follow the last one.
        """
        if offset == 0:
            self.gone(pid)
            self._files[pid] = self._path(pid).open("w+b")
        file = self._files.get(pid)
        if file is None or file.tell() != offset:
            raise InvalidCall(f"a part of a snapshot for offset {offset}, which is not where the last one ended")
        file.write(data)

    @contextmanager
    def whole(self, pid: int) -> Iterator[str]:
        """Give the path of a snapshot that is whole, its digest checked; it is removed afterwards.

        Raises:
            InvalidCall: it is no snapshot, or damaged.
        """
        from rackactor.memory.transfer import check_snapshot

        file = self._files.get(pid)
        if file is None:
            raise InvalidCall("no part of a snapshot has come")
        try:
            file.truncate(check_snapshot(file, "this"))
            file.flush()
            yield str(self._path(pid))
        finally:
            self.gone(pid)

    def gone(self, pid: int) -> None:
        """Remove what a member has sent."""
        file = self._files.pop(pid, None)
        if file is not None:
            file.close()
            self._path(pid).unlink(missing_ok=True)

    def close(self) -> None:
        """Remove everything."""
        for pid in list(self._files):
            self.gone(pid)

    def _path(self, pid: int) -> Path:
        return self._directory / f"restore-{pid}"
