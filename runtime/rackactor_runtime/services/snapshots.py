"""Snapshots of shared memory for replicas on other hosts, made outside the supervisor."""

from __future__ import annotations

import os
import threading
from collections.abc import Hashable
from typing import Any

from rackactor.errors import InvalidCall
from rackactor.ipc.memory import layout
from rackactor.ipc.memory.frozen import Frozen
from rackactor.ipc.service import Data
from rackactor.wire.stream import EntryKind
from rackactor_runtime.services.runner import Host

#: Bytes sent in one message: several are under way at a time, so that neither end waits for the other.
PART = 1 << 20


class Snapshots:
    """Answers the request of `rackactor.ipc.memory.backing`: a copy of the memory, sent to its mailbox."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._env: Any = None
        self._frozen: dict[int, Frozen] = {}
        self._lock = threading.Lock()

    def strand(self, pid: int, op: str, fields: dict[str, Any]) -> Hashable:
        """Return the member: it gets one snapshot at a time."""
        return pid

    def answer(self, pid: int, op: str, fields: dict[str, Any], data: memoryview) -> tuple[dict[str, Any], Data]:
        """Send the bytes of the environment, as it is now; the answer comes after them.

        They are sent in place, so the snapshot stays open until the member has acknowledged them.

        Raises:
            InvalidCall: another request, or the memory has not been used yet.
        """
        box = fields.get("box")
        if op not in ("send", "done") or type(box) is not int or box <= 0:
            raise InvalidCall("the service of snapshots knows send and done, with the number of a mailbox")
        self.gone(pid)  # an earlier snapshot for it is over
        if op == "done":
            return {}, b""
        frozen = Frozen(self._environment())
        with self._lock:
            self._frozen[pid] = frozen
        for part in frozen.parts(PART):
            self._host.kernel.post(pid, EntryKind.TELL, part, box)
        return {"size": frozen.size}, b""

    def gone(self, pid: int) -> None:
        """Release a member's snapshot: nobody reads it any more."""
        with self._lock:
            frozen = self._frozen.pop(pid, None)
        if frozen is not None:
            frozen.close()

    def close(self) -> None:
        """Do nothing: the environment is closed with the process."""

    def _environment(self) -> Any:
        with self._lock:
            if self._env is None:
                from rackactor.ipc.memory.reader import open_environment

                path = os.path.join(self._host.directory, "memory")
                if not os.path.exists(path):
                    raise InvalidCall("nobody has used the shared memory yet")
                self._env = open_environment(path, self._host.settings["shm_size"] + layout.RESERVE)
            return self._env


def make(host: Host) -> Snapshots:
    """Return the service."""
    return Snapshots(host)
