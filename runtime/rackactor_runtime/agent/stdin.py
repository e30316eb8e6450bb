"""Standard input that arrives as messages: a separate thread writes it into a pipe."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any

from rackactor.kernel.news import StdinArrived
from rackactor.syscalls.session import Session
from rackactor.system import threads


class StdinPump:
    """Writes what arrives for standard input into a pipe; senders get their credit back as it is read."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._queue: queue.SimpleQueue[tuple[int, int, bytes]] = queue.SimpleQueue()
        self.reader, self._writer = os.pipe()
        threads.start(threading.Thread(target=self._write, name="rackactor-stdin", daemon=True))
        session.kernel.on(StdinArrived, self._arrived)

    def become_stdin(self) -> None:
        """Make the pipe this very process's standard input."""
        os.dup2(self.reader, 0)
        os.close(self.reader)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - it lives as long as the process

    def _arrived(self, arrived: StdinArrived, blobs: Sequence[Any]) -> None:
        self._queue.put((arrived.pid, arrived.cost, bytes(blobs[0])))

    def _write(self) -> None:
        # Signals belong to the main thread: handled here, a signal would not interrupt the main thread's wait.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        broken = False
        while True:
            pid, cost, data = self._queue.get()
            view = memoryview(data)
            while view and not broken:
                try:
                    view = view[os.write(self._writer, view) :]
                except OSError:
                    broken = True  # the reader is gone; what still comes is dropped
            self._session.kernel.consume(pid, cost)
            if not data:
                os.close(self._writer)
                return
