"""The calls of a process to the group's file service, and the files that are open behind it."""

from __future__ import annotations

import socket
from typing import Any

from rackactor.ipc.files.paths import normalize
from rackactor.ipc.service import Data, Service
from rackactor.kernel.kernel import Kernel
from rackactor.kernel.pending import Pending

#: Seconds for fetching a descriptor: the service only has to hand it over.
_DOOR = 10.0


class Opened:
    """A file that the service has open for this process.

    Attributes:
        path: in the group's namespace.
        size: of a file that is read, or appended to.
        first: its beginning, if it is read remotely; if this is the whole file, it is closed again.
    """

    def __init__(self, files: Files, path: str, pid: int, told: dict[str, Any], first: memoryview) -> None:
        self._files = files
        self.path = path
        self.size: int = told["size"]
        self._handle: int = told["handle"]
        self._pid = pid
        self.first = first
        self._over = self._handle == 0

    def begin(self, op: str, fields: dict[str, Any], data: Data = b"") -> Pending:
        """Send a request without waiting."""
        return self._files.service.begin(self._pid, op, {**fields, "handle": self._handle}, data)

    def answer(self, pending: Pending) -> memoryview:
        """Wait for an answer."""
        return self._files.service.answer(pending, self._pid)[1]

    def close(self, *, commit: bool) -> None:
        """Close it; `commit`: the written file appears. Idempotent."""
        if not self._over:
            self._over = True
            self.answer(self.begin("close", {"commit": commit, "path": self.path}))

    def abandon(self) -> None:
        """Release it without waiting: for finalizers."""
        if not self._over:
            self._over = True
            self._files.service.post_from_finalizer(self._pid, "close", {"handle": self._handle})


class Files:
    """The files of a group, for one of its processes.

    Args:
        kernel: of the process.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.service = Service(kernel, "files")

    def look(self, op: str, path: Any, **fields: Any) -> tuple[dict[str, Any], memoryview]:
        """Send a request that changes nothing."""
        return self.service.ask(op, {"path": normalize(path), **fields}, again=True)

    def change(self, op: str, path: Any, data: Data = b"", **fields: Any) -> None:
        """Send a request that changes something."""
        self.service.ask(op, {"path": normalize(path), **fields}, data)

    def listdir(self, path: Any = "/") -> list[str]:
        """Return the names in a directory, sorted."""
        fields, _ = self.look("ls", path, strict=True)
        return [info["name"].rpartition("/")[2] for info in fields["infos"]]

    def open(self, path: Any, what: str, *, parents: bool = True) -> tuple[Opened, int | None]:
        """Open a file.

        Args:
            path: where.
            what: "r", "w", "x" or "a".
            parents: whether missing directories are made.

        Returns: the file, and a descriptor of it if this process may read or write it itself.
        """
        path = normalize(path)
        fields = {"path": path, "what": what, "parents": parents, "here": self.service.kernel.identity.keys is None}
        pid, told, first = self.service.ask_one("open", fields, again=what == "r")
        opened = Opened(self, path, pid, told, first)
        return opened, _fetch(told["door"], told["ticket"]) if "door" in told else None


def _fetch(door: str, ticket: bytes) -> int | None:
    """Return the descriptor of a file; None: there is none, and the file must be used remotely."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as caller:
            caller.settimeout(_DOOR)
            caller.connect(door)
            caller.send(ticket)
            _, descriptors, _, _ = socket.recv_fds(caller, 1, 1)
    except OSError:
        return None
    return descriptors[0] if descriptors else None
