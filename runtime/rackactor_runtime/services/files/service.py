"""The file service: it does on the group's backend what `rackactor.ipc.files.client` asks for."""

from __future__ import annotations

import errno
import os
import secrets
import threading
from collections.abc import Callable, Hashable
from typing import Any

from rackactor.errors import RackError
from rackactor.ipc.files.paths import KEPT, is_hidden, is_kept, normalize, parent
from rackactor.ipc.service import Data
from rackactor_runtime.services.files.backend import OwnStore, open_backend
from rackactor_runtime.services.files.fd_server import TICKET, Door
from rackactor_runtime.services.files.handles import Handle, Handles
from rackactor_runtime.services.files.store import Reading, Store
from rackactor_runtime.services.runner import Host

#: The most data in one answer, bytes.
CHUNK = 4 << 20
#: The most data that comes with the opening of a remotely read file, bytes.
FIRST = 64 << 10
#: Python exceptions that backends raise without the errno of a local disk.
_NUMBERS: list[tuple[type[OSError], int]] = [
    (FileNotFoundError, errno.ENOENT),
    (FileExistsError, errno.EEXIST),
    (IsADirectoryError, errno.EISDIR),
    (NotADirectoryError, errno.ENOTDIR),
    (PermissionError, errno.EACCES),
    (TimeoutError, errno.ETIMEDOUT),
]

Answer = tuple[dict[str, Any], Data]


