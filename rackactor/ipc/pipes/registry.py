"""A process's ends of pipes, and their work in the loop.

The application only puts messages into a `WriteEnd`, and takes them from a `ReadEnd` (see
`rackactor.ipc.pipes.handles`). The leader (see `rackactor.kernel.leader`) does everything else here:
credits, distribution, messages from the supervisor.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import msgpack

from rackactor.errors import GroupEnded, ProtocolError, RackError
from rackactor.ipc.pipes.framing import AT_ONCE, PART, Bundle, Part, pack_parcel, parse_parcel, small_messages, split
from rackactor.ipc.pipes.handles import End, ReadEnd, WriteEnd
from rackactor.ipc.pipes.reading import Credit, Reader
from rackactor.ipc.pipes.writing import Batch
from rackactor.kernel import interrupts
from rackactor.kernel.kernel import Kernel
from rackactor.kernel.peers import Delivery
from rackactor.wire.calls.pipes import PipeBequeath, PipeClose, PipeCredit, PipeOpen, PipePiece, PipeRoom
from rackactor.wire.codec import unpack
from rackactor.wire.events import PipeEvent
from rackactor.wire.frames import SUPERVISOR
from rackactor.wire.stream import Entry, EntryKind

#: Seconds that readers have to take what is under way when a process leaves; then the supervisor inherits it.
LINGER = 0.3
#: Seconds for which a leaving process waits until the supervisor has room.
PATIENCE = 30.0
#: Why messages of an ended process are lost.
NO_HEIR = "nobody has read it in time, and the group's pipe_held= has no room for it"
NO_LOOP = "nobody has read it in time, and the process was too busy to hand it to the supervisor"

_making = threading.RLock()
_all: weakref.WeakSet[PipeTable] = weakref.WeakSet()


def _forked() -> None:
    for each in list(_all):
        each.forked()


os.register_at_fork(after_in_child=_forked)


def table_of(kernel: Kernel) -> PipeTable:
    """Return the table of a process, made at first use."""
    with _making:
        if kernel.pipe_table is None:
            found = PipeTable(kernel)
            if kernel.pipe_table is None:  # a signal handler may have been faster
                kernel.pipe_table = found
                kernel.on(PipeEvent, found.event)
        made: PipeTable = kernel.pipe_table
        return made


class PipeTable:
    """The ends of pipes that one process has open."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self._lock = threading.RLock()
        self._readings: dict[int, ReadEnd] = {}
        self._writings: dict[int, WriteEnd] = {}
        _all.add(self)
        self._ends: dict[tuple[int, str], End] = {}
        #: Calls under way that open something: messages for seats that are not known yet wait for them, and so do ends
        #: that are to be closed, for the answer may name one of them. Each enters before it begins; the loop takes it
        #: out. A set, for a signal handler may raise between any two lines.
        self._opening: set[object] = set()
        #: `leave` has closed all ends: objects of the program that go later close nothing.
        self._leaving = self._left = False
        #: Parts that have come of messages in pieces, by seats of reader and writer.
        self._pieces: dict[tuple[int, int], list[Any]] = {}
        self._stash: list[tuple[int, Callable[[], None]]] = []

    def check(self) -> None:
        """Raise if this process is not, or no longer, in the group."""
        self.kernel.check()

    def forked(self) -> None:
        """Forget everything: this is a child by os.fork, which is no process of the group."""
        for reading in self._readings.values():
            reading.reader = Reader()
            reading.closed = True
        for writing in self._writings.values():
            writing.closed = True

    # -- opening and closing ----------------------------------------------------------------------------

    def open(self, mode: str, *, pipe: int | None = None, name: str | None = None) -> list[End]:
        """Open an end, or both (`rw`)."""
        call = object()
        try:
            with self._lock:
                if pipe is not None and (known := self._ends.get((pipe, mode))) is not None and not known.closed:
                    known.users.append(True)
                    return [known]
                self._opening.add(call)
            fields, _ = self.kernel.call(PipeOpen(mode, pipe, name))  # without the lock: others may open meanwhile
            with self._lock:
                seats = zip(mode, fields["seats"], strict=True)
                return [self._opened(each, fields["id"], seat) for each, seat in seats]
        finally:
            if call in self._opening:
                self.kernel.call_soon_threadsafe(self._open_done, call)

    def _opened(self, mode: str, pipe: int, seat: int) -> End:
        known = self._ends.get((pipe, mode))
        if known is not None and known.seat == seat:
            if known.closed:  # it was about to be closed
                known.closed = False
                known.users.clear()
                if isinstance(known, WriteEnd):
                    known.writer.closing = False
            known.users.append(True)
            return known
        end: End = ReadEnd(self, pipe, seat) if mode == "r" else WriteEnd(self, pipe, seat)
        self._ends[pipe, mode] = end
        table: dict[int, Any] = self._readings if mode == "r" else self._writings
        self.kernel.call_soon_threadsafe(lambda: self._register(table, end))
        return end

    def close(self, end: End) -> None:
        """Release one use of an end; the last one closes it."""
        if end.users:
            end.users.pop()
        if end.users or end.closed or self._left:
            return
        end.closed = True
        if not self.kernel.closed:
            self.kernel.call_soon_batched(self._close_reading if isinstance(end, ReadEnd) else self._close_writing, end)

    def _close_reading(self, reading: ReadEnd) -> None:
        if not reading.closed or reading.seat not in self._readings:
            return  # it has been opened again, or closed already
        if self._opening and not self._leaving:
            return  # see `_open_done`
        if not self.kernel.take_briefly(reading.lock, lambda: self._close_reading(reading)):
            return
        try:
            final = list(reading.reader.final().items())
        finally:
            reading.lock.release()
        del self._readings[reading.seat]
        self._forget(reading)
        for key in [key for key in self._pieces if key[0] == reading.seat]:
            del self._pieces[key]
        self.kernel.request(PipeClose(reading.seat, final))

    def _close_writing(self, writing: WriteEnd) -> None:
        if writing.closed:  # it may have been opened again
            writing.writer.closing = True
            writing.pump()

    def settled(self, writing: WriteEnd) -> None:
        """Close a writer's end whose messages have all been taken."""
        if self._opening or self._writings.pop(writing.seat, None) is None:
            return
        self._forget(writing)
        self.kernel.request(PipeClose(writing.seat))

    def _forget(self, end: End) -> None:
        if self._ends.get((end.pipe, end.mode)) is end:
            del self._ends[end.pipe, end.mode]

    # -- in the loop: opening ------------------------------------------------------------------------------

    def _register(self, table: dict[int, Any], end: End) -> None:
        table[end.seat] = end
        stash, self._stash = self._stash, []
        for seat, action in stash:
            if seat == end.seat:
                action()
            else:
                self._stash.append((seat, action))

    def _open_done(self, call: object) -> None:
        self._opening.discard(call)
        if not self._opening:
            self._stash.clear()
            for writing in list(self._writings.values()):
                writing.pump()  # some may have been kept from closing
            for reading in [each for each in self._readings.values() if each.closed]:
                self._close_reading(reading)

    def _later(self, seat: int, action: Callable[[], None]) -> None:
        if self._opening:
            self._stash.append((seat, action))

    # -- in the loop: what arrives -------------------------------------------------------------------------

    def arrived(self, delivery: Delivery) -> None:
        """Process an entry of a stream."""
        kind, seat, payload, more = delivery.entry
        table: dict[int, Any] = self._writings if kind is EntryKind.CREDIT else self._readings
        end = table.get(seat)
        if end is None:
            self._later(seat, lambda: self.arrived(delivery))
            return
        try:
            if kind is EntryKind.CREDIT:
                reader, taken, limit = unpack(payload)
                end.credit(delivery.pid, reader, taken, limit)
            else:
                _take(end, delivery.pid, unpack(payload), more)
        except Exception as error:  # it may be malformed in any way
            if interrupts.comes_from_a_handler(error):
                raise
            self.kernel.malformed(
                delivery.pid, ProtocolError(f"not what is said of a pipe: {type(error).__name__}: {error}")
            )

    def event(self, event: PipeEvent, blobs: Sequence[Any]) -> None:
        """Process an event of the supervisor about the other ends."""
        seat, what = event.seat, event.what
        end: End | None = self._readings.get(seat) or self._writings.get(seat)
        if end is None:
            self._later(seat, lambda: self.event(event, blobs))
        elif isinstance(end, WriteEnd):
            if what == "readers":
                end.readers(event.count)
            elif what == "reader":
                end.meet(event.reader, event.pid)
            elif what == "left":
                end.reader_left(event.reader, event.taken)
        elif what == "writer":
            end.greet(event.writer, event.pid)
        elif what == "left":
            end.reader.left(event.writer, clean=event.clean)
        elif what == "ended":
            end.broken = list(event.broken)
            end.ended = event.ended
        elif what == "piece":
            self._pieces.setdefault((seat, event.writer), []).extend(blobs)
        elif what == "data":
            pieces = self._pieces.pop((seat, event.writer), [])
            messages = parse_parcel(event.shape, [*pieces, *blobs])
            end.accept(SUPERVISOR, event.writer, event.first, messages, event.closing)

    # -- in the loop: what is sent -------------------------------------------------------------------------

    def send(self, writing: WriteEnd, batch: Batch) -> None:
        """Send messages to a reader."""
        kernel, seat, first = self.kernel, writing.seat, batch.first
        messages = batch.messages
        if batch.pid == kernel.pid:
            copies = [message.copy() if isinstance(message, Bundle) else message for message in messages]
            reading = self._readings.get(batch.seat)
            if reading is not None:
                reading.accept(kernel.pid, seat, first, copies, batch.closing)
            return
        if messages and isinstance(messages[0], Bundle):
            for entry in _large(batch.seat, seat, first, messages[0]):
                kernel.offer(batch.pid, entry)
            return
        body = msgpack.packb((seat, first, messages, batch.closing))
        kernel.offer(batch.pid, Entry(EntryKind.PIPE, batch.seat, body))

    def credit(self, reading: ReadEnd, credit: Credit) -> None:
        """Tell a writer what was taken, and its credit."""
        pid, seat, taken, received, limit = credit
        if pid == self.kernel.pid:
            writing = self._writings.get(seat)
            if writing is None:
                self._later(seat, lambda: self.credit(reading, credit))
            else:
                writing.credit(pid, reading.seat, taken, limit)
        elif pid == SUPERVISOR:
            self.kernel.request(PipeCredit(seat, reading.seat, taken, received, limit))
        else:
            body = msgpack.packb((reading.seat, taken, limit))
            self.kernel.offer(pid, Entry(EntryKind.CREDIT, seat, body))

    # -- leaving --------------------------------------------------------------------------------------------

    def leave(self, *, clean: bool = True, linger: float = LINGER) -> list[str]:
        """Close everything, since this process ends; the supervisor serves what readers do not take soon.

        Args:
            clean: it ends in good order; otherwise the readers of its open ends are told how it ended.
            linger: seconds that readers have to take what is left.

        Returns: what is lost, a sentence for each pipe.
        """
        lost: list[str] = []
        self._leaving = True  # a reader's last word must leave before this process does
        try:
            self._leave(clean, linger, lost)
        except GroupEnded:
            pass  # and so are all its pipes
        except RackError as error:  # no answer: nobody knows what the supervisor has taken
            lost.append(f"what was sent into pipes, and nobody has read, may be lost: {error}")
        finally:
            self._left = True
        return lost

    def _leave(self, clean: bool, linger: float, lost: list[str]) -> None:
        kernel = self.kernel
        for end in list(self._ends.values()):
            if isinstance(end, WriteEnd) and not end.closed and not clean:
                kernel.call_soon_batched(self._close_unclean, end)
            elif not end.closed:
                end.users.clear()
                self.close(end)
        if not self._settle(PATIENCE):
            left = [end for end in list(self._ends.values()) if isinstance(end, WriteEnd) and not end.writer.settled]
            lost += [self._tell_lost(writing, NO_LOOP) for writing in left]
            return
        # Without a reader there is nothing to wait for.
        kernel.wait(lambda: not any(writing.writer.lanes for writing in self._unsettled()), linger)
        deadline = time.monotonic() + PATIENCE
        for writing in self._unsettled():
            if reason := self._bequeath(writing, deadline):
                lost.append(self._tell_lost(writing, reason))

    def _settle(self, timeout: float) -> bool:
        """Wait until the loop has done all that threads have asked for: it may not even know of an end that is new."""
        done: list[bool] = []
        self.kernel.call_soon_threadsafe(done.append, True)
        return self.kernel.wait(lambda: done, timeout)

    def _tell_lost(self, writing: WriteEnd, reason: str) -> str:
        """Tell readers that messages are lost; return it in words."""
        self.kernel.cast(PipeClose(writing.seat, lost=f"it ended, and {reason}"))
        return f"what was sent into pipe {writing.pipe} is lost: {reason}"

    def _unsettled(self) -> list[WriteEnd]:
        return [writing for writing in list(self._writings.values()) if not writing.writer.settled or writing.closed]

    def _close_unclean(self, writing: WriteEnd) -> None:
        """Ask readers to confirm what they take; the seat stays, and the supervisor sees how this process ends."""
        for batch in writing.writer.assign():
            self.send(writing, batch)

    def _bequeath(self, writing: WriteEnd, deadline: float) -> str:
        """Wait until a writer's messages are read, or hand them to the supervisor; return why they are lost, or ""."""
        reason = NO_HEIR
        while not writing.writer.settled or writing.closed:
            done: list[Any] = []
            self.kernel.call_soon_threadsafe(lambda: done.append(self._estate(writing)))  # noqa: B023 - awaited here
            if not self.kernel.wait(lambda: done, max(1.0, deadline - time.monotonic())):  # noqa: B023
                reason = NO_LOOP
                break
            if done[0] is None:
                return ""
            if self._hand_over(*done[0]):
                self._writings.pop(writing.seat, None)
                return ""
            writing.frozen = False
            self.kernel.call_soon_batched(writing.pump)
            if time.monotonic() >= deadline:
                break
            self.kernel.wait(lambda: self._gone(writing), 0.2)
        else:
            return ""
        return reason

    def _hand_over(self, estate: PipeBequeath, blobs: list[Any]) -> bool:
        """Hand messages to the supervisor; returns whether it has taken them.

        It is asked first: otherwise messages without room would be sent again at each attempt.
        """
        call, size = self.kernel.call, sum(map(len, blobs))
        if not call(PipeRoom(size))[0]["room"]:
            return False
        if size > AT_ONCE:
            for blob in blobs:
                if not call(PipePiece(), blob)[0]["room"]:
                    return False
            blobs = []
        return bool(call(estate, *blobs)[0]["taken"])

    def _gone(self, writing: WriteEnd) -> bool:
        return writing.seat not in self._writings

    def _estate(self, writing: WriteEnd) -> tuple[PipeBequeath, list[Any]] | None:
        if writing.seat not in self._writings:
            return None
        writing.frozen = True
        lanes, messages = writing.writer.estate()
        shape, blobs = pack_parcel(messages)
        return PipeBequeath(writing.seat, lanes, shape, clean=writing.closed), blobs


def _take(reading: Any, pid: int, fields: Any, frames: Sequence[Any]) -> None:
    """Process messages for a reader; raises any error if they are malformed."""
    if not frames:
        writer, first, messages, closing = fields
        reading.accept(pid, writer, first, small_messages(messages), closing)
    elif len(fields) == 2:
        reading.accept(pid, fields[0], fields[1], [Bundle(list(frames))], False)
    else:
        writer, number, frame, last = fields
        if type(frame) is not int or type(last) is not bool:
            raise TypeError("a part of a message has a number, and is the last one or not")
        reading.accept_part(pid, writer, number, Part(frame, last, frames[0]))


def _large(reader: int, writer: int, number: int, bundle: Bundle) -> list[Entry]:
    if len(bundle) <= PART:
        return [Entry(EntryKind.PIPE, reader, msgpack.packb((writer, number)), tuple(bundle.frames))]
    return [
        Entry(EntryKind.PIPE, reader, msgpack.packb((writer, number, part.frame, part.last)), (part.data,))
        for part in split(bundle)
    ]
