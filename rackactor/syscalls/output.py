"""Showing the output of processes as it grows.

It is shown by a thread of its own, so that a paused terminal blocks the printing processes and never the heartbeats.
That thread asks for all output but the first, and no lock is taken: a signal handler may call `finish` in the midst of
such a call, and wait for the output.
"""

from __future__ import annotations

import queue
import signal
import threading
import time
from typing import Any, Protocol

import msgpack

from rackactor.errors import GroupEnded, RackError
from rackactor.kernel.kernel import Kernel
from rackactor.kernel.pending import Pending
from rackactor.syscalls.lines import Lines
from rackactor.system import threads
from rackactor.wire.calls.logs import FEED, Logs


class Sink(Protocol):
    """Where output is shown."""

    @property
    def broken(self) -> bool:
        """Tell whether nothing can be shown any more."""

    def show(self, pid: int, stream: int, data: bytes) -> None:
        """Show output of a process; raise nothing."""

    def finish(self) -> None:
        """Show what is held back, since there will be no more output."""


class _Log:
    """A log that is followed."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.offset = 0
        self.follow = True
        self.done = False


class OutputFollower:
    """Show logs as they grow.

    Args:
        kernel: the membership through which they are read.
        sink: where they are shown.
        lines: assembles lines where several processes print; None: everything is shown as it comes.
    """

    def __init__(self, kernel: Kernel, sink: Sink, lines: Lines | None) -> None:
        self._kernel = kernel
        self._sink = sink
        self._lines = lines
        self._logs: list[_Log] = []
        self._over = threading.Event()
        #: Answers with the offsets they were asked for; without an answer: ask; None: stop.
        self._queue: queue.SimpleQueue[tuple[_Log, int, Pending | None] | None] = queue.SimpleQueue()
        self._thread = threads.start(threading.Thread(target=self._run, name="rackactor-output", daemon=True))

    def follow(self, pid: int) -> None:
        """Show a process's output (FEED: that of all) from its start."""
        log = _Log(pid)
        self._logs.append(log)
        self._over.clear()
        if not self._ask(log):
            self._queue.put((log, 0, None))

    def finish(self) -> None:
        """Stop at the present ends of the logs: there will be no more output. `done` tells when all has been shown."""
        for log in self._logs:
            log.follow = False
            if not log.done:
                self._kernel.cast(Logs(log.pid, 0, leave=True))
                self._queue.put((log, log.offset, None))

    @property
    def done(self) -> bool:
        """Tell whether everything has been shown."""
        return all(log.done for log in self._logs)

    def wait(self, timeout: float | None) -> None:
        """Wait until everything has been shown, also if the group has ended; at the most `timeout` seconds."""
        try:
            self._kernel.wait(lambda: self.done, timeout)
        except GroupEnded:
            self._over.wait(timeout)  # what has come must still be shown

    def stop(self) -> None:
        """Stop showing."""
        self._queue.put(None)
        self._thread.join(1.0)

    # -- in its thread -------------------------------------------------------------------------------------

    def _ask(self, log: _Log) -> bool:
        """Ask for the next output; False: the group is gone, and so are its logs."""
        offset, asked = log.offset, Logs(log.pid, log.offset, follow=log.follow)
        try:
            self._kernel.begin_call(asked, callback=lambda pending: self._queue.put((log, offset, pending)))
        except RackError:
            return False
        return True

    def _run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # signals belong to the main thread
        while (item := self._next()) is not None:
            log, offset, pending = item
            if log.done or (pending is not None and offset != log.offset):
                continue  # `finish` has asked once more, for output that had just come
            over = not (self._ask(log) if pending is None else self._take(log, pending))
            if over or self._sink.broken:
                self._end(log, over=over)
        for log in self._logs:
            self._end(log, over=True)

    def _next(self) -> tuple[_Log, int, Pending | None] | None:
        """Wait for what is to be done next; an unfinished line does not wait as long for its end."""
        while True:
            try:
                return self._queue.get(timeout=self._show_due())
            except queue.Empty:
                continue

    def _take(self, log: _Log, pending: Pending) -> bool:
        """Show what has come, and ask for more; False: there is none."""
        if pending.error is not None:
            return False
        for pid, stream, _, data in msgpack.unpackb(pending.blobs[0]):
            self._show(pid, stream, data)
        fields: dict[str, Any] = pending.value
        empty = not log.follow and fields["next"] == log.offset
        log.offset = fields["next"]
        return not fields["eof"] and not empty and self._ask(log)

    def _show(self, pid: int, stream: int, data: bytes) -> None:
        if self._lines is not None:
            data = self._lines.take(pid, stream, data, time.monotonic())
        self._sink.show(pid, stream, data)

    def _show_due(self) -> float | None:
        """Show unfinished lines that have waited long enough; return in how many seconds the next one has."""
        if self._lines is None:
            return None
        for pid, stream, data in self._lines.due(time.monotonic()):
            self._sink.show(pid, stream, data)
        return self._lines.wait(time.monotonic())

    def _end(self, log: _Log, *, over: bool) -> None:
        """Show unfinished lines of a log; if it is over, nothing more of it comes."""
        if self._lines is not None:
            for pid, stream, data in self._lines.rest(None if log.pid == FEED else log.pid):
                self._sink.show(pid, stream, data)
        if over and all(each.done or each is log for each in self._logs):
            self._sink.finish()
        log.done |= over  # not before the last line is shown, since the program may end then
        if self.done:
            self._over.set()
        self._kernel.wake()
