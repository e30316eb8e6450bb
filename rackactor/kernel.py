"""The agent's half of the wire: system calls, streams to other processes, the mailbox, events.

Every process of a group has one `Kernel`, the script that made the group included. Threads of the
application call it; whoever holds the baton does the I/O. Application threads never touch a socket or a
stream: they put what they want into queues, which the holder of the baton empties.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import zmq

from rackactor import interrupts, wire
from rackactor import link as _link
from rackactor.address import unpack_boxes
from rackactor.baton import Baton
from rackactor.codec import decode
from rackactor.direct import Direct
from rackactor.errors import (
    BY_NAME,
    AuthenticationError,
    GroupEnded,
    HandlerFailed,
    InvalidCall,
    MailboxFull,
    NoSuchProcess,
    ProtocolError,
    RackError,
    RackTimeout,
)
from rackactor.peers import Delivery, Peers, Sending
from rackactor.stream import WINDOW, Entry, EntryKind, parse_entries
from rackactor.wire import Header, Kind, parse_header, parse_map

#: Bound of calls that name none, seconds.
CALL_TIMEOUT = 60.0
#: How long a join may take, seconds; a wrong key is known well before.
JOIN_TIMEOUT = 4.5
#: Acknowledgements that are in no hurry leave after this, seconds: they only free the sender's memory.
LAZY_ACK = 1.0
#: What is told within this time of the last turn is collected into one packet, seconds.
COLLECT = 0.0003
#: Bytes collected at the most before they are sent.
COLLECT_BYTES = 32 << 10

_log = logging.getLogger("rackactor")

EventHandler = Callable[[dict[str, Any], Sequence[Any]], None]


class Pending:
    """An answer that is awaited."""

    __slots__ = ("blobs", "callback", "done", "error", "pid", "value")

    def __init__(self, pid: int = 0, callback: Callable[[Pending], None] | None = None) -> None:
        self.done = False
        self.value: Any = None
        self.blobs: Sequence[Any] = ()
        self.error: BaseException | None = None
        self.pid = pid
        self.callback = callback

    def get(self) -> Any:
        """Return the value or raise the error."""
        if self.error is not None:
            raise self.error
        return self.value


class Kernel:
    """Join a group and speak for one process of it.

    Args:
        birth: see `join`; None: make ready all that needs no birth, for a `join` to come.
    """

    def __init__(self, birth: dict[str, Any] | None = None) -> None:
        self._os_pid = os.getpid()
        self._link = _link.Link()
        self._seq = itertools.count(1)
        self._rids = itertools.count(1)
        self.epoch = 0
        self.mailbox: deque[Any] = deque()
        #: Further mailboxes by their number: see `open_box`.
        self.boxes: dict[int, deque[Any]] = {}
        self.handlers: dict[str, EventHandler] = {}
        self._early: list[tuple[str, dict[str, Any], Sequence[Any]]] = []
        self.ended = ""
        self._calls: dict[int, Pending] = {}
        self._asks: dict[int, Pending] = {}
        self._peers = Peers()
        self._dead: dict[int, str] = {}
        self._outbox: deque[Callable[[], None]] = deque()
        self._outbox_cost = 0
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._later: deque[Callable[[], None]] = deque()
        self._ack_at: float | None = None
        self._closing = False
        self._direct = Direct(self)
        self._baton = Baton(self._crank, self._push, self._link.wake, self._crashed)
        if birth is None:
            self._baton.prepare()
        else:
            self.join(birth)

    # -- joining -------------------------------------------------------------------------------

    def join(self, birth: dict[str, Any]) -> None:
        """Join the group.

        Args:
            birth: `endpoint`, `server_key` (z85 or None on ipc), `token`, `pid`, `incarnation`.

        Raises:
            AuthenticationError: within 5 s, when key or token are not known, or the supervisor is not the one expected.
        """
        self.pid: int = birth["pid"]
        self.incarnation: int = birth["incarnation"]
        server_key = birth.get("server_key")
        self.keys = birth.get("keys") or (_link.Keys.make() if server_key else None)
        try:
            self._link.dial(birth["endpoint"], server_key, self.keys)
            self.welcome, self.welcome_blobs = self._join(birth)
        except BaseException:
            self._baton.close()
            self._link.close()
            raise
        self.gid: str = self.welcome["gid"]
        self._beat: float = self.welcome["heartbeat"]
        self._lease: float = self.welcome["lease"]
        self.allow_pickle: bool = self.welcome.get("pickle", True)
        now = time.monotonic()
        self._last_turn = self._last_sent = self._last_heard = self._last_tick = now
        interrupts.install()
        self._baton.start()

    def _join(self, birth: dict[str, Any]) -> tuple[dict[str, Any], list[Any]]:
        body = {"token": birth["token"], "protocol": wire.PROTOCOL, "os_pid": os.getpid()}
        self._raw_send(Kind.JOIN, (), [wire.pack_body(body)])
        deadline = time.monotonic() + JOIN_TIMEOUT
        while (left := deadline - time.monotonic()) > 0:
            for socket in self._link.poll(left):
                frames = _link.receive(socket)
                if frames is None or len(frames) < 3:
                    continue
                header, fields = parse_header(frames[1]), parse_map(frames[2])
                if header.kind is Kind.REFUSED:
                    raise _error(fields)
                if header.kind is Kind.WELCOME:
                    self.epoch = header.epoch
                    self.pid, self.incarnation = fields["pid"], fields["incarnation"]
                    return fields, list(frames[3:])
            if self._link.refused:
                raise AuthenticationError(self._link.refused)
        raise AuthenticationError("no supervisor that knows this group's key answered: is it still alive?")

    # -- what the application calls --------------------------------------------------------------

    def call(
        self,
        op: str,
        args: dict[str, Any] | None = None,
        *blobs: Any,
        timeout: float | None = CALL_TIMEOUT,
        late: Callable[[Pending], None] | None = None,
    ) -> tuple[dict[str, Any], Sequence[Any]]:
        """Make a system call and wait for its result.

        Args:
            op: its name.
            args: plain values.
            blobs: opaque frames that go with it.
            timeout: seconds; None: no bound.
            late: gets a result that comes although the call was withdrawn: the two may have crossed on the way.

        Returns: the result's fields, and the opaque frames that came with it.

        Raises:
            RackTimeout: no answer within `timeout` seconds (None: no bound); the call is withdrawn.
            GroupEnded: the supervisor is gone.
            RackError: the supervisor's refusal, as its own class.
        """
        pending, rid = self.begin_call(op, args, *blobs)
        try:
            if not self._wait(lambda: pending.done, timeout):
                raise RackTimeout(f"no answer to {op!r} within {timeout:g} s")
        except BaseException:
            self.withdraw(pending, rid, late)
            raise
        return pending.get(), pending.blobs

    def withdraw(self, pending: Pending, rid: int, late: Callable[[Pending], None] | None = None) -> None:
        """Give a call up; `late`: see `call`."""
        pending.callback = late
        if pending.done and late is not None:
            late(pending)
        elif not pending.done and not self.closed:
            self.cast("cancel", {"rid": rid})

    def begin_call(
        self,
        op: str,
        args: dict[str, Any] | None = None,
        *blobs: Any,
        callback: Callable[[Pending], None] | None = None,
    ) -> tuple[Pending, int]:
        """Make a system call without waiting; returns what will hold the answer, and its number."""
        self._check()
        for blob in blobs:
            check_size(blob)
        rid = next(self._rids)
        pending = self._calls[rid] = Pending(wire.SUPERVISOR, callback)
        bodies = [wire.pack_body(args or {}), *blobs]
        self._outbox.append(lambda: self._raw_send(Kind.CALL, (rid, op), bodies))
        self._baton.turn()
        return pending, rid

    def cast(self, op: str, args: dict[str, Any] | None = None, *blobs: Any) -> None:
        """Make a system call whose result nobody wants."""
        bodies = [wire.pack_body(args or {}), *blobs]
        self._outbox.append(lambda: self._raw_send(Kind.CALL, (0, op), bodies))
        self._baton.turn()

    def post(
        self,
        pid: int,
        kind: EntryKind,
        payload: bytes | memoryview,
        rid: int = 0,
        timeout: float | None = CALL_TIMEOUT,
        *,
        waits: bool = False,
    ) -> None:
        """Send a message to a process, waiting for its credit where it is slow.

        With `waits` the caller promises to wait next: it then sends the message itself, with no turn in between.

        Raises:
            NoSuchProcess: it is known to be gone.
            MailboxFull: its credit did not come back within `timeout` seconds; the message was not sent.
        """
        self._check()
        check_size(payload)
        if pid in self._dead:
            raise NoSuchProcess(f"process {pid} is gone: {self._dead[pid]}")
        if self._crowded(pid) and not self._wait(lambda: not self._crowded(pid), timeout):
            raise MailboxFull(f"process {pid} takes its messages too slowly: no credit within {timeout:g} s")
        entry = Entry(kind, rid, payload)
        self._outbox_cost += entry.cost
        self._outbox.append(lambda: self._offer(pid, entry))
        if waits:
            return
        if self._outbox_cost >= COLLECT_BYTES or time.monotonic() - self._last_turn > COLLECT:
            self._baton.turn()
        else:
            self._baton.soon(0.001)

    def ask(self, pid: int, payload: bytes, callback: Callable[[Pending], None] | None = None) -> Pending:
        """Send a message whose reply is awaited; `callback` runs when it is there, or the caller waits for it next."""
        rid = next(self._rids)
        pending = self._asks[rid] = Pending(pid, callback)
        try:
            self.post(pid, EntryKind.ASK, payload, rid, waits=callback is None)
        except BaseException:
            self._asks.pop(rid, None)
            raise
        return pending

    def forget_ask(self, pending: Pending) -> None:
        """Stop waiting for a reply (it timed out)."""
        for rid, known in list(self._asks.items()):
            if known is pending:
                self._asks.pop(rid, None)

    def wait(self, done: Callable[[], object], timeout: float | None) -> bool:
        """Wait until `done()`, doing I/O meanwhile; returns whether it is done."""
        return self._wait(done, timeout)

    def take(self, timeout: float | None, box: deque[Any] | None = None) -> Any:
        """Return the next item of a mailbox (a `Delivery`, or what the host has put there), or None."""
        mailbox = self.mailbox if box is None else box
        if not mailbox and not self._wait(lambda: mailbox or self.ended, timeout):
            return None
        try:
            item = mailbox.popleft()
        except IndexError:  # the group has ended, or another thread was quicker
            return None
        if type(item) is Delivery:
            cost = item.entry.cost
            self._outbox.append(lambda: self._peers.consumed(item.pid, cost))
            self._outbox_cost += cost // 4
            if self._outbox_cost >= COLLECT_BYTES * 4:
                self._baton.turn()
        return item

    def open_box(self) -> int:
        """Open a mailbox beside the first one; returns its number, which is part of its address."""
        number = next(self._rids)
        self.boxes[number] = deque()
        return number

    def consume(self, pid: int, cost: int) -> None:
        """Give a sender its credit back for what it sent to standard input."""
        self._outbox.append(lambda: self._peers.consumed(pid, cost))
        self._baton.turn()

    def after(self, delay: float, action: Callable[[], None]) -> None:
        """Run `action` in `delay` seconds, at the crank; it must be quick."""
        due = time.monotonic() + delay
        number = next(self._rids)
        self._outbox.append(lambda: heapq.heappush(self._timers, (due, number, action)))
        self._baton.soon(0)

    def later(self, action: Callable[[], None]) -> None:
        """Run `action` at the end of this turn, where it may make calls itself (holder of the baton only)."""
        self._later.append(action)

    def on(self, name: str, handler: EventHandler) -> None:
        """Have an event handled: quickly, at the crank. What came before anybody cared comes now."""
        self.handlers[name] = handler
        early = [event for event in self._early if event[0] == name]
        self._early = [event for event in self._early if event[0] != name]
        for _, fields, blobs in early:
            self._outbox.append(lambda f=fields, b=blobs: handler(f, b))  # type: ignore[misc]
        if early:
            self._baton.turn()

    def put(self, item: Any) -> None:
        """Put an item of the host's own into the mailbox; a signal handler may do so too."""
        self.mailbox.append(item)
        self._link.wake()

    def poke(self) -> None:
        """Have whoever waits at the crank look again; a signal handler may call this."""
        self._link.wake()

    def drain(self, timeout: float) -> bool:
        """Wait until everything told has left for its receivers, and tell them how far we are.

        Returns: whether it has all left within `timeout` seconds.
        """
        self._outbox.append(self._ask_how_far)
        self._baton.turn()  # a turn that waits would sleep after it has sent
        return self._wait(lambda: not self._outbox and self._peers.drained(), timeout)

    def _ask_how_far(self) -> None:
        for sending in self._peers.send(everything=True):
            self.transmit(sending)
        for pid, path in self._peers.undrained():
            self._direct.beat(pid, path)

    def close(self, linger: float = 1.0) -> None:
        """Leave the group's wire; idempotent. What was sent has `linger` seconds to leave."""
        if self._closing or os.getpid() != self._os_pid:
            return
        self._closing = True
        self._fail_all(GroupEnded(self.ended or "this process has left the group"))
        self._baton.close()
        self._push()  # nobody turns the crank any more: what is left in the outbox leaves here
        self._run_later()
        self._direct.close()
        self._link.close(linger)
        interrupts.uninstall()

    @property
    def closed(self) -> bool:
        """Tell whether this kernel can be used no more (closed, or in a child made by os.fork)."""
        return self._closing or os.getpid() != self._os_pid

    @property
    def inherited(self) -> bool:
        """Tell whether this is a child made by os.fork, which has no membership of its own."""
        return os.getpid() != self._os_pid

    def _wait(self, done: Callable[[], object], timeout: float | None) -> bool:
        if self._baton.wait(lambda: done() or self.ended, timeout):
            if not done():
                raise GroupEnded(self.ended)
            return True
        return False

    def _check(self) -> None:
        if os.getpid() != self._os_pid:
            raise GroupEnded("a child made by os.fork is no process of the group: use rack.fork")
        if self.ended or self._closing:
            raise GroupEnded(self.ended or "this process has left the group")

    def _crowded(self, pid: int) -> bool:
        return pid not in self._dead and (self._peers.over_limit(pid) or self._outbox_cost > 4 * WINDOW)

    # -- one turn at the crank -----------------------------------------------------------------------

    def _crank(self, timeout: float | None) -> None:
        baton = self._baton
        self._push()
        wait = 0.0 if self._later else self._due(self._last_turn)
        if timeout is not None and timeout < wait:
            wait = timeout
        baton.relax()
        try:
            ready = self._link.poll(wait)
        finally:
            baton.brace()
        for socket in ready:
            self._read(socket)
        self._tick()
        self._push()
        self._run_later()

    def _run_later(self) -> None:
        if not self._later:
            return
        self._baton.relax()
        try:
            while self._later:
                self._later.popleft()()
        finally:
            self._baton.brace()

    def _push(self) -> None:
        """Carry out what application threads want, and send."""
        outbox = self._outbox
        while outbox:
            outbox.popleft()()
        self._outbox_cost = 0
        self._last_turn = time.monotonic()
        for sending in self._peers.send():
            self.transmit(sending)

    def _offer(self, pid: int, entry: Entry) -> None:
        if pid in self._dead:
            self._undelivered(pid, [entry])
            return
        self._peers.offer(pid, entry)
        if self._peers.wants_direct(pid):
            self._direct.ask_for(pid)

    def _due(self, now: float) -> float:
        """Return how long nothing has to be done, seconds."""
        due = self._last_sent + self._beat
        if self._timers and self._timers[0][0] < due:
            due = self._timers[0][0]
        if self._peers.owes:
            if self._ack_at is None:
                self._ack_at = now + LAZY_ACK
            due = min(due, self._ack_at)
        return max(0.0, due - now)

    def _tick(self) -> None:
        now = time.monotonic()
        if self._ack_at is not None and now >= self._ack_at:
            self._ack_at = None
            for sending in self._peers.send(everything=True):
                self.transmit(sending)
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()
        gap = now - self._last_tick
        self._last_tick = now
        if gap > 2 * self._beat:
            self._last_heard += gap  # it was we who were away: judge nobody by that
        if now - self._last_sent >= self._beat:
            self._raw_send(Kind.BEAT, (), [])
        if now - self._last_heard > self._lease and not self.ended:
            self.end(f"the supervisor has been silent for {now - self._last_heard:.1f} s")

    def end(self, reason: str) -> None:
        """Take note that the group has ended for us."""
        if self.ended:
            return
        self.ended = reason
        self._fail_all(GroupEnded(reason))
        handler = self.handlers.get("ended")
        if handler is not None:
            self.later(lambda: handler({"reason": reason}, ()))

    def _crashed(self, error: Exception) -> None:
        """End this membership rather than hang: the crank itself has failed, which must not happen."""
        _log.error("the I/O of process %d failed", self.pid, exc_info=error)
        self.end(f"an internal error: {type(error).__name__}: {error}")

    def _fail_all(self, error: RackError) -> None:
        for table in (self._calls, self._asks):
            while table:
                _, pending = table.popitem()
                self._settle(pending, error=error)

    # -- sending -----------------------------------------------------------------------------------

    def _raw_send(self, kind: Kind, extra: tuple[Any, ...], bodies: Sequence[Any], pid: int = wire.SUPERVISOR) -> None:
        header = Header(kind, self.epoch, self.pid, self.incarnation, next(self._seq), extra)
        _link.send(self._link.supervisor, [wire.pack_route(pid), header.pack(), *bodies])
        self._last_sent = time.monotonic()

    def transmit(self, sending: Sending) -> None:
        """Send a message of a stream on the path its peer has."""
        if sending.path is None:
            self._raw_send(sending.kind, sending.extra, sending.bodies, sending.pid)
            return
        header = Header(sending.kind, self.epoch, self.pid, self.incarnation, next(self._seq), sending.extra)
        if not self._direct.send(sending.path, [wire.pack_route(sending.pid), header.pack(), *sending.bodies]):
            self._peers.switch(sending.pid, None, again=True)

    # -- receiving ----------------------------------------------------------------------------------

    def _read(self, socket: zmq.Socket[Any]) -> None:
        if socket is not self._link.supervisor:
            self._direct.read(socket)
            return
        for _ in range(256):
            frames = _link.receive(socket)
            if frames is None:
                return
            self._last_heard = time.monotonic()
            try:
                self._dispatch(parse_header(frames[1]), frames[2:])
            except (ProtocolError, IndexError):
                continue  # not from our supervisor's hand; what it says has no consequence

    def _dispatch(self, header: Header, bodies: list[Any]) -> None:
        kind = header.kind
        if header.epoch < self.epoch:
            return  # a supervisor of an earlier life
        if kind is Kind.DATA or kind is Kind.ACK:
            self.arrived(header, bodies)
        elif header.pid != wire.SUPERVISOR:
            return  # what follows is the supervisor's to say
        elif kind is Kind.REPLY:
            self._replied(header, bodies)
        elif kind is Kind.EVENT:
            self._event(header.extra[0], parse_map(bodies[0]), bodies[1:])
        elif kind is Kind.REFUSED:
            self.end(str(_error(parse_map(bodies[0]))))

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
        entries = parse_entries(header.extra[1], bodies)
        for delivery in self._peers.arrived(header.pid, header.incarnation, header.extra, entries):
            self._deliver(delivery)

    def _deliver(self, delivery: Delivery) -> None:
        entry = delivery.entry
        if entry.kind is EntryKind.TELL or entry.kind is EntryKind.ASK:
            if entry.rid and entry.kind is EntryKind.TELL:
                self._deliver_to_box(delivery)
            else:
                self.mailbox.append(delivery)
            return
        if entry.kind is EntryKind.STDIN:
            self._event("stdin", {"pid": delivery.pid, "cost": entry.cost}, [entry.payload])
            return
        self._peers.consumed(delivery.pid, entry.cost)
        pending = self._asks.pop(entry.rid, None)
        if pending is None:
            return
        if entry.kind is EntryKind.FAILED:
            text = bytes(entry.payload).decode("utf-8", "replace")
            self._settle(pending, error=HandlerFailed(f"the handler of process {delivery.pid} failed twice:\n{text}"))
        else:
            self._settle(pending, value=entry.payload)

    def _deliver_to_box(self, delivery: Delivery) -> None:
        number, _ = unpack_boxes(delivery.entry.rid)
        box = self.boxes.get(number) if number else self.mailbox
        if box is not None:
            box.append(delivery)
            return
        self._peers.consumed(delivery.pid, delivery.entry.cost)
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
            self._settle(pending, error=_error(fields))

    def _settle(self, pending: Pending, value: Any = None, error: BaseException | None = None) -> None:
        pending.value, pending.error = value, error
        pending.done = True
        callback = pending.callback
        if callback is not None:
            self.later(lambda: callback(pending))

    def _event(self, name: str, fields: dict[str, Any], blobs: Sequence[Any]) -> None:
        if name == "gone":
            self._gone(fields["pid"], fields["why"])
        elif name == "end":
            self.end(fields.get("reason", "the group has ended"))
        elif name in ("listen", "meet"):
            self._direct.event(name, fields)
        handler = self.handlers.get(name)
        if handler is not None:
            handler(fields, blobs)
        elif name in ("signal", "stdin", "capabilities"):
            self._early.append((name, fields, blobs))

    def _gone(self, pid: int, why: str) -> None:
        self._dead[pid] = why
        self._direct.forget(pid)
        self._undelivered(pid, self._peers.gone(pid))
        for rid, pending in list(self._asks.items()):
            if pending.pid == pid:
                self._asks.pop(rid, None)
                self._settle(pending, error=NoSuchProcess(f"process {pid} ended before it replied: {why}"))

    def _undelivered(self, pid: int, entries: list[Entry]) -> None:
        """Give what a dead process never had to whoever handles dead letters."""
        asked = [entry.rid for entry in entries if entry.kind is EntryKind.ASK]
        for rid in asked:
            pending = self._asks.pop(rid, None)
            if pending is not None:
                self._settle(pending, error=NoSuchProcess(f"process {pid} is gone: {self._dead.get(pid, '')}"))
        handler = self.handlers.get("undelivered")
        if handler is not None:
            for entry in entries:
                if entry.kind in (EntryKind.TELL, EntryKind.ASK):
                    handler({"pid": pid}, [entry.payload])

    # -- for rackactor.direct ------------------------------------------------------------------------

    @property
    def link(self) -> _link.Link:
        """The sockets (holder of the baton only)."""
        return self._link

    def switch(self, pid: int, path: Any, *, again: bool = False) -> None:
        """Send to a peer on another path from now on (holder of the baton only)."""
        self._peers.switch(pid, path, again=again)

    def request(self, op: str, args: dict[str, Any]) -> None:
        """Make a system call from the crank, without wanting its result."""
        self._raw_send(Kind.CALL, (0, op), [wire.pack_body(args)])


def _error(fields: dict[str, Any]) -> RackError:
    cls = BY_NAME.get(str(fields.get("type")), RackError)
    return cls(str(fields.get("message", "")) or None)


def check_size(payload: bytes | memoryview) -> None:
    """Refuse what no frame can carry: a peer would cut us off for it.

    Raises:
        InvalidCall: says how large it is and may be.
    """
    if len(payload) > wire.MAX_MESSAGE:
        raise InvalidCall(f"a message of {len(payload)} bytes; at most {wire.MAX_MESSAGE}: send it in parts")


def decode_reply(kernel: Kernel, payload: bytes | memoryview) -> Any:
    """Turn the payload of a reply into its value."""
    return decode(payload, allow_pickle=kernel.allow_pickle)
