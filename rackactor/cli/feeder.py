"""This command's standard input, passed on to processes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Sequence
from typing import Any

from rackactor.errors import RackError
from rackactor.syscalls.process import Process
from rackactor.system import threads
from rackactor.system.readiness import readable

_CHUNK = 64 << 10
#: How often a command in the background of a terminal checks whether it is in the foreground again, seconds.
_BACKGROUND = 0.3


class Feeder:
    """Copies standard input to processes; each of them gets all of it, and the end of file.

    A daemon thread: it may wait for a key that is never pressed, and must not keep the command alive.
    """

    def __init__(self, processes: Sequence[Process[Any]]) -> None:
        self._processes = list(processes)
        threads.start(threading.Thread(target=self._copy, name="rack-input", daemon=True))

    def _copy(self) -> None:
        # SIGTTIN is one of them: then reading in the background is an error, and does not stop the command.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while self._processes and (data := _read()):
            self._send(data)
        for process in self._processes:
            try:
                process.stdin.close()
            except (OSError, ValueError, RackError):
                pass  # the process has ended, and its input with it

    def _send(self, data: bytes) -> None:
        for process in list(self._processes):
            try:
                process.stdin.write(data)
                process.stdin.flush()
            except (OSError, ValueError, RackError):
                self._processes.remove(process)  # the process has ended


def _read() -> bytes:
    """Read available data; b"" at the end, or if there is no standard input."""
    while True:
        try:
            if os.isatty(0):
                readable([0])
                if os.tcgetpgrp(0) != os.getpgrp():
                    time.sleep(_BACKGROUND)
                    continue
            return os.read(0, _CHUNK)
        except (OSError, ValueError):
            return b""
