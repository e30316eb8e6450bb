"""The agent's half of the wire, as application threads see it: system calls, messages, mailboxes, events.

Every process of a group has one `Kernel`, the script that made the group included. Threads of the application call it;
the leader does the I/O. Application threads never touch a socket or a stream: they put what they want into the outbox
of the `EventLoop`, which the leader empties.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn, TypeVar

from rackactor import units
from rackactor.errors import GroupEnded, InvalidCall, MailboxFull, NoSuchProcess, ProtocolError, RackTimeout
from rackactor.kernel import interrupts, joining
from rackactor.kernel.event_loop import EventLoop
from rackactor.kernel.inbox import KEPT_EARLY
from rackactor.kernel.peers import DIRECT_NEARBY, Delivery
from rackactor.kernel.pending import Numbers, Pending
from rackactor.kernel.sockets import Keys, Sockets
from rackactor.system import fork_generation
from rackactor.units import CALL_TIMEOUT, DEFAULT_TIMEOUT, Timeout
from rackactor.wire import frames
from rackactor.wire.calls.processes import Cancel
from rackactor.wire.codec import open_from
from rackactor.wire.frames import Kind
from rackactor.wire.schema import Call
from rackactor.wire.stream import OVERHEAD, WINDOW, Entry, EntryKind
from rackactor.wire.welcome import Welcome

E = TypeVar("E")

#: How long a join may take where the supervisor may be dead or another one, seconds; a wrong key is known well before.
JOIN_TIMEOUT = 15.0
#: How long it may take where the supervisor is known to wait for it, but may be busy, seconds.
EXPECTED_TIMEOUT = 60.0
#: What is told within this time of the last turn is collected into one packet, seconds.
COLLECT = 0.0003
#: Bytes collected at the most before they are sent.
COLLECT_BYTES = 32 << 10
#: How long the loop waits for a lock of application threads before it goes on with something else, seconds.
BRIEFLY = 0.001
#: Seconds between the death of a supervisor on this host and the end of its group for us.
FAREWELL = 0.2
#: Why there is no group any more for a process that has closed its membership.
LEFT = "this process has left the group"


class Kernel:
    """Join a group and speak for one process of it.

    Args:
        birth: see `join`; None: make ready all that needs no birth, for a `join` to come.
        timeout: see `join`.
        sockets: others than those of its own; then nobody runs the loop before a `join` but who waits.
    """

    # Known when the agent has joined.
    welcome: Welcome
    gid: str
    #: Messages may be pickled.
    allow_pickle: bool

    def __init__(
        self, birth: dict[str, Any] | None = None, timeout: float | None = None, *, sockets: Sockets | None = None
    ) -> None:
        self._generation = fork_generation.generation
        self._closing = False
        self._rids = itertools.count(1)
        self._box_numbers = itertools.count(1)  # an address has 31 bits for one, and calls are many more
        self._ask_numbers = Numbers()
        #: Run when this process leaves the group's wire, and nobody runs the loop any more.
        self.at_close: list[Callable[[], None]] = []
        #: What the leader does (leader only, but for the outbox).
        self.loop = loop = EventLoop(Sockets() if sockets is None else sockets)
        self._leader = loop.leader
        self._outbox = loop.outbox
        self._inbox = loop.inbox
        self._bind(loop)
        if birth is not None:
            self.join(birth, timeout)
        elif sockets is None:
            self._leader.prepare()

    def _bind(self, loop: EventLoop) -> None:
        """Make what is the loop's part of this kernel's face: bound once, it costs nothing at each use."""
        self.identity = loop.identity
        self.mailbox = loop.inbox.mailbox
        #: Further mailboxes by their number: see `open_box`.
        self.boxes = loop.inbox.boxes
        #: Of events: see `on`.
        self.handlers = loop.inbox.handlers
        # Leader only:
        self.sockets = loop.sockets
        self.peers = loop.peers
        self.paths = loop.paths
        self.at_time = loop.at_time
        self.call_soon = loop.call_soon
        self.offer = loop.offer
        self.malformed = loop.malformed
        #: Make a system call from the loop, without wanting its result.
        self.request = loop.uplink.request
        # Any thread, and signal handlers:
        #: Have whoever waits in the loop look again.
        self.wake = loop.sockets.wake
        #: Keep the main thread away from the loop: its signal handlers may make calls, or raise.
        self.stand_aside = loop.leader.stand_aside

    # -- joining -------------------------------------------------------------------------------

    def connect(self, endpoint: str) -> None:
        """Connect to the supervisor, without a key, for a `join` there to come."""
        self.sockets.dial(endpoint, None, None)

    def join(self, birth: dict[str, Any], timeout: float | None = None) -> None:
        """Join the group.

        Args:
            birth: `endpoint`, `server_key` (z85 or None on ipc), `token`, `pid`, `incarnation`.
            timeout: seconds that a supervisor may take to answer; `JOIN_TIMEOUT` by default.

        Raises:
            AuthenticationError: key or token are not known, or the supervisor is not the one expected: at once; or it
                has not answered in time.
        """
        identity, uplink = self.identity, self.loop.uplink
        identity.pid, identity.incarnation = birth["pid"], birth["incarnation"]
        server_key = birth.get("server_key")
        identity.keys = birth.get("keys") or (Keys.make() if server_key else None)
        try:
            # Else it is connected: to the same supervisor, wherever that listens by now.
            if server_key or not self.sockets.endpoint:
                self.sockets.dial(birth["endpoint"], server_key, identity.keys)
            bound = JOIN_TIMEOUT if timeout is None else timeout
            welcome = joining.join(self.sockets, uplink, identity, birth["token"], bound)
        except BaseException:
            self._leader.close()
            self.sockets.close()
            raise
        self.enter(welcome)
        if server_key:  # on one host a connection ends with one of its ends, and not before
            uplink.begin_to_resume(welcome.heartbeat)
        else:
            self.peers.direct_after = DIRECT_NEARBY
        interrupts.install()
        self._leader.start()

    def enter(self, welcome: Welcome) -> None:
        """Be the process that a welcome is for."""
        self.welcome = welcome
        self.gid = welcome.gid
        self.allow_pickle = welcome.pickle
        self.identity.pid, self.identity.incarnation = welcome.pid, welcome.incarnation
        self.loop.begin(welcome.heartbeat, welcome.lease)

    # -- what it is, and how it stands -----------------------------------------------------------------

    @property
    def pid(self) -> int:
        """Of this process."""
        return self.identity.pid

    @property
    def incarnation(self) -> int:
        """Which life of this process it is."""
        return self.identity.incarnation

    @property
    def ended(self) -> str:
        """Why the group has ended for this process; "" before it has."""
        return self.loop.ended

    @property
    def closed(self) -> bool:
        """Tell whether this kernel can be used no more (closed, or in a child made by os.fork)."""
        return self._closing or self.inherited

    @property
    def inherited(self) -> bool:
        """Tell whether this is a child made by os.fork, which has no membership of its own."""
        return fork_generation.generation != self._generation

    @property
    def last_turn(self) -> float:
        """When somebody ran the loop last (monotonic)."""
        return self.loop.last_turn

    @property
    def pipe_table(self) -> Any:
        """This process's ends of pipes (a `rackactor.ipc.pipes.registry.PipeTable`), or None when there are none."""
        return self._inbox.pipe_table

    @pipe_table.setter
    def pipe_table(self, table: Any) -> None:
        self._inbox.pipe_table = table

    @property
    def out_of_memory(self) -> Callable[[], NoReturn] | None:
        """Called when there is no memory left to do what has to be done in the loop; it does not return."""
        return self.loop.out_of_memory

    @out_of_memory.setter
    def out_of_memory(self, give_up: Callable[[], NoReturn]) -> None:
        self.loop.out_of_memory = give_up

    # -- what the application calls --------------------------------------------------------------

    def call(
        self,
        call: Call,
        *blobs: Any,
        timeout: Timeout = DEFAULT_TIMEOUT,
        late: Callable[[Pending], None] | None = None,
    ) -> tuple[dict[str, Any], Sequence[Any]]:
        """Make a system call and wait for its result.

        Args:
            call: which, and what it says.
            blobs: opaque frames that go with it.
            timeout: seconds; None: no bound.
            late: gets a result that comes although the call was withdrawn: the two may have crossed on the way.

        Returns: the result's fields, and the opaque frames that came with it.

        Raises:
            RackTimeout: no answer within `timeout` seconds (None: no bound); the call is withdrawn.
            GroupEnded: the supervisor is gone.
            RackError: the supervisor's refusal, as its own class.
        """
        seconds = units.timeout(timeout)
        pending, rid = self.begin_call(call, *blobs)
        try:
            if not self._wait(lambda: pending.done, seconds):
                raise RackTimeout(f"no answer to {call.op!r} within {seconds:g} s")
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
            self.cast(Cancel(rid))

    def begin_call(
        self,
        call: Call,
        *blobs: Any,
        callback: Callable[[Pending], None] | None = None,
    ) -> tuple[Pending, int]:
        """Make a system call without waiting; returns what will hold the answer, and its number."""
        self._check()
        op, bodies = call.op, _bodies(call, blobs)
        rid = next(self._rids)
        pending = self._inbox.calls[rid] = Pending(frames.SUPERVISOR, callback)
        self._outbox.append(lambda: self.loop.uplink.send(Kind.CALL, (rid, op), bodies))
        self._leader.turn()
        self._check_still(self._inbox.calls, rid)
        return pending, rid

    def cast(self, call: Call, *blobs: Any) -> None:
        """Make a system call whose result nobody wants."""
        op, bodies = call.op, _bodies(call, blobs)
        self._outbox.append(lambda: self.loop.uplink.send(Kind.CALL, (0, op), bodies))
        self._leader.turn()

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
        self._check()
        check_size(payload)
        loop = self.loop
        if pid in loop.dead:
            raise NoSuchProcess(f"process {pid} is gone: {loop.dead[pid]}")
        if self._crowded(pid):
            seconds = self.bound(timeout)
            if not self._wait(lambda: not self._crowded(pid), seconds):
                raise MailboxFull(f"process {pid} takes its messages too slowly: no credit within {seconds:g} s")
        entry = Entry(kind, rid, payload)
        loop.outbox_cost += len(payload) + OVERHEAD
        loop.outbox.append(lambda: loop.pass_on(pid, entry))
        if waits:
            return
        if kind is EntryKind.REPLY and not self.mailbox:
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
        pending = self._inbox.asks[rid] = Pending(pid, callback)
        try:
            self.post(pid, kind, payload, rid, waits=callback is None)
            self._check_still(self._inbox.asks, rid)
        except BaseException:
            self._inbox.asks.pop(rid, None)
            raise
        return pending

    def answer(self, pid: int, rid: int, payload: bytes | memoryview) -> None:
        """Reply to an ask without waiting for credit: for services, whose clients bound what they ask for at once."""
        entry = Entry(EntryKind.REPLY, rid, payload)
        self._outbox.append(lambda: self.loop.pass_on(pid, entry))
        self._leader.turn()

    def post_from_finalizer(self, pid: int, payload: bytes) -> None:
        """Have a message sent some time: takes no lock and waits for nothing, so that a finalizer may call it."""
        self._outbox.append(lambda: self.offer(pid, Entry(EntryKind.TELL, 0, payload)))

    def call_from_finalizer(self, call: Call) -> None:
        """Have a system call made some time whose result nobody wants; a finalizer may call it, as the above."""
        self._outbox.append(lambda: self.request(call))

    def forget_ask(self, pending: Pending) -> None:
        """Stop waiting for a reply (it timed out)."""
        for rid, known in list(self._inbox.asks.items()):
            if known is pending:
                self._inbox.asks.pop(rid, None)

    def bound(self, timeout: Timeout) -> float | None:
        """Return how long to wait for another process: longer where that may be a machine that still boots.

        Only if the caller has named no bound: the same program is to run on a laptop and on a cloud.
        """
        if timeout is DEFAULT_TIMEOUT:
            return CALL_TIMEOUT + self.welcome.boot_timeout
        return units.timeout(timeout)

    def wait(self, done: Callable[[], object], timeout: float | None) -> bool:
        """Wait until `done()`, doing I/O meanwhile; returns whether it is done."""
        return self._wait(done, timeout)

    def take(self, timeout: float | None, box: deque[Any] | None = None) -> Any:
        """Return the next item of a mailbox (a `Delivery`, or what the host has put there), or None."""
        mailbox = self.mailbox if box is None else box
        loop = self.loop
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

    def open_box(self) -> int:
        """Open a mailbox beside the first one; returns its number, which is part of its address."""
        number = next(self._box_numbers)
        self.boxes[number] = deque()
        return number

    def check(self) -> None:
        """Raise if this process is in its group no more.

        Raises:
            GroupEnded: it has left, the group has ended, or this is a child made by os.fork.
        """
        self._check()

    def open(self, data: bytes | memoryview, what: str, pid: int) -> Any:
        """Return the value that a process has sent.

        Raises:
            ProtocolError: nobody of this wire sends such bytes; whoever did is put out.
            CannotOpen: unpickling has failed.
        """
        try:
            return open_from(data, what, pid, allow_pickle=self.allow_pickle)
        except ProtocolError as error:
            self.call_soon_batched(self.malformed, pid, error)
            raise

    def call_soon_threadsafe(self, action: Callable[..., Any], *args: Any) -> None:
        """Have something done in the loop, now."""
        self._outbox.append(partial(action, *args) if args else action)
        self._leader.turn()

    def call_soon_batched(self, action: Callable[..., Any], *args: Any) -> None:
        """Have something done in the loop within a millisecond, or when the caller waits next."""
        self._outbox.append(partial(action, *args) if args else action)
        self._leader.soon(0.001)

    def call_from_waiter(self, action: Callable[[], Any]) -> None:
        """Have something done in the loop by the caller itself, who promises to wait next."""
        self._outbox.append(action)
        if self._leader.taken:
            self._leader.turn()

    def consume(self, pid: int, cost: int) -> None:
        """Give a sender its credit back for what it sent to standard input."""
        self._outbox.append(lambda: self.peers.consumed(pid, cost))
        self._leader.turn()

    def call_later(self, delay: float, action: Callable[[], None]) -> None:
        """Run `action` in `delay` seconds, in the loop; it must be quick."""
        self._outbox.append(partial(self.loop.at, time.monotonic() + delay, action))
        self._leader.soon(0)

    def take_briefly(self, lock: Any, again: Callable[[], None]) -> bool:
        """Acquire, in the loop, a lock that application threads hold for moments; where it fails, `again` runs soon.

        The loop never waits for such a lock: a signal handler may have interrupted its holder, and wait for the loop.
        """
        if lock.acquire(timeout=BRIEFLY):
            return True
        self.at_time(BRIEFLY, again)
        return False

    def on(self, kind: type[E], handler: Callable[[E, Sequence[Any]], object]) -> None:
        """Have what happens handled, quickly, in the loop. What came before anybody cared comes now.

        Args:
            kind: a class of `rackactor.wire.events` or `rackactor.kernel.news`.
            handler: called with one of these, and the opaque frames that came with it.
        """
        if kind not in KEPT_EARLY:
            self.handlers[kind] = handler
            return
        # In the loop: another thread may be turning it this moment, and what comes now would overtake what came.
        self._outbox.append(partial(self._inbox.take_up, kind, handler))
        self._leader.turn()

    def watch_supervisor(self, pidfd: int, verdict: Callable[[], str]) -> None:
        """Have the group end for us when the supervisor, a process of this host, does, and not by its silence only.

        Args:
            pidfd: of the supervisor; it is closed with this kernel.
            verdict: says how it ended.
        """

        def died() -> None:
            if not self.ended:
                self.loop.end(verdict())

        # What it had said, the group's end in good order perhaps, may still be on its way to us: it counts first.
        self.call_soon_threadsafe(self.sockets.watch_life, pidfd, lambda: self.call_later(FAREWELL, died))

    def put(self, item: Any) -> None:
        """Put an item of the host's own into the mailbox; a signal handler may do so too."""
        self.mailbox.append(item)
        self.wake()

    def drain(self, timeout: float) -> bool:
        """Wait until everything told has left for its receivers, and tell them how far we are.

        Returns: whether it has all left within `timeout` seconds.
        """
        self._outbox.append(self.loop.ask_how_far)
        self._leader.turn()  # a turn that waits would sleep after it has sent
        return self._wait(lambda: not self._outbox and self.peers.drained(), timeout)

    def close(self, linger: float = 1.0) -> None:
        """Leave the group's wire; idempotent. What was sent has `linger` seconds to leave."""
        if self._closing or self.inherited:
            return
        self._closing = True
        self.loop.ended = self.loop.ended or LEFT  # whoever waits in another thread waits no more
        self._leader.close()
        while self.at_close:
            self.at_close.pop()()
        self.loop.close(linger)
        interrupts.uninstall()

    def _wait(self, done: Callable[[], object], timeout: float | None) -> bool:
        loop = self.loop
        if self._leader.wait(lambda: done() or loop.ended, timeout):
            if loop.ended and not done():  # if it has not, another thread was quicker to take what was awaited
                raise GroupEnded(loop.ended)
            return True
        return False

    def _check(self) -> None:
        if fork_generation.generation != self._generation:
            raise GroupEnded("a child made by os.fork is no process of the group: use rack.fork")
        ended = self.loop.ended
        if ended or self._closing:
            raise GroupEnded(ended or LEFT)

    def _check_still(self, table: dict[int, Pending], rid: int) -> None:
        """Raise for what was begun at the very end, too late to be failed with the others."""
        if self.loop.ended and table.pop(rid, None) is not None:
            self._check()

    def _crowded(self, pid: int) -> bool:
        loop = self.loop
        return pid not in loop.dead and (loop.peers.over_limit(pid) or loop.outbox_cost > 4 * WINDOW)


def _bodies(call: Call, blobs: Sequence[Any]) -> list[Any]:
    bodies = [frames.pack_body(call.to_wire()), *blobs]
    for body in bodies:
        check_size(body)
    return bodies


def check_size(payload: bytes | memoryview) -> None:
    """Refuse what no frame can carry: a peer would cut us off for it.

    Raises:
        InvalidCall: says how large it is and may be.
    """
    if len(payload) > frames.MAX_MESSAGE:
        raise InvalidCall(f"a message of {len(payload)} bytes; at most {frames.MAX_MESSAGE}: send it in parts")
