"""A process's end of a pipe: the queue that the application uses, and its work in the loop.

The table decides what is sent, and to whom (see `rackactor.ipc.pipes.registry`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any, Protocol

from rackactor.errors import NoReader, PipeBroken, PipeClosed, PipeEnded, RackError, RackTimeout
from rackactor.ipc.pipes.framing import OVERHEAD, Assembly, Message, Part
from rackactor.ipc.pipes.reading import Credit, Reader
from rackactor.ipc.pipes.writing import BACKLOG, Batch, Writer
from rackactor.kernel.kernel import Kernel
from rackactor.kernel.messages import COLLECT

#: Bytes of small messages that are collected before they are sent.
FLUSH = 40 << 10
#: What was taken is confirmed within this time, seconds.
CONFIRM = 0.05


class Table(Protocol):
    """What an end needs of the table that it belongs to."""

    kernel: Kernel

    def check(self) -> None:
        """Raise if this process is no longer in its group."""

    def close(self, end: Any) -> None:
        """Close an end that the application no longer uses."""

    def credit(self, reading: ReadEnd, credit: Credit) -> None:
        """Tell a writer how far a reader is."""

    def send(self, writing: WriteEnd, batch: Batch) -> None:
        """Send messages to a reader."""

    def settled(self, writing: WriteEnd) -> None:
        """Note that all that was written has been read."""


class ReadEnd:
    """A reader's end, shared by all objects of this process that stand for it."""

    mode = "r"

    def __init__(self, table: Table, pipe: int, seat: int) -> None:
        self.table = table
        self.pipe = pipe
        self.seat = seat
        self.users = [True]  # a list, since threads' appends and pops are never miscounted
        self.reader = Reader()
        self.reader.mark(time.monotonic())
        self.lock = threading.RLock()
        self.closed = False
        #: The last writer is gone; those that died, and how.
        self.ended = False
        self.broken: list[Any] = []
        self._waiters = 0
        self._telling = False
        self._confirming = False
        self._pause = CONFIRM
        self._seen = 0

    def take(self, timeout: float | None) -> Message:
        """Return the next message.

        Raises:
            RackTimeout: none within `timeout` seconds.
            PipeEnded: everything was taken, and no writer is left.
            PipeBroken: the same, and a writer had died.
        """
        with self.lock:
            message = None if self.closed else self.reader.take()
        if message is None:
            return self._await(timeout)
        if not self.reader.run:
            self.drained()
        return message

    def drained(self) -> None:
        """Note that all messages that came together were taken."""
        with self.lock:
            reader = self.reader
            reader.sync()
            if not reader.due or self._telling:
                return
            self._telling = True
            reader.measure(time.monotonic())
        self.table.kernel.call_soon_threadsafe(self._credits)

    def wait(self, timeout: float | None) -> bool:
        """Wait until there is a message to take, or the end; returns whether there is one."""
        kernel, reader = self.table.kernel, self.reader
        if reader.empty and not self.over:
            with self.lock:
                reader.measure(time.monotonic())
                self._waiters += 1
            try:
                kernel.call_from_waiter(self._demand)
                kernel.wait(lambda: not reader.empty or self.over, timeout)
            finally:
                with self.lock:
                    self._waiters -= 1
                    reader.mark(time.monotonic())
        return not reader.empty or self.over

    @property
    def over(self) -> bool:
        """Tell whether nothing more will come."""
        return self.ended or self.closed

    def _await(self, timeout: float | None) -> Message:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            self.table.check()
            if self.closed:
                raise PipeClosed
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            self.wait(left)
            ended = self.ended  # read before the queue: a message may come after that look, and then the end
            with self.lock:
                message = None if self.closed else self.reader.take()
            if message is not None:
                if not self.reader.run:
                    self.drained()
                return message
            if self.closed:
                raise PipeClosed
            if ended:
                raise self._end()
            if deadline is not None and time.monotonic() >= deadline:
                raise RackTimeout(f"nothing came through the pipe within {timeout:g} s")

    def _end(self) -> RackError:
        if not self.broken:
            return PipeEnded()
        told = "; ".join(f"process {pid}: {why}" for pid, why in self.broken)
        return PipeBroken(f"a writer of the pipe died before it had closed its end ({told}): this may not be all")

    # -- in the loop -----------------------------------------------------------------------------------

    def _credits(self) -> None:
        self._telling = False
        self._send(self.reader.credits(waiting=False))

    def _demand(self) -> None:
        if self._waiters and self.reader.empty:
            self._send(self.reader.credits(waiting=True))

    def _confirm(self) -> None:
        """Tell writers what was taken, and again as long as messages are here: taking them notifies nobody."""
        before = self.reader.messages
        self._send(self.reader.credits(waiting=False, everything=True))
        self._pause = CONFIRM if before != self._seen else min(2 * self._pause, 1.0)
        self._seen = before
        self._confirming = False
        self._watch()

    def _watch(self) -> None:
        if not self._confirming and not self.closed and (not self.reader.empty or self.reader.owes):
            self._confirming = True
            self.table.kernel.call_later(self._pause, self._confirm)

    def _send(self, credits: Any) -> None:
        if self.closed or not self.table.kernel.take_briefly(self.lock, lambda: self._send(credits)):
            return
        try:
            told = list(credits)
        finally:
            self.lock.release()
        for credit in told:
            self.table.credit(self, credit)
        self._watch()

    def greet(self, writer: int, pid: int) -> None:
        """Meet a writer, or the supervisor in its place; grant credit if somebody waits for messages."""
        self.reader.introduce(writer, pid)
        for credit in self.reader.greet(writer):
            self.table.credit(self, credit)
        self.ended = False
        self._demand()

    def accept(self, pid: int, writer: int, first: int, messages: Sequence[Message], closing: bool) -> None:
        """Accept messages of a writer, if the process that sends them acts for that writer."""
        if not self.reader.hears(writer, pid):
            return
        if messages:
            self.reader.accept(writer, first, messages)
            self._pause = CONFIRM
            self._watch()
        if closing:
            self.reader.closing(writer)
            self._send(self.reader.credits(waiting=False))

    def accept_part(self, pid: int, writer: int, number: int, part: Part) -> None:
        """Accept a part of a large message."""
        lane = self.reader.lanes.get(writer)
        if lane is None or lane.pid != pid or lane.dead or number < lane.expected:
            return
        if lane.assembly is None or lane.assembly.number != number:
            lane.assembly = Assembly(number)
        whole = lane.assembly.add(part)
        if whole is not None:
            lane.assembly = None
            self.accept(pid, writer, number, [whole], False)


