"""What goes on in the event loop: everything that the leader does for an agent.

An `EventLoop` is one turn, to be done again and again, and what a turn works on. It has no thread: `leader` says which
one runs it. Nothing here is called by two threads at once, but for what application threads may touch: they append to
the outbox, count up its cost, put what they wait for into the inbox's `calls` and `asks`, take out of the mailboxes,
and read `ended`, `dead` and `last_turn`. What they call is `rackactor.kernel.kernel`.

One turn (`_run_once`):

1. Do what waits in the outbox, and send what the streams have ready.
2. Poll until something comes or is due. Nothing is half done here, so signal handlers may make calls, or raise.
3. Read what has come: from the supervisor, on direct connections, on the short ways beside them.
4. Do what is due: timers, acknowledgements, dark paths, heartbeats.
5. Send what came of that, then run what was put off to the end of the turn (`call_soon`). This may make calls itself.

The parts: `uplink` (the connection to the supervisor), `direct` (connections to other processes), `peers` (the streams,
over either), `inbox` (where what has come goes), `paths` and the heartbeat (what is judged by silence).

A member that sends garbage is reported (`malformed`); what others send is taken all the same. An error in the loop
itself must not happen. If it does, the membership ends: a process whose I/O has stopped would hang.

A small message takes the short way at once if nothing else is in the outbox that could join it in a packet (`pass_on`).
Otherwise it leaves when the outbox is empty, together with the others. Acknowledgements that only free the sender's
memory wait for up to a second (`LAZY_ACK`): most ride on what goes the other way.
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

from rackactor.errors import GroupEnded, ProtocolError
from rackactor.kernel import interrupts
from rackactor.kernel.direct.direct import Direct
from rackactor.kernel.direct.path_monitor import Paths
from rackactor.kernel.heartbeat import Heartbeat
from rackactor.kernel.identity import Identity
from rackactor.kernel.inbox import Inbox
from rackactor.kernel.leader import TAKEOVER_DELAY, Leader
from rackactor.kernel.news import GroupOver
from rackactor.kernel.peers import Peers, Sending
from rackactor.kernel.transport.seqpacket import LocalChannel
from rackactor.kernel.transport.sockets import Sockets
from rackactor.kernel.uplink import Uplink
from rackactor.wire.calls.connections import Malformed
from rackactor.wire.errors import unpack_error
from rackactor.wire.events import EndEvent, GoneEvent, HeartbeatEvent, ListenEvent, MeetEvent, PartEvent
from rackactor.wire.frames import SUPERVISOR, Header, Kind, parse_header, parse_map
from rackactor.wire.schema import EVENTS, Event
from rackactor.wire.stream import Entry, parse_entries

#: Acknowledgements that are in no hurry leave after this, seconds: they only free the sender's memory.
LAZY_ACK = 1.0
#: Seconds that a turn takes at the most in the middle of a conversation.
SPIN = 0.0003
#: Dead processes remembered at the most; the supervisor knows of older ones.
DEAD = 1_000

_log = logging.getLogger("rackactor")


class EventLoop:
    """The I/O of an agent: a connection to the supervisor, streams to peers, timers, events.

    Args:
        sockets: those that it polls; closed with it.
    """

    def __init__(self, sockets: Sockets) -> None:
        self.sockets = sockets
        self.identity = Identity()
        self.peers = Peers()
        self.inbox = Inbox(self.identity, self.peers, self.call_soon)
        #: Why the group has ended for us; "" before it has.
        self.ended = ""
        #: Processes that have ended, and why.
        self.dead: dict[int, str] = {}
        #: What application threads want done. They append; the leader empties it.
        self.outbox: deque[Callable[[], None]] = deque()
        #: Bytes of the messages in there, about: application threads count it up.
        self.outbox_cost = 0
        #: When somebody ran the loop last (monotonic).
        self.last_turn = 0.0
        #: Called when there is no memory left to do what has to be done in the loop; it does not return.
        self.out_of_memory: Callable[[], NoReturn] | None = None
        self.paths = Paths()
        self.uplink = Uplink(sockets, self.identity, self.end)
        self.direct = Direct(sockets, self.identity, self.uplink, self.peers, self.paths, self)
        self.leader = Leader(self._run_once, self._push, sockets.wake, self._crashed)
        self._heartbeat = Heartbeat(self.uplink, self.end)
        self._receive = sockets.receive
        self._malformed: set[int] = set()  # who has sent what cannot be read
        self._timers: list[tuple[float, int, Callable[[], object]]] = []
        self._timer_numbers = itertools.count(1)  # of two that are due at once, the older one is first
        self._later: deque[Callable[[], object]] = deque()
        self._ack_at: float | None = None
        self._last_tick = 0.0

    def begin(self, beat: float, lease: float) -> None:
        """Begin: the agent has just joined.

        Args:
            beat: seconds between heartbeats.
            lease: seconds without the supervisor after which the group has ended.
        """
        self.last_turn = self._last_tick = time.monotonic()
        self._heartbeat.begin(beat, lease, self.last_turn)

    # -- one turn in the loop -----------------------------------------------------------------------

    def _run_once(self, timeout: float | None) -> None:
        leader = self.leader
        self._push()
        due = self._due(self.last_turn)
        wait = 0.0 if self._later else max(0.0, due - self.last_turn)
        if timeout is not None and timeout < wait:
            wait = timeout
        leader.unprotect()
        try:
            ready = self.sockets.poll(wait)
        finally:
            leader.protect()
        for socket in ready:
            if isinstance(socket, LocalChannel):
                self.direct.read_line(socket)
            else:
                self._read(socket)
        before, self.last_turn = self.last_turn, time.monotonic()
        now = self.last_turn
        leader.rests = now - before > TAKEOVER_DELAY
        self.sockets.spin = now - before < SPIN
        if now >= due or self.sockets.broken:
            self._tick(now, now - due)
        self._last_tick = now
        if self.outbox or self.peers.waiting:
            self._push()
        if self._later:
            self._run_later()

    def _push(self) -> None:
        """Carry out what application threads want, and send."""
        outbox = self.outbox
        self.last_turn = time.monotonic()
        if outbox:
            while outbox:
                outbox.popleft()()
            self.outbox_cost = 0
            self.last_turn = time.monotonic()
        if self.peers.waiting:
            for sending in self.peers.send():
                self.transmit(sending)

    def _run_later(self) -> None:
        if not self._later:
            return
        leader = self.leader
        leader.unprotect()
        outer, leader.calling_back = leader.calling_back, True
        try:
            while self._later:
                self._later.popleft()()
        finally:
            leader.calling_back = outer
            leader.protect()

    def _due(self, now: float) -> float:
        """Return until when nothing has to be done."""
        due = self._heartbeat.due()
        if self._timers and self._timers[0][0] < due:
            due = self._timers[0][0]
        if self.paths.due < due:
            due = self.paths.due
        if self.peers.owes:
            if self._ack_at is None:
                self._ack_at = now + LAZY_ACK
            due = min(due, self._ack_at)
        return due

    def _tick(self, now: float, late: float) -> None:
        if self._ack_at is not None and now >= self._ack_at:
            self._ack_at = None
            for sending in self.peers.send(everything=True):
                self.transmit(sending)
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()
        if now >= self.paths.due:
            for action in self.paths.tick(now, self.peers.standing):
                self.direct.act(action)
        self._heartbeat.look(now, late=late, away=now - self._last_tick, broken=self.sockets.broken)

    # -- for what is done in the loop (leader only) ------------------------------------------------------

    def at(self, due: float, action: Callable[[], object]) -> None:
        """Run `action` at a time (monotonic)."""
        heapq.heappush(self._timers, (due, next(self._timer_numbers), action))

    def at_time(self, delay: float, action: Callable[[], object]) -> None:
        """Run `action` in `delay` seconds."""
        self.at(time.monotonic() + delay, action)

    def call_soon(self, action: Callable[[], object]) -> None:
        """Run `action` at the end of this turn, where it may make calls itself."""
        self._later.append(action)

    def end(self, reason: str) -> None:
        """Take note that the group has ended for us."""
        if self.ended:
            return
        self.ended = reason
        self.inbox.fail_all(GroupEnded(reason))
        handler = self.inbox.handlers.get(GroupOver)
        if handler is not None:
            self.call_soon(lambda: handler(GroupOver(reason), ()))

    def close(self, linger: float) -> None:
        """Send what is left, and close the sockets: nobody runs the loop any more.

        Args:
            linger: seconds that what was sent has to leave.
        """
        self.inbox.fail_all(GroupEnded(self.ended))
        self._push()
        self._run_later()
        self.direct.close()
        self.sockets.close(linger)

    def _crashed(self, error: Exception) -> None:
        """End this membership rather than hang: the loop itself has failed, which must not happen."""
        if isinstance(error, MemoryError) and self.out_of_memory is not None:
            self.out_of_memory()
        _log.error("the I/O of process %d failed", self.identity.pid, exc_info=error)
        self.end(f"an internal error: {type(error).__name__}: {error}")

    # -- sending -----------------------------------------------------------------------------------

    def pass_on(self, pid: int, entry: Entry) -> None:
        """Take a message out of the outbox; it leaves at once if nothing is there that could join it in a packet."""
        if self.outbox or pid in self.dead or not self.direct.pass_on(pid, entry):
            self.offer(pid, entry)

    def offer(self, pid: int, entry: Entry) -> None:
        """Put a message into the stream to a process; it leaves at the end of the turn."""
        if pid in self.dead:
            self.inbox.undelivered(pid, self.dead[pid], [entry])
            return
        self.peers.offer(pid, entry)
        if self.peers.wants_direct(pid):
            self.direct.ask_for(pid)

    def transmit(self, sending: Sending) -> None:
        """Send a message of a stream on the path its peer has."""
        if sending.path is None:
            self.uplink.send(sending.kind, sending.extra, sending.bodies, sending.pid)
        else:
            self.direct.transmit(sending)

    def ask_how_far(self) -> None:
        """Have the peers acknowledge what they have, and tell them how far we are."""
        for sending in self.peers.send(everything=True):
            self.transmit(sending)
        for pid, path in self.peers.undrained():
            self.direct.beat(pid, path)

    # -- receiving ----------------------------------------------------------------------------------

    def _read(self, socket: zmq.Socket[Any]) -> None:
        if socket is not self.sockets.supervisor:
            self.direct.read(socket)
            return
        for _ in range(256):
            frames = self._receive(socket)
            if frames is None:
                return
            self._heartbeat.heard = time.monotonic()
            try:
                header = parse_header(frames[1])
                if not self.uplink.took(header, frames):
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
            self.inbox.replied(header, bodies)
        elif kind is Kind.EVENT:
            kind_of_event = EVENTS.get(header.extra[0])
            if kind_of_event is not None:  # else a newer supervisor says what we know nothing of
                self._event(kind_of_event.from_wire(parse_map(bodies[0])), bodies[1:])
        elif kind is Kind.REFUSED:
            self.end(str(unpack_error(parse_map(bodies[0]))))

    def _event(self, event: Event, blobs: Sequence[Any]) -> None:
        match event:
            case GoneEvent():
                self._gone(event.pid, event.why)
            case EndEvent():
                self.end(event.reason)
            case HeartbeatEvent():  # the supervisor has not heard of us for long
                self._heartbeat.say(time.monotonic())
            case ListenEvent() | MeetEvent() | PartEvent():
                self.direct.event(event)
        self.inbox.event(event, blobs)

    def _gone(self, pid: int, why: str) -> None:
        self.dead[pid] = why
        if len(self.dead) > DEAD:
            del self.dead[next(iter(self.dead))]
        self.direct.forget(pid)
        self.inbox.undelivered(pid, why, self.peers.gone(pid))
        self.inbox.gone(pid, why)

    def arrived(self, header: Header, bodies: list[Any]) -> None:
        """Take a message of a stream, whichever path it came on."""
        if header.kind is Kind.ACK:
            ack, limit = header.extra
            self.peers.acknowledged(header.pid, ack, limit)
            return
        if header.kind is Kind.BEAT:
            for sending in self.peers.tell_state(header.pid):
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
            one = self.peers.follows(pid, incarnation, numbers, entries[0]) if len(entries) == 1 else None
            deliveries = [one] if one is not None else self.peers.arrived(pid, incarnation, numbers, entries)
        except ProtocolError as error:
            self.malformed(pid, error)
            return
        for delivery in deliveries:
            try:
                self.inbox.deliver(delivery)
            except Exception as error:  # whatever it has sent: what others send is taken all the same
                if interrupts.comes_from_a_handler(error):
                    raise
                self.malformed(pid, error)

    def malformed(self, pid: int, error: Exception) -> None:
        """Have a process that sends what nobody of this wire sends put out of the group."""
        if pid in self._malformed or pid in (self.identity.pid, SUPERVISOR):
            return
        if len(self._malformed) < DEAD:
            self._malformed.add(pid)
        words = f"{error}" if isinstance(error, ProtocolError) else f"{type(error).__name__}: {error}"
        _log.warning("process %d has sent what cannot be read: %s", pid, words)
        self.uplink.request(Malformed(pid, words[:500]))
