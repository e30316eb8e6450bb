"""The agent's half of the wire, as application threads see it: system calls, messages, mailboxes, events.

Every process of a group has one `Kernel`, the script that made the group included. Threads of the application call it;
the leader does the I/O. Application threads never touch a socket or a stream: they put what they want into the outbox
of the `EventLoop`, which the leader empties.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn, TypeVar

from rackactor.kernel import interrupts, joining
from rackactor.kernel.event_loop import EventLoop
from rackactor.kernel.inbox import KEPT_EARLY
from rackactor.kernel.membership import LEFT, Membership
from rackactor.kernel.messages import Messages
from rackactor.kernel.peers import DIRECT_NEARBY
from rackactor.kernel.system_calls import SystemCalls
from rackactor.kernel.transport.sockets import Keys, Sockets
from rackactor.wire.welcome import Welcome

E = TypeVar("E")

#: How long a join may take where the supervisor may be dead or another one, seconds; a wrong key is known well before.
JOIN_TIMEOUT = 15.0
#: How long it may take where the supervisor is known to wait for it, but may be busy, seconds.
EXPECTED_TIMEOUT = 60.0
#: How long the loop waits for a lock of application threads before it goes on with something else, seconds.
BRIEFLY = 0.001
#: Seconds between the death of a supervisor on this host and the end of its group for us.
FAREWELL = 0.2


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
        #: Run when this process leaves the group's wire, and nobody runs the loop any more.
        self.at_close: list[Callable[[], None]] = []
        #: What the leader does (leader only, but for the outbox).
        self.loop = loop = EventLoop(Sockets() if sockets is None else sockets)
        self._leader = loop.leader
        self._outbox = loop.outbox
        self._inbox = loop.inbox
        self._membership = Membership(loop)
        self._messages = Messages(loop, self._membership)
        self._bind(loop, self._membership, SystemCalls(loop, self._membership), self._messages)
        if birth is not None:
            self.join(birth, timeout)
        elif sockets is None:
            self._leader.prepare()

    def _bind(self, loop: EventLoop, membership: Membership, calls: SystemCalls, messages: Messages) -> None:
        """Make what its parts do part of this kernel's face: bound once, it costs nothing at each use."""
        # Any thread: see `SystemCalls`, `Messages`, `Membership`.
        self.call = calls.call
        self.begin_call = calls.begin_call
        self.withdraw = calls.withdraw
        self.cast = calls.cast
        self.call_from_finalizer = calls.call_from_finalizer
        self.post = messages.post
        self.ask = messages.ask
        self.forget_ask = messages.forget_ask
        self.answer = messages.answer
        self.post_from_finalizer = messages.post_from_finalizer
        self.drain = messages.drain
        self.bound = messages.bound
        self.take = messages.take
        self.consume = messages.consume
        self.put = messages.put
        self.open_box = messages.open_box
        self.open = messages.open
        self.check = membership.check
        self.wait = membership.wait
        # See `EventLoop`.
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
        self.allow_pickle = self._messages.allow_pickle = welcome.pickle
        self._messages.boot_timeout = welcome.boot_timeout
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
        return self._membership.closed

    @property
    def inherited(self) -> bool:
        """Tell whether this is a child made by os.fork, which has no membership of its own."""
        return self._membership.inherited

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

    def close(self, linger: float = 1.0) -> None:
        """Leave the group's wire; idempotent. What was sent has `linger` seconds to leave."""
        if self.closed:
            return
        self._membership.left = True
        self.loop.ended = self.loop.ended or LEFT  # whoever waits in another thread waits no more
        self._leader.close()
        while self.at_close:
            self.at_close.pop()()
        self.loop.close(linger)
        interrupts.uninstall()
