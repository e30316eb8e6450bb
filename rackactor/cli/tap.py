"""What processes print, on this command's own standard output and error.

A thread of its own writes, so that a paused terminal holds the processes back and not the heartbeats. It writes to
the descriptors themselves: a thread that blocks inside one of Python's buffered files would block Python's end too.
"""

from __future__ import annotations

import os
import queue
import select
import signal
import threading
from collections.abc import Callable
from typing import Any

import msgpack

from rackactor.errors import RackError
from rackactor.kernel import Kernel, Pending

#: A line that does not end is shown in pieces of this size, bytes.
_LONGEST_LINE = 64 << 10
#: The pid under which everything that actors and functions print is read.
FEED = 0


class _Log:
    """One log that is followed."""

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
        by_line: show whole lines only, so that those of several processes do not mix.

    Attributes:
        broken: nobody reads our standard output any more.
    """

    def __init__(self, kernel: Kernel, on_output: Callable[[], None], *, by_line: bool) -> None:
        self._kernel = kernel
        self._on_output: Callable[[], None] | None = on_output
        self._by_line = by_line
        self._logs: list[_Log] = []
        self._lines: dict[tuple[int, int], bytes] = {}
        self._lock = threading.Lock()
        self._answers: queue.SimpleQueue[tuple[_Log, int, Pending]] = queue.SimpleQueue()
        self.broken = False
        threading.Thread(target=self._write, name="rack-output", daemon=True).start()

    def follow(self, pid: int) -> None:
        """Show what a process prints (FEED: all of them), from its start."""
        log = _Log(pid)
        self._logs.append(log)
        with self._lock:
            self._ask(log)

    def finish(self) -> None:
        """Stop where the logs stop now: nobody prints any more. `done` tells when that has been shown."""
        for log in self._logs:
            with self._lock:
                log.follow = False
                if not log.done:
                    self._kernel.cast("unfollow", {"pid": log.pid})
                    self._ask(log)

    @property
    def done(self) -> bool:
        """Tell whether everything has been shown."""
        return all(log.done for log in self._logs)

    def _ask(self, log: _Log) -> None:
        offset, args = log.offset, {"pid": log.pid, "offset": log.offset, "follow": log.follow}
        try:
            self._kernel.begin_call("logs", args, callback=lambda pending: self._answers.put((log, offset, pending)))
        except RackError:
            log.done = True  # the group is gone, and its logs with it

    def _write(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are the main thread's
        while True:
            log, asked, pending = self._answers.get()
            if log.done or asked != log.offset:
                continue  # `finish` has asked once more for what had just come
            if pending.error is None:
                for pid, stream, _, data in msgpack.unpackb(pending.blobs[0]):
                    self._show(pid, stream, data)
                self._go_on(log, pending.value)
            else:
                log.done = True
            if log.done or self.broken:
                self._flush(log.pid)
                self._kernel.poke()

    def _go_on(self, log: _Log, fields: dict[str, Any]) -> None:
        with self._lock:
            empty = not log.follow and fields["next"] == log.offset
            log.offset = fields["next"]
            if fields["eof"] or empty:
                log.done = True
            else:
                self._ask(log)

    def _show(self, pid: int, stream: int, data: bytes) -> None:
        if self._on_output is not None:
            self._on_output()
            self._on_output = None
        if self._by_line:
            data = self._lines.pop((pid, stream), b"") + data
            end = data.rfind(b"\n") + 1
            if len(data) - end < _LONGEST_LINE:
                data, self._lines[pid, stream] = data[:end], data[end:]
        self._put(stream, data)

    def _flush(self, pid: int) -> None:
        """Show lines that did not end."""
        for (whose, stream), data in list(self._lines.items()):
            if pid in (FEED, whose):
                self._put(stream, data)
                del self._lines[whose, stream]

    def _put(self, stream: int, data: bytes) -> None:
        if stream == 1 and self.broken:
            return
        try:
            write_all(stream, data)
        except BrokenPipeError:
            self.broken = self.broken or stream == 1
        except OSError:
            pass  # a closed or full output; the log still has it


def write_all(fd: int, data: bytes) -> None:
    """Write to a descriptor, also one that does not block."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            select.select([], [fd], [])
