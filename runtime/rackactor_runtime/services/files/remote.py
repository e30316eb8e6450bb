"""Files on any backend that fsspec supports.

A file that is being written is kept in a nameless temporary file of this host until it is complete, and is sent to the
backend in one go. So nothing incomplete can appear there, or has to be aborted. On object stores an upload is visible
when it is done; elsewhere it gets a hidden name first, and is renamed.
"""

from __future__ import annotations

import errno
import os
import secrets
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from rackactor.errors import InvalidCall
from rackactor.ipc.files.paths import HIDDEN, name, parent
from rackactor.ipc.service import Data

#: Backends on which an uploaded file appears all at once.
OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci", "swift", "cos", "tos"})
#: Files up to this size are read completely when they are opened, bytes.
WHOLE = 4 << 20
_TIMES = {
    "mtime": ("mtime", "LastModified", "last_modified", "updated", "modified", "created"),
    "created": ("created", "ctime"),
}


class BytesReading:
    """A file that was read completely when it was opened."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read(self, start: int, size: int) -> Data:
        """Return some of it."""
        return memoryview(self._data)[start : start + size]

    def fileno(self) -> int | None:
        """Return None: the data is in memory."""
        return None

    def close(self) -> None:
        """Free the data."""
        self._data = b""


class RemoteReading:
    """A file that is read from the backend on demand."""

    def __init__(self, file: Any, size: int) -> None:
        self._file = file
        self.size = size

    def read(self, start: int, size: int) -> Data:
        """Return some of it."""
        self._file.seek(start)
        data: bytes = self._file.read(size)
        return data

    def fileno(self) -> int | None:
        """Return None: the file is remote."""
        return None

    def close(self) -> None:
        """Close it."""
        self._file.close()


class RemoteWriting:
    """A file that is kept on this host until it is complete."""

    def __init__(self, store: RemoteStore, path: str, what: str, start: int) -> None:
        self._store = store
        self._path = path
        self._what = what
        self.start = start
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by commit or discard

    def write(self, at: int, data: memoryview) -> None:
        """Store some bytes."""
        at -= self.start
        while data:
            written = os.pwrite(self._file.fileno(), data, at)
            at, data = at + written, data[written:]

    def truncate(self, size: int) -> None:
        """Truncate it."""
        os.ftruncate(self._file.fileno(), max(0, size - self.start))

    def fileno(self) -> int | None:
        """Return its descriptor: the file is on this host while it is written."""
        return self._file.fileno()

    def commit(self) -> None:
        """Send it to the backend."""
        try:
            self._file.seek(0)
            self._store.take(self._path, self._what, self._file)
        finally:
            self.discard()

    def discard(self) -> None:
        """Discard it."""
        self._file.close()


class RemoteStore:
    """An fsspec file system as a backend.

    Args:
        fs: the file system.
        root: the directory in it under which the group's files lie.
    """

    def __init__(self, fs: Any, root: str) -> None:
        self._fs = fs
        self._root = root.rstrip("/")
        protocol = fs.protocol if isinstance(fs.protocol, str) else fs.protocol[0]
        self._atomic = protocol in OBJECT_STORES
        self._memory = protocol == "memory"
        self._locks: dict[str, list[Any]] = {}
        self._guard = threading.Lock()

    def place(self, path: str) -> str:
        """Return the backend's path of a path."""
        return (self._root + path if path != "/" else self._root) or self._fs.root_marker

    def info(self, path: str) -> dict[str, Any]:
        """Return what is known of it."""
        if path == "/":
            return {"name": "/", "size": 0, "type": "directory", "mtime": None, "created": None}
        return _plain(path, self._look(path))

    def _look(self, path: str) -> dict[str, Any]:
        """Return what is known of it; a path through a file gives another error than a missing one."""
        try:
            found: dict[str, Any] = self._fs.info(self.place(path))
        except FileNotFoundError:
            for upper in _uppers(parent(path)):
                if self._fs.exists(self.place(upper)):
                    if self._fs.isfile(self.place(upper)):
                        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None
                    break
            raise
        return found

    def ls(self, path: str) -> list[dict[str, Any]]:
        """List a directory."""
        try:
            found = self._fs.ls(self.place(path), detail=True, refresh=True)
        except FileNotFoundError:
            if path != "/":
                raise
            return []  # an empty object store has no root
        prefix = path.rstrip("/") + "/"
        listed: dict[str, dict[str, Any]] = {}
        for each in found:
            base = name("/" + each["name"].rstrip("/"))
            if base and not base.startswith(HIDDEN) and each["name"].rstrip("/") != self.place(path).rstrip("/"):
                listed[base] = _plain(prefix + base, each)
        return [listed[base] for base in sorted(listed)]

    def mkdir(self, path: str) -> None:
        """Make a directory."""
        if self._fs.exists(self.place(path)):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        self._fs.mkdir(self.place(path), create_parents=False)

    def makedirs(self, path: str) -> None:
        """Make directories."""
        for upper in _uppers(path):
            if self._fs.isfile(self.place(upper)):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if path != "/":
            self._fs.makedirs(self.place(path), exist_ok=True)

    def rmdir(self, path: str) -> None:
        """Remove an empty directory."""
        if self._fs.ls(self.place(path), detail=False):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
        self._fs.rmdir(self.place(path))

    def rm_file(self, path: str) -> None:
        """Remove a file."""
        if self._fs.isdir(self.place(path)):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        self._fs.rm_file(self.place(path))

    def rm_tree(self, path: str) -> None:
        """Remove a directory with all that is in it."""
        if path != "/":
            self._fs.rm(self.place(path), recursive=True)
            return
        for each in self.ls("/"):
            self._fs.rm(self.place(each["name"]), recursive=True)

    def mv(self, source: str, target: str) -> None:
        """Move."""
        directory = self._fs.isdir(self.place(source))
        if not directory and not self._fs.exists(self.place(source)):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        self._fs.mv(self.place(source), self.place(target), recursive=directory)

    def cp_file(self, source: str, target: str) -> None:
        """Copy a file."""
        with self._alone(target):
            self._fs.cp_file(self.place(source), self.place(target))

    def utime(self, path: str) -> None:
        """Set its time to now, if the backend can."""
        try:
            self._fs.touch(self.place(path), truncate=False)
        except NotImplementedError:
            pass  # an object keeps the time of its creation

    def read(self, path: str) -> BytesReading | RemoteReading:
        """Open a file."""
        place = self.place(path)
        with self._alone(path):
            found = self._look(path)
            if found["type"] == "directory":
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            size = found.get("size")
            if size is None or size <= WHOLE or self._memory:
                return BytesReading(self._fs.cat_file(place))
            return RemoteReading(self._fs.open(place, "rb"), size)

    def write(self, path: str, what: str) -> RemoteWriting:
        """Begin to write a file."""
        place = self.place(path)
        try:
            found = self._fs.info(place)
        except FileNotFoundError:
            found = None
        if found is not None and found["type"] == "directory":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if found is not None and what == "x":
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        start = found["size"] if found is not None and what == "a" else 0
        return RemoteWriting(self, path, what, start)

    def take(self, path: str, what: str, file: Any) -> None:
        """Make a complete file appear."""
        place = self.place(path)
        with self._alone(path):
            there = self._fs.exists(place)
            if what == "x" and there:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            if what == "a" and there:
                with tempfile.TemporaryFile() as whole:
                    self._put_behind(place, file, whole)
                    self._put_in_place(path, whole)
            else:
                self._put_in_place(path, file)

    def _put_in_place(self, path: str, file: Any) -> None:
        place = self.place(path)
        if self._atomic:
            self._put(file, place)
            return
        hidden = self.place(parent(path).rstrip("/") + "/" + HIDDEN + secrets.token_hex(8))
        try:
            self._put(file, hidden)
            self._fs.mv(hidden, place)
        except BaseException:
            if self._fs.exists(hidden):
                self._fs.rm_file(hidden)
            raise

    def close(self) -> None:
        """Leave the files as they are."""

    def _put(self, file: Any, place: str) -> None:
        self._fs.put_file(f"/proc/self/fd/{file.fileno()}", place)

    def _put_behind(self, place: str, added: Any, whole: Any) -> None:
        """Make a file of the existing contents and an addition."""
        with self._fs.open(place, "rb") as old:
            while part := old.read(1 << 20):
                whole.write(part)
        while part := added.read(1 << 20):
            whole.write(part)
        whole.flush()

    @contextmanager
    def _alone(self, path: str) -> Iterator[None]:
        """Serialize openings and replacements of a file."""
        with self._guard:
            lock = self._locks.setdefault(path, [threading.Lock(), 0])
            lock[1] += 1
        try:
            with lock[0]:
                yield
        finally:
            with self._guard:
                lock[1] -= 1
                if not lock[1]:
                    del self._locks[path]


