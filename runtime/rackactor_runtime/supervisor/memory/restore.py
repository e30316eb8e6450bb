"""Snapshots that members send in parts: kept in the group's directory until they are complete."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from rackactor.errors import InvalidCall, MemoryFull
from rackactor_runtime import descriptors
from rackactor_runtime.supervisor.clock import Clock


class Replacement(NamedTuple):
    """A snapshot that replaces everything when its turn has come."""

    pid: int
    rid: int
    work: Generator[None, None, None]

    def go_on(self, seconds: float, clock: Clock) -> bool:
        """Copy pieces of it for this many seconds; returns whether they were the last.

        Raises:
            RackError: it is impossible; nothing has changed.
        """
        until = clock.now() + seconds
        try:
            for _ in self.work:
                if clock.now() >= until:
                    return False
        except OSError as error:
            raise _no_room(error) from error
        return True


class Restoring:
    """The snapshots under way, at most one of each member."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._files: dict[int, BinaryIO] = {}

    def take(self, pid: int, offset: int, data: Any) -> None:
        """Receive a part; one at offset 0 starts again.

        Raises:
            InvalidCall: it does not follow the last one.
            MemoryFull: the disk has no room for it.
        """
        if offset == 0:
            self.gone(pid)
            try:
                self._files[pid] = descriptors.spared(self._path(pid).open, "w+b")
            except OSError as error:
                raise _no_room(error) from error
        file = self._files.get(pid)
        if file is None or file.tell() != offset:
            raise InvalidCall(f"a part of a snapshot for offset {offset}, which is not where the last one ended")
        try:
            file.write(data)
        except OSError as error:
            self.gone(pid)
            raise _no_room(error) from error

    def replace(self, pid: int, store: Any, alive: Callable[[int], bool]) -> Generator[None, None, None]:
        """Check a member's snapshot, then replace the contents by it; the file is removed afterwards.

        Iterating does this piece by piece: the supervisor must process other messages in between.

        Raises:
            InvalidCall: it is no snapshot, or damaged.
            MemoryFull: it does not fit; nothing has changed.
        """
        transfer = descriptors.spared(importlib.import_module, "rackactor.ipc.memory.snapshots")
        file, path = self._files.pop(pid, None), self._path(pid)
        if file is None:
            raise InvalidCall("no part of a snapshot has come")
        try:
            # Its member may go, or send another one, meanwhile: from here on it belongs to this generator.
            path = path.rename(path.with_suffix(".whole"))
            file.truncate((yield from transfer.checking(file, "this")))
            file.flush()
            yield from store.replace(str(path), alive)
        finally:
            with contextlib.suppress(OSError):
                file.close()
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def gone(self, pid: int) -> None:
        """Remove what a member has sent."""
        file = self._files.pop(pid, None)
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()  # this writes out the buffer
            with contextlib.suppress(OSError):
                self._path(pid).unlink(missing_ok=True)

    def close(self) -> None:
        """Remove everything."""
        for pid in list(self._files):
            self.gone(pid)

    def _path(self, pid: int) -> Path:
        return self.directory / f"restore-{pid}"


def _no_room(error: OSError) -> MemoryFull:
    return MemoryFull(f"a snapshot that was to be restored cannot be kept in the group's directory: {error.strerror}")
