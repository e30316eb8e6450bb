"""Copies between local files and the group's, with a progress bar on a terminal if there is much to copy."""

from __future__ import annotations

import os
import posixpath
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from rackactor.cli.group_paths import SCHEME, inside, plainly
from rackactor.errors import InvalidCall
from rackactor.syscalls.group import Group

_CHUNK = 1 << 20
#: A copy of this size or more gets a progress bar, bytes.
LARGE = 32 << 20

Advance = Callable[[int], None]


class Place(Protocol):
    """A place with files: local or in the group."""

    def is_dir(self, path: str) -> bool:
        """Tell whether it is a directory."""

    def size(self, path: str) -> int:
        """Return the size of a file, bytes."""

    def walk(self, path: str) -> Iterator[tuple[str, bool]]:
        """Yield the paths below a directory, relative to it, and whether each is a directory; directories first."""

    def make_dir(self, path: str) -> None:
        """Make a directory unless it exists."""

    def open(self, path: str, mode: str) -> Any:
        """Open a file, "rb" or "wb"."""


class _Here:
    """Local files."""

    def is_dir(self, path: str) -> bool:
        return os.path.isdir(path)

    def size(self, path: str) -> int:
        return os.stat(path).st_size

    def walk(self, path: str) -> Iterator[tuple[str, bool]]:
        for folder, folders, files in os.walk(path):
            yield from ((os.path.relpath(os.path.join(folder, name), path), True) for name in sorted(folders))
            yield from ((os.path.relpath(os.path.join(folder, name), path), False) for name in sorted(files))

    def make_dir(self, path: str) -> None:
        Path(path).mkdir(exist_ok=True)

    def open(self, path: str, mode: str) -> Any:
        return open(path, mode)


class _Group:
    """Files of the group."""

    def __init__(self, group: Group) -> None:
        self._group = group

    def is_dir(self, path: str) -> bool:
        with plainly():
            return bool(self._group.fs.isdir(path))

    def size(self, path: str) -> int:
        with plainly():
            return int(self._group.fs.size(path))

    def walk(self, path: str) -> Iterator[tuple[str, bool]]:
        for folder, folders, files in self._group.fs.walk(path):
            below = posixpath.relpath("/" + folder.lstrip("/"), path)
            yield from ((posixpath.normpath(posixpath.join(below, name)), True) for name in sorted(folders))
            yield from ((posixpath.normpath(posixpath.join(below, name)), False) for name in sorted(files))

    def make_dir(self, path: str) -> None:
        with plainly():
            self._group.fs.makedirs(path, exist_ok=True)

    def open(self, path: str, mode: str) -> Any:
        with plainly():
            return self._group.open(path, mode)


class _Standard:
    """Standard input and output, as files without a name."""

    def is_dir(self, path: str) -> bool:
        return False

    def size(self, path: str) -> int:
        return 0

    def walk(self, path: str) -> Iterator[tuple[str, bool]]:
        return iter(())

    def make_dir(self, path: str) -> None: ...

    def open(self, path: str, mode: str) -> Any:
        return open(0 if mode == "rb" else 1, mode, buffering=0, closefd=False)


class _Item(NamedTuple):
    """A file to be copied."""

    source: Place
    path: str
    target: Place
    into: str


def copy(group: Group, sources: Sequence[str], target: str, *, recursive: bool) -> None:
    """Copy files.

    Raises:
        InvalidCall: the arguments make no sense together.
        OSError: a file cannot be read or written.
    """
    there, into = _place(group, target)
    if len(sources) > 1 and not there.is_dir(into):
        raise InvalidCall(f"{target} is no directory, and several files cannot become one")
    items = [item for source in sources for item in _items(*_place(group, source), there, into, recursive)]
    total = sum(item.source.size(item.path) for item in items)
    with _progress(total) as advance:
        for item in items:
            _copy(item, advance)


def _place(group: Group, path: str) -> tuple[Place, str]:
    if path == "-":
        return _Standard(), path
    return (_Group(group), inside(path)) if path.startswith(SCHEME) else (_Here(), path)


def _items(here: Place, path: str, there: Place, into: str, recursive: bool) -> Iterator[_Item]:
    """Yield the files of one source; directories are made on the way."""
    name = os.path.basename(os.path.normpath(path))
    if there.is_dir(into) and name not in ("", ".", "..", "-"):
        into = posixpath.join(into, name)
    if not here.is_dir(path):
        yield _Item(here, path, there, into)
        return
    if not recursive:
        raise InvalidCall(f"{path} is a directory: -r copies it, and all that is in it")
    if type(here) is type(there) and posixpath.join(into, "").startswith(posixpath.join(path, "")):
        raise InvalidCall(f"{path} cannot be copied into itself")
    there.make_dir(into)
    for below, is_dir in here.walk(path):
        if is_dir:
            there.make_dir(posixpath.join(into, below))
        else:
            yield _Item(here, posixpath.join(path, below), there, posixpath.join(into, below))


def _copy(item: _Item, advance: Advance) -> None:
    with item.source.open(item.path, "rb") as source, item.target.open(item.into, "wb") as target:
        while data := source.read(_CHUNK):
            view = memoryview(data)
            while view:
                view = view[target.write(view) :]
            advance(len(data))


@contextmanager
def _progress(total: int) -> Iterator[Advance]:
    if total < LARGE or not sys.stderr.isatty():
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda count: bar.advance(task, count)
