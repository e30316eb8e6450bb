"""Output of processes, shown on this command's own standard output and error.

It is written in a separate thread, so that a paused terminal blocks the processes and not the heartbeats. The thread
writes to the descriptors themselves: if it blocked inside one of Python's buffered files, Python's exit would block.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import msgpack

from rackactor.errors import RackError
from rackactor.kernel.kernel import Kernel
from rackactor.kernel.pending import Pending
from rackactor.syscalls.lines import Lines
from rackactor.system.readiness import writable
from rackactor.wire.calls.logs import FEED, Logs


class _Log:
    """A log that is followed."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.offset = 0
        self.follow = True
        self.done = False


class Tap:
    """Show logs as they grow.

    Args:
        kernel: the membership through which they are read.
        on_output: called before the first output is shown.
        lines: assembles lines where several processes print; None: show everything as it comes.

    Attributes:
        broken: standard output cannot be written to any more.
        fault: the reason, unless it is only that the reader is gone.
    """

    def __init__(self, kernel: Kernel, on_output: Callable[[], None], *, lines: Lines | None) -> None:
        self._kernel = kernel
        self._on_output: Callable[[], None] | None = on_output
        self._whole = lines
        self._logs: list[_Log] = []
        self._lock = threading.Lock()
        self._answers: queue.SimpleQueue[tuple[_Log, int, Pending]] = queue.SimpleQueue()
        self.broken = False
        self.fault: OSError | None = None
        threading.Thread(target=self._write, name="rack-output", daemon=True).start()

    def follow(self, pid: int) -> None:
        """Show a process's output (FEED: that of all) from its start."""
        log = _Log(pid)
        self._logs.append(log)
        with self._lock:
            self._ask(log)

    def finish(self) -> None:
        """Stop at the present ends of the logs: there will be no more output. `done` tells when all has been shown."""
        for log in self._logs:
            with self._lock:
                log.follow = False
                if not log.done:
                    self._kernel.cast(Logs(log.pid, 0, leave=True))
                    self._ask(log)

    @property
    def done(self) -> bool:
        """Tell whether everything has been shown."""
        return all(log.done for log in self._logs)

    def _ask(self, log: _Log) -> None:
        offset, asked = log.offset, Logs(log.pid, log.offset, follow=log.follow)
        try:
            self._kernel.begin_call(asked, callback=lambda pending: self._answers.put((log, offset, pending)))
        except RackError:
            log.done = True  # the group is gone, and so are its logs

    def _write(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # signals belong to the main thread
        while True:
            try:
                log, asked, pending = self._answers.get(timeout=self._show_due())
            except queue.Empty:
                continue
            if log.done or asked != log.offset:
                continue  # `finish` has asked once more, for output that had just come
            over = pending.error is not None
            if not over:
                for pid, stream, _, data in msgpack.unpackb(pending.blobs[0]):
                    self._show(pid, stream, data)
                over = not self._go_on(log, pending.value)
            if over or log.done or self.broken:
                self._flush(log.pid)
                log.done |= over  # not before the last line is shown, since the program may end then
                self._kernel.wake()

    def _go_on(self, log: _Log, fields: dict[str, Any]) -> bool:
        """Ask for the next output; False: there is none."""
        with self._lock:
            empty = not log.follow and fields["next"] == log.offset
            log.offset = fields["next"]
            if fields["eof"] or empty:
                return False
            self._ask(log)
            return True

    def _show(self, pid: int, stream: int, data: bytes) -> None:
        if self._on_output is not None:
            self._on_output()
            self._on_output = None
        if self._whole is not None:
            data = self._whole.take(pid, stream, data, time.monotonic())
        self._put(stream, data)

    def _show_due(self) -> float | None:
        """Show unfinished lines that have waited long enough; return in how many seconds the next one has."""
        if self._whole is None:
            return None
        for _, stream, data in self._whole.due(time.monotonic()):
            self._put(stream, data)
        return self._whole.wait(time.monotonic())

    def _flush(self, pid: int) -> None:
        """Show unfinished lines."""
        if self._whole is not None:
            for _, stream, data in self._whole.rest(None if pid == FEED else pid):
                self._put(stream, data)

    def _put(self, stream: int, data: bytes) -> None:
        if stream == 1 and self.broken:
            return
        try:
            write_all(stream, data)
        except OSError as error:
            if stream == 1:
                self.broken = True
                self.fault = None if isinstance(error, BrokenPipeError) else error


def write_all(fd: int, data: bytes) -> None:
    """Write to a descriptor, which may be non-blocking."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            writable([fd])