class Files:
    """Answer the requests of `rackactor.ipc.files.client`."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._lock = threading.Lock()
        self._handles: Handles = Handles()
        self._backend: Store | None = None
        self._kept: Store | None = None
        self._opening = threading.Lock()
        self._door: Door | None = None
        self._ops: dict[str, Callable[[int, dict[str, Any], memoryview], Answer]] = {
            name.removeprefix("_op_"): getattr(self, name) for name in dir(self) if name.startswith("_op_")
        }

    def strand(self, pid: int, op: str, fields: dict[str, Any]) -> Hashable:
        """Keep requests for one open file in order."""
        number = fields.get("handle")
        return number if isinstance(number, int) else None

    def answer(self, pid: int, op: str, fields: dict[str, Any], data: memoryview) -> Answer:
        """Answer a request; errors are those of a local disk, with the group's path."""
        known = self._ops.get(op)
        if known is None:
            raise RackError(f"the file service knows no {op!r}")
        try:
            _check_kept(op, fields)
            return known(pid, fields, data)
        except OSError as error:
            raise _as_on_a_disk(error, fields.get("path")) from error

    def gone(self, pid: int) -> None:
        """Discard what a process has left open."""
        with self._lock:
            left = self._handles.of(pid)
        for handle in left:
            self._drop(handle)

    def close(self) -> None:
        """Discard what is open, at the group's end."""
        with self._lock:
            left = self._handles.all()
        for handle in left:
            self._drop(handle)
        for store in (self._backend, self._kept):
            if store is not None:
                store.close()

    # -- looking -------------------------------------------------------------------------------------------

    def _op_info(self, pid: int, fields: dict[str, Any], data: memoryview) -> Answer:
        path = _path(fields)
        return {"info": self._store_of(path).info(path)}, b""

    def _op_ls(self, pid: int, fields: dict[str, Any], data: memoryview) -> Answer:
        """List a directory; a file's list is the file itself (unless `strict`)."""
        path = _path(fields)
        store = self._store_of(path)
        found = store.info(path)
        if found["type"] == "directory":
            return {"infos": store.ls(path)}, b""
        if fields.get("strict"):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return {"infos": [found]}, b""

    # -- names ---------------------------------------------------------------------------------------------

    def _op_mkdir(self, pid: int, fields: dict[str, Any], data: memoryview) -> Answer:
        path = _path(fields)
        if path == "/":
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        if fields.get("parents"):
            self._store.makedirs(parent(path))
        self._store.mkdir(path)
        return {}, b""

    def _op_makedirs(self, pid: int, fields: dict[str, Any], data: memoryview) -> Answer:
        path = _path(fields)
        if not fields.get("exist_ok"):
            return self._op_mkdir(pid, {**fields, "parents": True}, data)
        self._store.makedirs(path)
        return {}, b""

    def _op_rmdir(self, pid: int, fields: dict[str, Any], data: memoryview) -> Answer:
        path = _path(fields)
        if self._store.info(path)["type"] != "directory":
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if path == "/":
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        self._store.rmdir(path)
        return {}, b""

    def _op_rm(self, pid: int, fields: dict[str, Any], data: memoryview) -> Answer:
        path = _path(fields)
        if fields.get("recursive") and (path == "/" or self._store.info(path)["type"] == "directory"):
            self._store.rm_tree(path)
        else:
            self._store.rm_file(path)
        return {}, b""

    def _op_mv(self, pid: int, fields: dict[str, Any], data: memoryview) -> Answer:
        path, target = _path(fields), _path(fields, "target")
        self._make_room(fields, target)
        self._store.mv(path, target)
        return {}, b""

    def _op_cp(self, pid: int, fields: dict[str, Any], data: memoryview) -> Answer:
        path, target = _path(fields), _path(fields, "target")
        if self._store.info(path)["type"] == "directory":
            self._store.makedirs(target)
        elif path != target:
            self._make_room(fields, target)
            self._store.cp_file(path, target)
        return {}, b""

    def _op_touch(self, pid: int, fields: dict[str, Any], data: memoryview) -> Answer:
        """Make an empty file, or set the time of an existing one (`truncate`: and empty it)."""
        path = _path(fields)
        try:
            there = self._store.info(path)["type"]
        except FileNotFoundError:
            there = ""
        if there and (there == "directory" or not fields.get("truncate")):
            self._store.utime(path)
        else:
            self._make_room(fields, path)
            self._store.write(path, "w").commit()
        return {}, b""

    # -- whole files ---------------------------------------------------------------------------------------

    def _op_cat(self, pid: int, fields: dict[str, Any], data: memoryview) -> Answer:
        """Return some bytes of a file; if there are more than an answer holds, only their number."""
        path = _path(fields)
        reading = self._store_of(path).read(path)
        try:
            start, end = _range(fields, reading.size)
            if end - start > CHUNK:
                return {"size": reading.size, "more": True}, b""
            return {"size": reading.size}, bytes(reading.read(start, end - start))
        finally:
            reading.close()

    def _op_pipe(self, pid: int, fields: dict[str, Any], data: memoryview) -> Answer:
        """Write a file in one request; `what` is "w" or "x"."""
        handle = self._begin(pid, fields)
        try:
            handle.behind.write(0, data)
            handle.behind.commit()
        finally:
            self._drop(handle)
        return {}, b""

    # -- open files ----------------------------------------------------------------------------------------

    def _op_open(self, pid: int, fields: dict[str, Any], data: memoryview) -> Answer:
        """Open a file; on one host its descriptor may be fetched (`here`) from a socket, by a ticket."""
        handle = self._begin(pid, fields)
        behind = handle.behind
        told: dict[str, Any] = {"handle": handle.number}
        told["size"] = behind.size if handle.what == "r" else behind.start
        if fields.get("here") and behind.fileno() is not None and self._may_hand_out():
            assert self._door is not None
            ticket = secrets.token_bytes(TICKET)
            with self._lock:
                self._handles.issue(handle, ticket)
            told.update(door=self._door.place, ticket=ticket)
        elif handle.what == "r":
            first = bytes(behind.read(0, FIRST))
            if len(first) == behind.size:  # a small file needs no further requests
                told["handle"] = 0
                self._drop(handle)
            return told, first
        return told, b""

    def _op_read(self, pid: int, fields: dict[str, Any], data: memoryview) -> Answer:
        reading: Reading = self._handle(pid, fields).behind
        start, size = int(fields["start"]), int(fields["size"])
        if start < 0 or not 0 <= size <= CHUNK:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return {}, reading.read(start, size)

    def _op_write(self, pid: int, fields: dict[str, Any], data: memoryview) -> Answer:
        handle = self._handle(pid, fields)
        handle.behind.write(int(fields["at"]), data)
        return {}, b""

    def _op_truncate(self, pid: int, fields: dict[str, Any], data: memoryview) -> Answer:
        self._handle(pid, fields).behind.truncate(int(fields["size"]))
        return {}, b""

    def _op_close(self, pid: int, fields: dict[str, Any], data: memoryview) -> Answer:
        """Close a file; `commit`: the written file appears."""
        handle = self._handle(pid, fields)
        try:
            if fields.get("commit"):
                handle.behind.commit()
        finally:
            self._drop(handle)
        return {}, b""

    def _begin(self, pid: int, fields: dict[str, Any]) -> Handle:
        path, what = _path(fields), fields["what"]
        if what not in ("r", "w", "x", "a"):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        with self._lock:
            handle = self._handles.begin(pid, path, what)
        try:
            if what == "r":
                handle.behind = self._store_of(path).read(path)
            else:
                self._make_room(fields, path)
                handle.behind = self._store_of(path).write(path, what)
        except BaseException:
            self._drop(handle)
            raise
        return handle

    def _handle(self, pid: int, fields: dict[str, Any]) -> Handle:
        with self._lock:
            handle = self._handles.get(pid, fields.get("handle"))
        fields.setdefault("path", handle.path)  # for error messages
        return handle

    def _drop(self, handle: Handle) -> None:
        with self._lock:
            self._handles.end(handle)
            behind, handle.behind = handle.behind, None
        if behind is None:
            return
        if handle.what == "r":
            behind.close()
        else:
            behind.discard()

    def _make_room(self, fields: dict[str, Any], path: str) -> None:
        if path == "/":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if fields.get("parents", True):
            try:
                self._store_of(path).makedirs(parent(path))
            except FileExistsError:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None

    # -- where it all lies ----------------------------------------------------------------------------------

    @property
    def _store(self) -> Store:
        with self._opening:
            if self._backend is None:
                self._backend = open_backend(self._host.directory, self._host.settings.get("files"))
            return self._backend

    def _store_of(self, path: str) -> Store:
        """Return the store of a path: the group's own files never go to a backend that outlives the group."""
        if not is_kept(path):
            return self._store
        with self._opening:
            if self._kept is None:
                self._kept = OwnStore(self._host.directory, "kept")
                self._kept.makedirs(KEPT)
            return self._kept

    def _may_hand_out(self) -> bool:
        if self._host.birth.get("server_key") is not None:
            return False  # over tcp a process may be on another host
        with self._opening:
            if self._door is None:
                self._door = Door(os.path.join(self._host.directory, "f"), self._redeem)
        return True

    def _redeem(self, ticket: bytes) -> int | None:
        """Return a new descriptor for a ticket; a reader does not need the service any more."""
        with self._lock:
            handle = self._handles.redeem(ticket)
            descriptor = None if handle is None or handle.behind is None else handle.behind.fileno()
            if handle is None or descriptor is None:
                return None
            own = os.dup(descriptor)
        if handle.what == "r":
            self._drop(handle)
        return own


