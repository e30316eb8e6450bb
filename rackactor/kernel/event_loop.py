"""What goes on in the loop: everything that the leader does for an agent.

Sends what application threads have put into the outbox, reads what has come, keeps the time. Nothing here is called
by two threads at once (see `rackactor.kernel.leader`); what application threads may call is `rackactor.kernel.kernel`.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import zmq

from rackactor.address import unpack_boxes
from rackactor.errors import GroupEnded, HandlerFailed, NoSuchProcess, ProtocolError, RackError
from rackactor.kernel import interrupts, sockets
from rackactor.kernel.direct import Direct
from rackactor.kernel.identity import Identity
from rackactor.kernel.leader import TAKEOVER_DELAY, Leader
from rackactor.kernel.path_monitor import Paths
from rackactor.kernel.peers import Delivery, Peers, Sending
from rackactor.kernel.pending import Numbers, Pending
from rackactor.kernel.seqpacket import LocalChannel
from rackactor.kernel.sockets import Sockets
from rackactor.kernel.uplink import Uplink
from rackactor.system import fork_generation
from rackactor.wire.errors import unpack_error
from rackactor.wire.frames import SUPERVISOR, Header, Kind, parse_header, parse_map
from rackactor.wire.stream import Entry, EntryKind, parse_entries

#: Acknowledgements that are in no hurry leave after this, seconds: they only free the sender's memory.
LAZY_ACK = 1.0
#: Seconds that a turn takes at the most in the middle of a conversation.
SPIN = 0.0003
#: Dead processes remembered at the most; the supervisor knows of older ones.
DEAD = 1_000

#: Events that wait for whoever cares.
KEPT_EARLY = frozenset({"signal", "stdin", "capabilities"})

#: Asks remembered as answered at the most.
ANSWERED = 10_000

_log = logging.getLogger("rackactor")

EventHandler = Callable[[dict[str, Any], Sequence[Any]], None]


class EventLoop:
    """The I/O of an agent: a connection to the supervisor, streams to peers, timers, events."""

    # Known when the agent has joined.
    _beat: float
    _lease: float
    _last_turn: float
    _last_heard: float
    _last_tick: float

    def __init__(self, sockets: Sockets | None = None) -> None:
        self._generation = fork_generation.generation
        self._sockets = Sockets() if sockets is None else sockets
        self.identity = Identity()
        self._rids = itertools.count(1)
        self._box_numbers = itertools.count(1)  # an address has 31 bits for one, and calls are many more
        self._ask_numbers = Numbers()
        self.mailbox: deque[Any] = deque()
        #: Further mailboxes by their number: see `open_box`.
        self.boxes: dict[int, deque[Any]] = {}
        self.handlers: dict[str, EventHandler] = {}
        #: Keeps this process's ends of pipes (a `rackactor.ipc.pipes.registry.PipeTable`), when there are any.
        self.pipe_table: Any = None
        self._early: list[tuple[str, dict[str, Any], Sequence[Any]]] = []
        self.ended = ""
        self._calls: dict[int, Pending] = {}
        self._asks: dict[int, Pending] = {}
        self._answered: set[int] = set()
        self._answered_in_turn: deque[int] = deque()  # the first of a dict is the slower to find the more have gone
        self._peers = Peers()
        self._dead: dict[int, str] = {}
        self._malformed: set[int] = set()  # who has sent what cannot be read
        self._outbox: deque[Callable[[], None]] = deque()
        self._outbox_cost = 0
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._later: deque[Callable[[], None]] = deque()
        self._ack_at: float | None = None
        self._closing = False
        #: Called when there is no memory left to do what has to be done in the loop; it does not return.
        self.out_of_memory: Callable[[], NoReturn] | None = None
        #: Run when this process leaves the group's wire, and nobody runs the loop any more.
        self.at_close: list[Callable[[], None]] = []
        self.paths = Paths()
        self._uplink = Uplink(self._sockets, self.identity, self.end)
        self._last_beat = self._asked = 0.0
        self._direct = Direct(self._sockets, self.identity, self._uplink, self._peers, self.paths, self)
        self._leader = Leader(self._run_once, self._push, self._sockets.wake, self._crashed)

    # -- one turn in the loop -----------------------------------------------------------------------

    def _run_once(self, timeout: float | None) -> None:
        leader = self._leader
        self._push()
        due = self._due(self._last_turn)
        wait = 0.0 if self._later else max(0.0, due - self._last_turn)
        if timeout is not None and timeout < wait:
            wait = timeout
        leader.unprotect()
        try:
            ready = self._sockets.poll(wait)
        finally:
            leader.protect()
        for socket in ready:
            if isinstance(socket, LocalChannel):
                self._direct.read_line(socket)
            else:
                self._read(socket)
        before, self._last_turn = self._last_turn, time.monotonic()
        now = self._last_turn
        leader.rests = now - before > TAKEOVER_DELAY
        self._sockets.spin = now - before < SPIN
        if now >= due or self._sockets.broken:
            self._tick(now, now - due)
        self._last_tick = now
        if self._outbox or self._peers.waiting:
            self._push()
        if self._later:
            self._run_later()

    def at_time(self, delay: float, action: Callable[[], None]) -> None:
        """Run `action` in `delay` seconds (leader only)."""
        heapq.heappush(self._timers, (time.monotonic() + delay, next(self._rids), action))

    def call_soon(self, action: Callable[[], None]) -> None:
        """Run `action` at the end of this turn, where it may make calls itself (leader only)."""
        self._later.append(action)

    def _run_later(self) -> None:
        if not self._later:
            return
        self._leader.unprotect()
        outer, self._leader.calling_back = self._leader.calling_back, True
        try:
            while self._later:
                self._later.popleft()()
        finally:
            self._leader.calling_back = outer
            self._leader.protect()

    def _push(self) -> None:
        """Carry out what application threads want, and send."""
        outbox = self._outbox
        self._last_turn = time.monotonic()
        if outbox:
            while outbox:
                outbox.popleft()()
            self._outbox_cost = 0
            self._last_turn = time.monotonic()
        if self._peers.waiting:
            for sending in self._peers.send():
                self.transmit(sending)

    def _pass_on(self, pid: int, entry: Entry) -> None:
        """Take a message out of the outbox; it leaves at once if nothing is there that could join it in a packet."""
        if self._outbox or pid in self._dead or not self._direct.pass_on(pid, entry):
            self._offer(pid, entry)

    def _offer(self, pid: int, entry: Entry) -> None:
        if pid in self._dead:
            self._undelivered(pid, [entry])
            return
        self._peers.offer(pid, entry)
        if self._peers.wants_direct(pid):
            self._direct.ask_for(pid)

    def _due(self, now: float) -> float:
        """Return until when nothing has to be done."""
        due = self._beat + min(self._uplink.last_sent, max(self._last_heard, self._last_beat))
        if self._asked > self._last_heard and self._asked + self._lease < due:
            due = self._asked + self._lease
        if self._timers and self._timers[0][0] < due:
            due = self._timers[0][0]
        if self.paths.due < due:
            due = self.paths.due
        if self._peers.owes:
            if self._ack_at is None:
                self._ack_at = now + LAZY_ACK
            due = min(due, self._ack_at)
        return due

    def _tick(self, now: float, late: float) -> None:
        if self._ack_at is not None and now >= self._ack_at:
            self._ack_at = None
            for sending in self._peers.send(everything=True):
                self.transmit(sending)
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()
        if now >= self.paths.due:
            for action in self.paths.tick(now, self._peers.standing):
                self._direct.act(action)
        if not self._uplink.resumes:
            self._beat_nearby(now, late)
            return
        gap = now - self._last_tick
        if gap > 2 * self._beat:
            self._last_heard += gap  # it was we who were away: judge nobody by that
        if self._beat_is_due(now):
            self._send_beat(now)
            self._uplink.look(now, self._last_heard)
        elif self._sockets.broken:
            self._uplink.look(now, self._last_heard)
        self._judge(now - self._last_heard)

    def _beat_nearby(self, now: float, late: float) -> None:
        """See to the heartbeat where the operating system tells of the supervisor's end.

        They are rare then, for each wakes an idle process, so what counts is for how long one has not been answered.
        """
        unanswered = self._asked > self._last_heard
        if unanswered and late > self._lease / 4:
            self._asked = now  # it was we who were away: judge nobody by that
            self._send_beat(now)
        elif self._beat_is_due(now):
            if not unanswered:
                self._asked = now
            self._send_beat(now)
        if self._asked > self._last_heard:
            self._judge(now - self._asked)

    def _beat_is_due(self, now: float) -> bool:
        return now - self._uplink.last_sent >= self._beat or now - max(self._last_heard, self._last_beat) >= self._beat

    def _send_beat(self, now: float) -> None:
        self._last_beat = now
        self._uplink.send(Kind.BEAT, (), [])

    def _judge(self, silent: float) -> None:
        if silent > self._lease and not self.ended:
            self.end(f"the supervisor has been silent for {silent:.1f} s")

    def end(self, reason: str) -> None:
        """Take note that the group has ended for us."""
        if self.ended:
            return
        self.ended = reason
        self._fail_all(GroupEnded(reason))
        handler = self.handlers.get("ended")
        if handler is not None:
            self.call_soon(lambda: handler({"reason": reason}, ()))

    def _crashed(self, error: Exception) -> None:
        """End this membership rather than hang: the loop itself has failed, which must not happen."""
        if isinstance(error, MemoryError) and self.out_of_memory is not None:
            self.out_of_memory()
        _log.error("the I/O of process %d failed", self.pid, exc_info=error)
        self.end(f"an internal error: {type(error).__name__}: {error}")

    def _fail_all(self, error: RackError) -> None:
        for table in (self._calls, self._asks):
            while table:
                _, pending = table.popitem()
                self._settle(pending, error=error)

    # -- sending -----------------------------------------------------------------------------------

    def transmit(self, sending: Sending) -> None:
        """Send a message of a stream on the path its peer has."""
        if sending.path is None:
            self._uplink.send(sending.kind, sending.extra, sending.bodies, sending.pid)
        else:
            self._direct.transmit(sending)

    # -- receiving ----------------------------------------------------------------------------------

    def _read(self, socket: zmq.Socket[Any]) -> None:
        if socket is not self._sockets.supervisor:
            self._direct.read(socket)
            return
        for _ in range(256):
            frames = sockets.receive(socket)
            if frames is None:
                return
            self._last_heard = time.monotonic()
            try:
                header = parse_header(frames[1])
                if not self._uplink.took(header, frames):
                    self._dispatch(header, frames[2:])
            except Exception as error:  # not from our supervisor's hand; what it says has no consequence
                if interrupts.comes_from_a_handler(error):
                    raise
                _log.warning("the supervisor has passed on what cannot be read: %s: %s", type(error).__name__, error)

    def _dispatch(self, header: Header, bodies: list[Any]) -> None:
        kind = header.kind
        if header.epoch < self.identity.epoch:
            return  # a supervisor of an earlier life
        if kind is Kind.DATA or kind is Kind.ACK:
            self.arrived(header, bodies)
        elif header.pid != SUPERVISOR:
            return  # what follows is the supervisor's to say
        elif kind is Kind.REPLY:
            self._replied(header, bodies)
        elif kind is Kind.EVENT:
            self._event(header.extra[0], parse_map(bodies[0]), bodies[1:])
        elif kind is Kind.REFUSED:
            self.end(str(unpack_error(parse_map(bodies[0]))))

    def arrived(self, header: Header, bodies: list[Any]) -> None:
        """Take a message of a stream, whichever path it came on."""
        if header.kind is Kind.ACK:
            ack, limit = header.extra
            self._peers.acknowledged(header.pid, ack, limit)
            return
        if header.kind is Kind.BEAT:
            for sending in self._peers.tell_state(header.pid):
                self.transmit(sending)
            return
        extra: Any = header.extra
        try:
            entries = parse_entries(extra[1], bodies)
        except ProtocolError as error:
            self.malformed(header.pid, error)
            return
        self.took(header.pid, header.incarnation, extra, entries)

    def took(self, pid: int, incarnation: int, numbers: tuple[int, int, int, int], entries: list[Entry]) -> None:
        """Take messages of a stream."""
        try:
            one = self._peers.follows(pid, incarnation, numbers, entries[0]) if len(entries) == 1 else None
            deliveries = [one] if one is not None else self._peers.arrived(pid, incarnation, numbers, entries)
        except ProtocolError as error:
            self.malformed(pid, error)
            return
        for delivery in deliveries:
            try:
                self._deliver(delivery)
            except Exception as error:  # whatever it has sent: what others send is taken all the same
                if interrupts.comes_from_a_handler(error):
                    raise
                self.malformed(pid, error)

    def malformed(self, pid: int, error: Exception) -> None:
        """Have a process that sends what nobody of this wire sends put out of the group."""
        if pid in self._malformed or pid in (self.pid, SUPERVISOR):
            return
        if len(self._malformed) < DEAD:
            self._malformed.add(pid)
        words = f"{error}" if isinstance(error, ProtocolError) else f"{type(error).__name__}: {error}"
        _log.warning("process %d has sent what cannot be read: %s", pid, words)
        self._uplink.request("malformed", {"pid": pid, "words": words[:500]})

    def _deliver(self, delivery: Delivery) -> None:
        entry = delivery.entry
        kind = entry.kind
        if kind is EntryKind.ASK or kind is EntryKind.TELL:
            if kind is EntryKind.TELL and entry.rid:
                self._deliver_to_box(delivery)
            else:
                self.mailbox.append(delivery)
            return
        if kind is EntryKind.STDIN:
            self._event("stdin", {"pid": delivery.pid, "cost": delivery.cost}, [entry.payload])
            return
        if kind is EntryKind.NAME:
            self._event("name", {"delivery": delivery}, ())
            return
        if kind is EntryKind.PIPE or kind is EntryKind.CREDIT:
            self._peers.consumed(delivery.pid, delivery.cost)  # a pipe has a credit of its own
            if self.pipe_table is not None:
                self.pipe_table.arrived(delivery)
            return
        pending = self._asks.pop(entry.rid, None)
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
        handler = self.handlers.get("undelivered")
        if handler is not None:
            handler({"pid": self.pid, "box": number}, [delivery.entry.payload])

    def _replied(self, header: Header, bodies: list[Any]) -> None:
        rid, ok = header.extra
        pending = self._calls.pop(rid, None)
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
            self.call_soon(lambda: callback(pending))

    def _event(self, name: str, fields: dict[str, Any], blobs: Sequence[Any]) -> None:
        if name == "gone":
            self._gone(fields["pid"], fields["why"])
        elif name == "end":
            self.end(fields.get("reason", "the group has ended"))
        elif name == "heartbeat":  # the supervisor has not heard of us for long
            self._send_beat(time.monotonic())
        elif name in ("listen", "meet", "part"):
            self._direct.event(name, fields)
        handler = self.handlers.get(name)
        if handler is not None:
            handler(fields, blobs)
        elif name in KEPT_EARLY:
            self._early.append((name, fields, blobs))

    def _gone(self, pid: int, why: str) -> None:
        self._dead[pid] = why
        if len(self._dead) > DEAD:
            del self._dead[next(iter(self._dead))]
        self._direct.forget(pid)
        self._undelivered(pid, self._peers.gone(pid))
        for rid, pending in list(self._asks.items()):
            if pending.pid == pid:
                self._asks.pop(rid, None)
                self._settle(pending, error=NoSuchProcess(f"process {pid} ended before it replied: {why}"))

    def _undelivered(self, pid: int, entries: list[Entry]) -> None:
        """Give what a dead process never had to whoever handles dead letters."""
        asked = [entry.rid for entry in entries if entry.kind in (EntryKind.ASK, EntryKind.NAME)]
        for rid in asked:
            pending = self._asks.pop(rid, None)
            if pending is not None:
                self._settle(pending, error=NoSuchProcess(f"process {pid} is gone: {self._dead.get(pid, '')}"))
        handler = self.handlers.get("undelivered")
        if handler is not None:
            for entry in entries:
                if entry.kind in (EntryKind.TELL, EntryKind.ASK):
                    handler({"pid": pid}, [entry.payload])

    # -- for others in the loop ----------------------------------------------------------------------------

    @property
    def sockets(self) -> Sockets:
        """The sockets (leader only)."""
        return self._sockets

    @property
    def pid(self) -> int:
        """Of this process."""
        return self.identity.pid

    @property
    def incarnation(self) -> int:
        """Which life of this process it is."""
        return self.identity.incarnation

    def request(self, op: str, args: dict[str, Any]) -> None:
        """Make a system call from the loop, without wanting its result."""
        self._uplink.request(op, args)

    def offer(self, pid: int, entry: Entry) -> None:
        """Put a message into the stream to a process, from the loop; it leaves at the end of the turn."""
        self._offer(pid, entry)

    def _ask_how_far(self) -> None:
        for sending in self._peers.send(everything=True):
            self.transmit(sending)
        for pid, path in self._peers.undrained():
            self._direct.beat(pid, path)
