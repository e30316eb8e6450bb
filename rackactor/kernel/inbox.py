"""Where what has come goes: into a mailbox, to whoever waits for an answer, to the handler of an event.

The leader puts in. Application threads take out of the mailboxes, and put into `calls` and `asks` what they wait for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from rackactor.address import unpack_boxes
from rackactor.errors import HandlerFailed, NoSuchProcess, RackError
from rackactor.kernel.identity import Identity
from rackactor.kernel.news import NameAsked, StdinArrived, Undelivered
from rackactor.kernel.peers import Delivery, Peers
from rackactor.kernel.pending import Pending
from rackactor.wire.errors import unpack_error
from rackactor.wire.events import CapabilitiesEvent, SignalEvent
from rackactor.wire.frames import Header, parse_map
from rackactor.wire.stream import Entry, EntryKind

#: Events that wait for whoever cares.
KEPT_EARLY = frozenset({SignalEvent, StdinArrived, CapabilitiesEvent})
#: Asks remembered as answered at the most.
ANSWERED = 10_000

EventHandler = Callable[[Any, Sequence[Any]], object]


class Inbox:
    """See the module.

    Args:
        identity: whose it is.
        peers: learn what has been taken.
        call_soon: has something done at the end of the turn.
    """

    def __init__(self, identity: Identity, peers: Peers, call_soon: Callable[[Callable[[], object]], None]) -> None:
        self._identity = identity
        self._peers = peers
        self._call_soon = call_soon
        self.mailbox: deque[Any] = deque()
        #: Further mailboxes by their number: see `Kernel.open_box`.
        self.boxes: dict[int, deque[Any]] = {}
        #: By what they handle: a class of `rackactor.wire.events` or `rackactor.kernel.news`.
        self.handlers: dict[type, EventHandler] = {}
        #: Takes what belongs to pipes, when there are any: see `Kernel.pipe_table`.
        self.pipe_table: Any = None
        #: Answers that are awaited, of system calls and to asks.
        self.calls: dict[int, Pending] = {}
        self.asks: dict[int, Pending] = {}
        self._early: list[tuple[Any, Sequence[Any]]] = []
        self._answered: set[int] = set()
        self._answered_in_turn: deque[int] = deque()  # the first of a dict is the slower to find the more have gone

    def deliver(self, delivery: Delivery) -> None:
        """Take a message of a stream."""
        entry = delivery.entry
        kind = entry.kind
        if kind is EntryKind.ASK or kind is EntryKind.TELL:
            if kind is EntryKind.TELL and entry.rid:
                self._deliver_to_box(delivery)
            else:
                self.mailbox.append(delivery)
            return
        if kind is EntryKind.STDIN:
            self.event(StdinArrived(delivery.pid, delivery.cost), [entry.payload])
            return
        if kind is EntryKind.NAME:
            self.event(NameAsked(delivery), ())
            return
        if kind is EntryKind.PIPE or kind is EntryKind.CREDIT:
            self._peers.consumed(delivery.pid, delivery.cost)  # a pipe has a credit of its own
            if self.pipe_table is not None:
                self.pipe_table.arrived(delivery)
            return
        pending = self.asks.pop(entry.rid, None)
        if pending is None and entry.rid in self._answered:
            # The reply has come; whatever else is sent to that address is a message like any other.
            self.mailbox.append(delivery._replace(entry=entry._replace(kind=EntryKind.TELL, rid=0)))
            return
        self._peers.consumed(delivery.pid, delivery.cost)
        if pending is None:
            return  # it came after its ask had been given up
        self._answered.add(entry.rid)
        self._answered_in_turn.append(entry.rid)
        if len(self._answered_in_turn) > ANSWERED:
            self._answered.discard(self._answered_in_turn.popleft())
        if kind is EntryKind.FAILED:
            text = bytes(entry.payload).decode("utf-8", "replace")
            self._settle(pending, error=HandlerFailed(f"process {delivery.pid}: {text}"))
        else:
            self._settle(pending, value=entry.payload)

    def _deliver_to_box(self, delivery: Delivery) -> None:
        number, _ = unpack_boxes(delivery.entry.rid)
        box = self.boxes.get(number) if number else self.mailbox
        if box is not None:
            box.append(delivery)
            return
        self._peers.consumed(delivery.pid, delivery.cost)
        handler = self.handlers.get(Undelivered)
        if handler is not None:
            handler(Undelivered(self._identity.pid, number), [delivery.entry.payload])

    def replied(self, header: Header, bodies: list[Any]) -> None:
        """Take the result of a system call."""
        rid, ok = header.extra
        pending = self.calls.pop(rid, None)
        if pending is None:
            return
        fields = parse_map(bodies[0])
        pending.blobs = bodies[1:]
        if ok:
            self._settle(pending, value=fields)
        else:
            self._settle(pending, error=unpack_error(fields))

    def _settle(self, pending: Pending, value: Any = None, error: BaseException | None = None) -> None:
        pending.value, pending.error = value, error
        pending.done = True
        callback = pending.callback
        if callback is not None:
            self._call_soon(lambda: callback(pending))

    def event(self, event: Any, blobs: Sequence[Any]) -> None:
        """Have an event handled, now or when somebody cares."""
        handler = self.handlers.get(type(event))
        if handler is not None:
            handler(event, blobs)
        elif type(event) in KEPT_EARLY:
            self._early.append((event, blobs))

    def take_up(self, kind: type, handler: EventHandler) -> None:
        """Handle an event from now on, and what came of it before anybody cared (leader only)."""
        self.handlers[kind] = handler
        early = [each for each in self._early if type(each[0]) is kind]
        self._early = [each for each in self._early if type(each[0]) is not kind]
        for event, blobs in early:
            handler(event, blobs)

    # -- what does not come any more -----------------------------------------------------------------------

    def gone(self, pid: int, why: str) -> None:
        """Fail what a process that has ended was asked."""
        for rid, pending in list(self.asks.items()):
            if pending.pid == pid:
                self.asks.pop(rid, None)
                self._settle(pending, error=NoSuchProcess(f"process {pid} ended before it replied: {why}"))

    def undelivered(self, pid: int, why: str, entries: list[Entry]) -> None:
        """Give what a process that has ended never had to whoever handles dead letters."""
        asked = [entry.rid for entry in entries if entry.kind in (EntryKind.ASK, EntryKind.NAME)]
        for rid in asked:
            pending = self.asks.pop(rid, None)
            if pending is not None:
                self._settle(pending, error=NoSuchProcess(f"process {pid} is gone: {why}"))
        handler = self.handlers.get(Undelivered)
        if handler is not None:
            for entry in entries:
                if entry.kind in (EntryKind.TELL, EntryKind.ASK):
                    handler(Undelivered(pid), [entry.payload])

    def fail_all(self, error: RackError) -> None:
        """Fail everything that is awaited."""
        for table in (self.calls, self.asks):
            while table:
                _, pending = table.popitem()
                self._settle(pending, error=error)
