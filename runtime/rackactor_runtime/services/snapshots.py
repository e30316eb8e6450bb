"""Snapshots of shared memory for replicas on other hosts, made beside the supervisor and not by it."""

from __future__ import annotations

import os
import threading
from collections.abc import Hashable
from typing import Any

from rackactor.errors import InvalidCall
from rackactor.memory import layout
from rackactor.services import Data
from rackactor.stream import EntryKind
from rackactor_runtime.services.hosting import Host

#: Bytes sent in one message: several are on their way at once, so that neither end waits for the other.
PART = 1 << 20


class Snapshots:
    """Answer the question of `rackactor.memory.backing`: a copy of the memory, in messages to a mailbox of its own."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._env: Any = None
        self._lock = threading.Lock()

    def strand(self, pid: int, op: str, fields: dict[str, Any]) -> Hashable:
        """Return the member: it gets one snapshot after the other."""
        return pid

    def answer(self, pid: int, op: str, fields: dict[str, Any], data: memoryview) -> tuple[dict[str, Any], Data]:
        """Send the bytes of the environment, as it is now; the answer comes behind them.

        Raises:
            InvalidCall: another question, or nobody has used the memory yet.
        """
        from rackactor.memory.transfer import copy_environment

        box = fields.get("box")
        if op != "send" or type(box) is not int or box <= 0:
            raise InvalidCall("the service of snapshots knows one question: send, with the number of a mailbox")
        size = 0
        for part in copy_environment(self._environment(), compact=False, part=PART):
            self._host.kernel.post(pid, EntryKind.TELL, memoryview(part), box)
            size += len(part)
        return {"size": size}, b""

    def gone(self, pid: int) -> None:
        """Nothing is kept for a member."""

    def close(self) -> None:
        """The environment goes with the process."""

    def _environment(self) -> Any:
        with self._lock:
            if self._env is None:
                from rackactor.memory.reader import open_environment

                path = os.path.join(self._host.directory, "memory")
                if not os.path.exists(path):
                    raise InvalidCall("nobody has used the shared memory yet")
                self._env = open_environment(path, self._host.settings["shm_size"] + layout.RESERVE)
            return self._env


def make(host: Host) -> Snapshots:
    """Return the service."""
    return Snapshots(host)