def make(host: Host) -> Files:
    """Return the service."""
    return Files(host)


def _path(fields: dict[str, Any], name: str = "path") -> str:
    path = normalize(fields[name])
    if is_hidden(path):
        raise PermissionError(errno.EPERM, "this name is kept for unfinished files", path)
    return path


def _check_kept(op: str, fields: dict[str, Any]) -> None:
    """Refuse changes of the group's own files: they may be read, and added to."""
    for name in ("path", "target"):
        path = fields.get(name)
        if path is None or not is_kept(normalize(path)):
            continue
        adds = op not in ("open", "pipe") or fields.get("what") in ("r", "x")
        if not adds or op not in ("open", "pipe", "read", "write", "truncate", "close", "cat", "info", "ls"):
            raise PermissionError(errno.EPERM, "what is there is the group's own", path)


def _range(fields: dict[str, Any], size: int) -> tuple[int, int]:
    """Return a range in fsspec's sense: negative numbers count from the end."""
    start, end, _ = slice(fields.get("start"), fields.get("end")).indices(size)
    return start, max(start, end)


def _as_on_a_disk(error: OSError, path: Any) -> OSError:
    """Return the error that a local disk would give, with the group's path."""
    if isinstance(error, RackError):
        return error
    number = error.errno
    if number is None:
        number = next((number for cls, number in _NUMBERS if isinstance(error, cls)), None)
    if number is None:
        return OSError(errno.EIO, f"{type(error).__name__}: {error}", path)
    words = error.strerror or os.strerror(number)
    return OSError(number, words, *([] if path is None else [str(path)]))
