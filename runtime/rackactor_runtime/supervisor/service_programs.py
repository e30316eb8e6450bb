"""The programs of the group's services: started, watched, and ended with the supervisor however that ends.

Each has the reading end of a pipe as its standard input. The supervisor writes the birth data to the pipe and keeps the
other end open. When that end closes, by the group's end or the supervisor's death, the service cleans up and ends.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Mapping
from typing import Any

from rackactor.records import dataclass
from rackactor.system import executable
from rackactor.system.readiness import readable
from rackactor.wire.frames import pack_body
from rackactor_runtime import descriptors
from rackactor_runtime.supervisor.decisions.messages import ServiceEnded, StartService
from rackactor_runtime.supervisor.faults import in_words

#: Seconds that a service has to clean up at the group's end; after that it is killed.
PARTING = 4.0


@dataclass
class _Servant:
    """A service's program."""

    process: subprocess.Popen[bytes]
    pidfd: int


class ServicePrograms:
    """Starts services, and leaves none running."""

    def __init__(self) -> None:
        self._servants: dict[int, _Servant] = {}
        self._unborn: list[ServiceEnded] = []

    @property
    def empty(self) -> bool:
        """Tell whether no service runs."""
        return not self._servants

    def start(self, order: StartService, surroundings: Mapping[str, Any]) -> int | None:
        """Start the program of a service.

        It stays in the supervisor's session, from which a local provider tells what belongs to its processes.

        Args:
            order: which service, and how it joins.
            surroundings: the part of the birth data that all services share.

        Returns: a descriptor that becomes readable when it ends; None: it could not be started (see `ended`).
        """
        birth = {**surroundings, "pid": order.pid, "incarnation": order.incarnation, "token": order.token}
        # UTF-8 whatever the locale, because the file names in requests are in UTF-8.
        words = executable.words("rackactor_runtime.services", order.name, options=("-X", "utf8", "-W", "ignore"))
        data = pack_body(birth)
        try:
            process = descriptors.spared(subprocess.Popen, words, stdin=subprocess.PIPE, stdout=2, bufsize=0)
        except (OSError, MemoryError) as error:
            self._unborn.append(ServiceEnded(order.pid, f"its program could not be started: {in_words(error)}"))
            return None
        try:
            servant = _Servant(process, descriptors.spared(os.pidfd_open, process.pid))
        except OSError as error:  # its end would go unnoticed
            process.kill()
            _bury(process)
            self._unborn.append(ServiceEnded(order.pid, f"its program could not be watched: {in_words(error)}"))
            return None
        assert process.stdin is not None
        try:
            os.set_blocking(process.stdin.fileno(), False)  # a page or so: a pipe takes it at once
            process.stdin.write(len(data).to_bytes(4, "big") + data)
        except OSError:
            process.kill()  # it has ended already, or cannot get its birth data: its descriptor will report the end
        self._servants[order.pid] = servant
        return servant.pidfd

    def ended(self, ready: Mapping[Any, int]) -> list[tuple[ServiceEnded, int | None]]:
        """Return the ends of services among the ready descriptors, each with the descriptor to stop watching."""
        told: list[tuple[ServiceEnded, int | None]] = [(event, None) for event in self._unborn]
        self._unborn.clear()
        for pid, servant in [item for item in self._servants.items() if item[1].pidfd in ready]:
            del self._servants[pid]
            told.append((ServiceEnded(pid, _words(_bury(servant.process))), servant.pidfd))
        return told

    def kill(self, pid: int) -> None:
        """Kill the program of a service."""
        if pid in self._servants:
            self._servants[pid].process.kill()

    def dismiss(self) -> None:
        """Tell all services to clean up and go."""
        for servant in self._servants.values():
            _let_go(servant.process)

    def close(self, patience: float = PARTING) -> None:
        """End all services; those that do not end in time are killed."""
        self.dismiss()
        until = time.monotonic() + patience
        for servant in self._servants.values():
            left = max(0.0, until - time.monotonic())
            if not readable([servant.pidfd], left):
                servant.process.kill()
            _bury(servant.process)
            os.close(servant.pidfd)
        self._servants.clear()


def _let_go(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()


def _bury(process: subprocess.Popen[bytes]) -> int:
    _let_go(process)
    return process.wait()


def _words(code: int) -> str:
    how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
    return f"its program {how}; supervisor.log in the group's directory has its last words"