class WriteEnd:
    """A writer's end, shared by all objects of this process that stand for it."""

    mode = "w"

    def __init__(self, table: Table, pipe: int, seat: int) -> None:
        self.table = table
        self.pipe = pipe
        self.seat = seat
        self.users = [True]
        self.writer = Writer()
        self.lock = threading.RLock()
        self.closed = False
        self.frozen = False
        self.broken = False
        self._had_readers = False
        self._dirty = False
        self._unsent = 0

    def put(self, message: Message, timeout: float | None) -> None:
        """Queue a message; waits while readers are slow.

        Raises:
            RackTimeout: no room for it within `timeout` seconds; it was not sent.
            NoReader: the last reader is gone.
        """
        kernel, writer = self.table.kernel, self.writer
        if self.broken or self.closed:
            self.refuse()
        if writer.offered - writer.drawn >= BACKLOG:
            self._await_room(timeout)
        size = len(message) + OVERHEAD
        with self.lock:
            writer.offer(message)
            self._unsent += size
        if self._unsent >= FLUSH:
            self._unsent = 0
            kernel.call_soon_threadsafe(self._push)
        elif not self._dirty:
            self._dirty = True
            if time.monotonic() - kernel.last_turn > COLLECT:
                self._unsent = 0
                kernel.call_soon_threadsafe(self._push)
            else:
                kernel.call_soon_batched(self._push)

    def refuse(self) -> None:
        """Raise the reason why nothing can be written."""
        self.table.check()
        if self.closed:
            raise PipeClosed
        if self.broken:
            raise NoReader

    def _await_room(self, timeout: float | None) -> None:
        self.table.check()
        writer = self.writer
        self.table.kernel.call_from_waiter(self._push)
        if not self.table.kernel.wait(lambda: writer.waiting < BACKLOG // 2 or self.broken or self.closed, timeout):
            if not writer.crowded:
                return
            raise RackTimeout(f"the pipe's readers are too slow: no room within {timeout:g} s; this was not sent")
        self.refuse()

    def flush(self, timeout: float | None) -> None:
        """Wait until readers have taken everything."""
        writer = self.writer
        self.table.kernel.call_from_waiter(self._push)
        if not self.table.kernel.wait(lambda: writer.settled or self.broken, timeout):
            raise RackTimeout(f"the pipe's readers have not taken everything within {timeout:g} s")
        if not writer.settled:
            raise NoReader

    # -- in the loop -----------------------------------------------------------------------------------

    def _push(self) -> None:
        self._dirty = False
        self._unsent = 0
        self.pump()

    def pump(self) -> None:
        """Send what readers have credit for; if this end is closed and all is taken, say so."""
        if self.frozen:
            return
        for batch in self.writer.assign():
            self.table.send(self, batch)
        if self.writer.closing and self.writer.settled:
            self.table.settled(self)

    def credit(self, pid: int, reader: int, taken: int, limit: int) -> None:
        """Record what a reader has taken, and its credit."""
        self.writer.credit(reader, pid, taken, limit)
        self.pump()

    def meet(self, reader: int, pid: int) -> None:
        """Add a reader, and the process that acts for it."""
        self.writer.introduce(reader, pid)
        self.pump()

    def reader_left(self, reader: int, taken: int | None) -> None:
        """Remove a reader."""
        self.writer.left(reader, taken)
        self.pump()

    def readers(self, count: int) -> None:
        """Record how many readers there are, including those that will open their end later."""
        self._had_readers = self._had_readers or count > 0
        self.broken = self._had_readers and count == 0


End = ReadEnd | WriteEnd
