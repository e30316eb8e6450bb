"""Snapshots of shared memory for replicas on other hosts, made beside the supervisor and not by it."""

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

#: Bytes sent in one message: several are on their way at once, so that neither end waits for the other.
PART = 1 << 20


class Snapshots:
    """Answer the question of `rackactor.ipc.memory.backing`: a copy of the memory, in messages to its own mailbox."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._env: Any = None
        self._frozen: dict[int, Frozen] = {}
        self._lock = threading.Lock()

    def strand(self, pid: int, op: str, fields: dict[str, Any]) -> Hashable:
        """Return the member: it gets one snapshot after the other."""
        return pid

    def answer(self, pid: int, op: str, fields: dict[str, Any], data: memoryview) -> tuple[dict[str, Any], Data]:
        """Send the bytes of the environment, as it is now; the answer comes behind them.

        They are sent from where they are, so they must stay until the member has said that it has them.

        Raises:
            InvalidCall: another question, or nobody has used the memory yet.
        """
        box = fields.get("box")
        if op not in ("send", "done") or type(box) is not int or box <= 0:
            raise InvalidCall("the service of snapshots knows send and done, with the number of a mailbox")
        self.gone(pid)  # what it had before is over
        if op == "done":
            return {}, b""
        frozen = Frozen(self._environment())
        with self._lock:
            self._frozen[pid] = frozen
        for part in frozen.parts(PART):
            self._host.kernel.post(pid, EntryKind.TELL, part, box)
        return {"size": frozen.size}, b""

    def gone(self, pid: int) -> None:
        """Let go of what a member was sent: nobody reads it any more."""
        with self._lock:
            frozen = self._frozen.pop(pid, None)
        if frozen is not None:
            frozen.close()

    def close(self) -> None:
        """The environment goes with the process."""

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
