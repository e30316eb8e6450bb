"""Thespian's watch: an actor is told when files of its own are ready.

The main thread waits at the group's sockets, and an actor must not use their poller. So a separate thread polls the
files, from the first watch on.
"""

from __future__ import annotations

import select
import signal
import threading
from collections.abc import Callable, Iterable

from rackactor.kernel.transport.wakeup import Waker
from rackactor.system import threads

_INTEREST = select.POLLIN | select.POLLPRI


class Watcher:
    """Tells once when one of several descriptors is ready, until they are given again.

    Args:
        ready: called in the watching thread with the number of the watch and the descriptors.
    """

    def __init__(self, ready: Callable[[int, list[int]], None]) -> None:
        self._ready = ready
        self._lock = threading.Lock()
        self._filenos: tuple[int, ...] = ()
        self._waker = Waker()
        self._thread: threading.Thread | None = None
        #: Number of the present watch: results of earlier ones are stale.
        self.number = 0

    def watch(self, filenos: Iterable[int]) -> None:
        """Watch these descriptors instead of the previous ones; none ends the watch."""
        with self._lock:
            wanted = tuple(filenos)
            if not wanted and not self._filenos:
                return
            self._filenos = wanted
            self.number += 1
        self._waker.wake()
        if self._thread is None:
            self._thread = threads.start(threading.Thread(target=self._run, name="rackactor-watch", daemon=True))

    def _run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # signals belong to the main thread
        while True:
            with self._lock:
                number, filenos = self.number, self._filenos
            found = self._poll(filenos)
            with self._lock:
                if number != self.number or not found:
                    continue
                self._filenos = ()
            self._ready(number, found)

    def _poll(self, filenos: tuple[int, ...]) -> list[int]:
        poller = select.poll()
        waker = self._waker.fileno()
        poller.register(waker, select.POLLIN)
        for fileno in filenos:
            poller.register(fileno, _INTEREST)
        found = [fileno for fileno, _ in poller.poll()]
        if waker in found:
            self._waker.drain()
            found.remove(waker)
        return found
