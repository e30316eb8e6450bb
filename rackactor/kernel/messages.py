"""Messages of this process: sent to others, taken out of its mailboxes."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from rackactor import units
from rackactor.errors import MailboxFull, NoSuchProcess, ProtocolError
from rackactor.kernel.event_loop import EventLoop
from rackactor.kernel.membership import Membership
from rackactor.kernel.peers import Delivery
from rackactor.kernel.pending import Numbers, Pending
from rackactor.units import CALL_TIMEOUT, DEFAULT_TIMEOUT, Timeout
from rackactor.wire.codec import open_from
from rackactor.wire.frames import check_size
from rackactor.wire.stream import OVERHEAD, WINDOW, Entry, EntryKind

#: What is told within this time of the last turn is collected into one packet, seconds.
COLLECT = 0.0003
#: Bytes collected at the most before they are sent.
COLLECT_BYTES = 32 << 10


class Messages:
    """Send and take messages, from any thread.

    Attributes:
        allow_pickle: messages may be pickled.
        boot_timeout: seconds that a process may take to come up, which is waited for in addition.
    """

    allow_pickle: bool
    boot_timeout: float

    def __init__(self, loop: EventLoop, membership: Membership) -> None:
        self._loop = loop
        self._membership = membership
        self._leader = loop.leader
        self._mailbox = loop.inbox.mailbox
        self._boxes = loop.inbox.boxes
        self._asks = loop.inbox.asks
        self._box_numbers = itertools.count(1)  # an address has 31 bits for one, and calls are many more
        self._ask_numbers = Numbers()

    # -- sending -------------------------------------------------------------------------------------------

    def post(
        self,
        pid: int,
        kind: EntryKind,
        payload: bytes | memoryview,
        rid: int = 0,
        timeout: Timeout = DEFAULT_TIMEOUT,
        *,
        waits: bool = False,
    ) -> None:
        """Send a message to a process, waiting for its credit where it is slow.

        With `waits` the caller promises to wait next: it then sends the message itself, with no turn in between.

        Raises:
            NoSuchProcess: it is known to be gone.
            MailboxFull: its credit did not come back within `timeout` seconds; the message was not sent.
        """
        if timeout is not DEFAULT_TIMEOUT:
            timeout = units.timeout(timeout)
        self._membership.check()
        check_size(payload)
        loop = self._loop
        if pid in loop.dead:
            raise NoSuchProcess(f"process {pid} is gone: {loop.dead[pid]}")
        if self._crowded(pid):
            seconds = self.bound(timeout)
            if not self._membership.wait(lambda: not self._crowded(pid), seconds):
                raise MailboxFull(f"process {pid} takes its messages too slowly: no credit within {seconds:g} s")
        entry = Entry(kind, rid, payload)
        loop.outbox_cost += len(payload) + OVERHEAD
        loop.outbox.append(lambda: loop.pass_on(pid, entry))
        if waits:
            return
        if kind is EntryKind.REPLY and not self._mailbox:
            self._leader.turn()  # somebody waits for it, and nothing that could join it is about to be handled
        elif loop.outbox_cost >= COLLECT_BYTES or time.monotonic() - loop.last_turn > COLLECT:
            self._leader.turn()
        else:
            self._leader.soon(0.001)

    def ask(
        self,
        pid: int,
        payload: bytes,
        callback: Callable[[Pending], None] | None = None,
        *,
        kind: EntryKind = EntryKind.ASK,
    ) -> Pending:
        """Send a message whose reply is awaited; `callback` runs when it is there, or the caller waits for it next."""
        rid = self._ask_numbers.take()
        pending = self._asks[rid] = Pending(pid, callback)
        try:
            self.post(pid, kind, payload, rid, waits=callback is None)
            if self._loop.ended and self._asks.pop(rid, None) is not None:
                self._membership.check()  # asked at the very end, too late to be failed with the others
        except BaseException:
            self._asks.pop(rid, None)
            raise
        return pending

    def forget_ask(self, pending: Pending) -> None:
        """Stop waiting for a reply (it timed out)."""
        for rid, known in list(self._asks.items()):
            if known is pending:
                self._asks.pop(rid, None)

    def answer(self, pid: int, rid: int, payload: bytes | memoryview) -> None:
        """Reply to an ask without waiting for credit: for services, whose clients bound what they ask for at once."""
        loop, entry = self._loop, Entry(EntryKind.REPLY, rid, payload)
        loop.outbox.append(lambda: loop.pass_on(pid, entry))
        self._leader.turn()

    def post_from_finalizer(self, pid: int, payload: bytes) -> None:
        """Have a message sent some time: takes no lock and waits for nothing, so that a finalizer may call it."""
        loop = self._loop
        loop.outbox.append(lambda: loop.offer(pid, Entry(EntryKind.TELL, 0, payload)))

    def drain(self, timeout: float) -> bool:
        """Wait until everything told has left for its receivers, and tell them how far we are.

        Returns: whether it has all left within `timeout` seconds.
        """
        loop = self._loop
        drained: list[bool] = []
        pauses = itertools.chain((0.001, 0.002, 0.005, 0.01), itertools.repeat(0.02))
        until = time.monotonic() + timeout

        def look() -> None:
            """Look in the loop: seen from outside, what is being sent this moment is neither here nor there."""
            if loop.peers.drained():
                drained.append(True)
            elif time.monotonic() < until:
                loop.at_time(next(pauses), look)

        loop.outbox.append(loop.ask_how_far)
        loop.outbox.append(lambda: loop.call_soon(look))
        self._leader.turn()  # a turn that waits would sleep after it has sent
        return self._membership.wait(lambda: drained, timeout)

    def _crowded(self, pid: int) -> bool:
        loop = self._loop
        return pid not in loop.dead and (loop.peers.over_limit(pid) or loop.outbox_cost > 4 * WINDOW)

    def bound(self, timeout: Timeout) -> float | None:
        """Return how long to wait for another process: longer where that may be a machine that still boots.

        Only if the caller has named no bound: the same program is to run on a laptop and on a cloud.
        """
        if timeout is DEFAULT_TIMEOUT:
            return CALL_TIMEOUT + self.boot_timeout
        return units.timeout(timeout)

    # -- what has come -------------------------------------------------------------------------------------

    def take(self, timeout: float | None, box: deque[Any] | None = None) -> Any:
        """Return the next item of a mailbox (a `Delivery`, or what the host has put there), or None."""
        mailbox = self._mailbox if box is None else box
        loop = self._loop
        if not mailbox and not self._leader.wait(lambda: mailbox or loop.ended, timeout):
            return None
        try:
            item = mailbox.popleft()
        except IndexError:  # the group has ended, or another thread was quicker
            return None
        if type(item) is Delivery:
            cost = item.cost
            loop.outbox.append(lambda: loop.peers.consumed(item.pid, cost))
            loop.outbox_cost += cost // 4
            if loop.outbox_cost >= COLLECT_BYTES * 4:
                self._leader.turn()
        return item

    def consume(self, pid: int, cost: int) -> None:
        """Give a sender its credit back for what it sent to standard input."""
        loop = self._loop
        loop.outbox.append(lambda: loop.peers.consumed(pid, cost))
        self._leader.turn()

    def put(self, item: Any) -> None:
        """Put an item of the host's own into the mailbox; a signal handler may do so too."""
        self._mailbox.append(item)
        self._loop.sockets.wake()

    def open_box(self) -> int:
        """Open a mailbox beside the first one; returns its number, which is part of its address."""
        number = next(self._box_numbers)
        self._boxes[number] = deque()
        return number

    def open(self, data: bytes | memoryview, what: str, pid: int) -> Any:
        """Return the value that a process has sent.

        Raises:
            ProtocolError: nobody of this wire sends such bytes; whoever did is put out.
            CannotOpen: unpickling has failed.
        """
        try:
            return open_from(data, what, pid, allow_pickle=self.allow_pickle)
        except ProtocolError as error:
            self._loop.outbox.append(partial(self._loop.malformed, pid, error))
            self._leader.soon(0.001)
            raise