def open_remote(url: str, options: dict[str, Any]) -> RemoteStore:
    """Return the backend of an fsspec URL.

    Raises:
        InvalidCall: no backend knows such a URL, or a package that it needs is not installed.
    """
    import fsspec

    options = dict(options)
    cls = options.pop("class", None)
    try:
        if cls is not None:
            module, _, kind = str(cls).partition(":")
            fs = getattr(__import__(module, fromlist=[kind]), kind)(use_listings_cache=False, **options)
            return RemoteStore(fs, fs._strip_protocol(url))
        fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False, **options)
    except (ImportError, ValueError, TypeError, AttributeError) as error:
        raise InvalidCall(f"the setting 'files': fsspec cannot use {_safe(url)!r}: {error}") from error
    return RemoteStore(fs, root)


def _safe(url: str) -> str:
    """Return a URL without a possible password."""
    scheme, _, rest = url.rpartition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if "@" in rest.partition("/")[0] else url


def _plain(path: str, found: dict[str, Any]) -> dict[str, Any]:
    """Return a backend's information on a file, as values that can be sent."""
    kept = {key: value for key, value in found.items() if isinstance(value, (str, int, float, bool, type(None)))}
    for key, names in _TIMES.items():
        kept[key] = next((time for time in (_seconds(found.get(each)) for each in names) if time is not None), None)
    return {**kept, "name": path, "size": found.get("size") or 0, "type": found.get("type", "file")}


def _seconds(value: Any) -> float | None:
    if isinstance(value, datetime):
        return value.timestamp()
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _uppers(path: str) -> list[str]:
    found = []
    while path != "/":
        found.append(path)
        path = parent(path)
    return found
