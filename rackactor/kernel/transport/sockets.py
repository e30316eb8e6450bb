"""The sockets of one agent: the connection to its supervisor, and those to peers it talks to a lot.

`Sockets` belong to one thread at a time (see `rackactor.kernel.leader`); they know frames, not their meaning. The
silent traps of ZeroMQ are closed here on purpose: no message is dropped at a high-water mark (credit bounds what
is under way instead), no close waits for ever, an oversized frame cuts its sender off, and a failed
handshake is an event that becomes an `AuthenticationError`, not a silence.
"""

from __future__ import annotations

import errno
import os
import resource
import select
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import zmq
from zmq.backend import Socket as _Raw
from zmq.utils import garbage

from rackactor.kernel.transport.netaddr import is_ipv6
from rackactor.kernel.transport.newcomers import Gate
from rackactor.kernel.transport.seqpacket import LocalChannel
from rackactor.kernel.transport.spinning import WAKEFUL, Wakefulness
from rackactor.kernel.transport.wakeup import Waker
from rackactor.records import dataclass
from rackactor.system import real_threads
from rackactor.wire.frames import MAX_FRAME

Frames = list[Any]

# The hot path calls pyzmq's C methods with plain integers: its Python wrappers and flag enums cost more
# than the work itself.
_recv: Any = _Raw.recv
_send: Any = _Raw.send
_get: Any = _Raw.get
_NOBLOCK, _RCVMORE, _EVENTS, _POLLIN = int(zmq.NOBLOCK), int(zmq.RCVMORE), int(zmq.EVENTS), int(zmq.POLLIN)
_SEND_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)

_HANDSHAKE_FAILED = int(
    zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)
#: Bodies from this size on are neither copied into nor out of ZeroMQ, bytes.
ZERO_COPY = 32 << 10
#: The last frame of a message that was broken off (0xc1 begins no msgpack value).
ABORTED = b"\xc1torn"
#: Broken messages thrown away at one go; the poll brings us back for the rest.
_PATIENCE = 64
#: Sockets in the midst of a message. A signal handler may raise between any two bytecodes: whoever uses a socket next
#: and finds it here knows that a message was broken off.
_sending: set[zmq.Socket[Any]] = set()
_reading: set[zmq.Socket[Any]] = set()
#: Messages of one connection that wait at a listening socket to be looked at. Nothing is dropped beyond: ZeroMQ reads
#: no more from that connection, and the rest waits at its sender.
QUEUE = 1000
#: Descriptors that a direct connection takes at the most: a ZeroMQ socket, its connection, the short way.
_OF_A_PEER = 3
#: The event's number and value, which lead what a monitor tells (zmq_socket_monitor).
_EVENT = struct.Struct("=HI")
#: Descriptors that one poll tells of at the most; the next tells of the rest.
_AT_ONCE = 64


@dataclass(frozen=True)
class Keys:
    """A CURVE key pair (z85 text), made by whoever it belongs to."""

    public: bytes
    secret: bytes

    @classmethod
    def make(cls) -> Keys:
        """Make a new pair."""
        return cls(*zmq.curve_keypair())


def tune(socket: zmq.Socket[Any]) -> None:
    """Set what every socket of the wire has in common."""
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.RCVHWM, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME)
    socket.setsockopt(zmq.HANDSHAKE_IVL, 4000)
    socket.setsockopt(zmq.RECONNECT_IVL, 20)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)


def watch_over(socket: zmq.Socket[Any]) -> None:
    """Have a listening socket close connections that are dead, and nobody says so. ZeroMQ's own threads see to it."""
    socket.setsockopt(zmq.HEARTBEAT_IVL, 5_000)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 30_000)


def endpoint(socket: zmq.Socket[Any]) -> str:
    """Return where a bound socket is reached."""
    bound: Any = socket.getsockopt(zmq.LAST_ENDPOINT)
    return str(bound.rstrip(b"\0").decode())


def receive(socket: zmq.Socket[Any], heads: int = 2, gate: Gate | None = None) -> Frames | None:
    """Return the frames of one message, or None when there is none; bodies that are large stay uncopied.

    Args:
        socket: where to look; never waits.
        heads: how many frames come before the bodies (3 where a router puts the connection first).
        gate: of a router: learns of connections that say something for the first time.
    """
    if socket in _reading:
        _skip(socket)
    for _ in range(_PATIENCE):
        if not _get(socket, _EVENTS) & _POLLIN:
            return None
        _reading.add(socket)
        frames: Frames = [_recv(socket, _NOBLOCK)]
        if gate is not None and frames[0] not in gate.names and _get(socket, _RCVMORE):
            frame = _recv(socket, 0, False)
            gate.meet(frames[0], frame)
            frames.append(frame.bytes)
        while _get(socket, _RCVMORE):
            if len(frames) < heads:
                frames.append(_recv(socket, 0))
            else:
                frame = _recv(socket, 0, False)
                frames.append(frame.buffer if len(frame) >= ZERO_COPY else frame.bytes)
        _reading.discard(socket)
        if frames[-1] != ABORTED:
            return frames
    return None


def _skip(socket: zmq.Socket[Any]) -> None:
    """Throw away what is left of a message whose reading was broken off."""
    while _get(socket, _RCVMORE):
        _recv(socket, _NOBLOCK)
    _reading.discard(socket)


def send(socket: zmq.Socket[Any], frames: Sequence[Any]) -> None:
    """Send one message; large frames are not copied.

    A signal handler may raise between two frames. What has left by then is ended with a mark that has it thrown
    away, here or, should another one raise meanwhile, before whatever is sent next; and the message goes once more,
    whole. A duplicate is known by its number.

    Raises:
        zmq.ZMQError: EHOSTUNREACH when a router does not know the receiver (any more).
    """
    if socket in _sending:
        _break_off(socket)
    last = len(frames) - 1
    _sending.add(socket)
    try:
        for index, frame in enumerate(frames):
            copies = len(frame) < ZERO_COPY or not _may_lend()
            _send(socket, frame, _SEND_MORE if index < last else _NOBLOCK, copies)
        _sending.discard(socket)
    except zmq.ZMQError:
        _sending.discard(socket)
        raise
    except BaseException:
        send(socket, frames)
        raise


def _break_off(socket: zmq.Socket[Any]) -> None:
    """End a message that was begun, so that its receiver throws it away."""
    try:
        _send(socket, ABORTED, _NOBLOCK)
    except zmq.ZMQError:
        pass  # a router had not been told for whom the message was: none was begun
    _sending.discard(socket)


def _may_lend() -> bool:
    """Tell whether frames may be sent uncopied: a thread of pyzmq's gives them back, which has to be started once."""
    if not garbage.gc.is_alive():
        try:
            with garbage.gc._lock:
                if not garbage.gc.is_alive():
                    garbage.gc.start()
        except RuntimeError:  # no more threads may be started
            garbage.gc.thread = None
            return False
    return True


def max_direct_peers() -> int:
    """Return how many peers may be connected to directly: they take half of the descriptors at the most.

    ZeroMQ ends the program when it can get none.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft // (2 * _OF_A_PEER)


class Sockets:
    """The sockets of an agent, and the poll over them.

    Made without a peer, but with its threads running, since that is most of the work; `dial` connects it.

    The poll is one system call over plain descriptors: zmq_poll makes two for each of its sockets, each time. The
    descriptor of a ZeroMQ socket tells only that something has changed since the socket was last used, so whoever
    sends or reads leaves it among the `_recheck`, whose state the next poll asks for before it sleeps.
    """

    def __init__(self) -> None:
        real_threads.check()
        self.context = zmq.Context(io_threads=1)
        self._waker: Waker | None = Waker()
        self._poll = select.epoll()  # not select.poll: a signal handler may poll while we do
        self._poll.register(self._waker, select.EPOLLIN)
        self._watched: dict[int, zmq.Socket[Any] | LocalChannel] = {}  # by descriptor
        self._recheck: set[zmq.Socket[Any]] = set()
        self.keys: Keys | None = None
        #: The supervisor's.
        self.endpoint = ""
        self.refused = ""
        #: The connection to the supervisor has ended since it was dialled; or its key was refused.
        self.broken = self.revoked = False
        self.supervisor = self._open()
        self._monitor: zmq.Socket[Any] | None = None
        #: The last turn was short, and so probably will the next be.
        self.spin = False
        self._wakefulness = Wakefulness()
        #: Both ends of the pipe of `heed_signals`.
        self._signals: tuple[int, ...] = ()
        #: A pidfd of the supervisor, if it is a process of this host, and what is called when that ends.
        self._life = -1
        self._bereaved: Callable[[], None] | None = None

    def dial(self, endpoint: str, server_key: bytes | None, keys: Keys | None) -> None:
        """Connect to the supervisor, or anew to the same one: a socket knows one supervisor only."""
        assert self.endpoint in ("", endpoint)
        self.keys, self.endpoint, self._server_key = keys, endpoint, server_key
        self._connect(self.supervisor, endpoint, server_key)
        if server_key is not None:
            self._monitor = self.supervisor.get_monitor_socket(_HANDSHAKE_FAILED | int(zmq.EVENT_DISCONNECTED))
            self.watch(self._monitor)

    def redial(self) -> None:
        """Connect to the supervisor anew; what the old connection has not carried is lost.

        Raises:
            zmq.ZMQError: there is no descriptor left for another socket; nothing has changed.
        """
        socket = self._open()
        if self._monitor is not None:
            self.supervisor.disable_monitor()
            self.drop(self._monitor)
        self.drop(self.supervisor)
        self.supervisor = socket
        self.dial(self.endpoint, self._server_key, self.keys)
        self.broken = False

    def connect(self, endpoint: str, server_key: bytes | None) -> zmq.Socket[Any]:
        """Open a socket to a peer."""
        socket = self._open()
        try:
            self._connect(socket, endpoint, server_key)
        except BaseException:
            self.drop(socket)
            raise
        return socket

    def _open(self) -> zmq.Socket[Any]:
        socket: zmq.Socket[Any] = self.context.socket(zmq.DEALER)
        tune(socket)
        try:
            self.watch(socket)
        except OSError:
            socket.close(0)
            raise
        return socket

    def _connect(self, socket: zmq.Socket[Any], endpoint: str, server_key: bytes | None) -> None:
        if server_key is not None:
            assert self.keys is not None
            socket.curve_serverkey = server_key
            socket.curve_publickey, socket.curve_secretkey = self.keys.public, self.keys.secret
        if is_ipv6(endpoint):
            socket.setsockopt(zmq.IPV6, 1)
        socket.connect(endpoint)

    def watch(self, socket: zmq.Socket[Any] | LocalChannel) -> None:
        """Include a socket in the poll."""
        number = socket.fileno()
        self._poll.register(number, select.EPOLLIN)
        self._watched[number] = socket
        if not isinstance(socket, LocalChannel):
            self._recheck.add(socket)

    def unwatch(self, socket: zmq.Socket[Any] | LocalChannel) -> None:
        """Leave a socket out of the poll; it is still open."""
        if not isinstance(socket, LocalChannel):
            self._recheck.discard(socket)
        number = socket.fileno()
        if self._watched.pop(number, None) is not None:
            self._poll.unregister(number)

    def send(self, socket: zmq.Socket[Any], frames: Sequence[Any]) -> None:
        """Send one message on one of these sockets: see `send`."""
        self._recheck.add(socket)
        try:
            send(socket, frames)
        except zmq.ZMQError:
            if socket.closed:  # that of a peer which has just gone: nobody may ask it for its state
                self._recheck.discard(socket)
            raise

    #: Return the frames of one message that has come: see `receive`. (Bound like this it costs no call of its own.)
    receive = staticmethod(receive)

    def drop(self, socket: zmq.Socket[Any]) -> None:
        """Close a socket at once."""
        self.unwatch(socket)
        _sending.discard(socket)
        _reading.discard(socket)
        socket.close(0)

    def poll(self, timeout: float | None) -> list[Any]:
        """Wait for messages, for `timeout` seconds at the most (None: until something comes).

        Returns: the sockets that have something to read.
        """
        ready: list[Any] = []
        if self._recheck:
            for socket in list(self._recheck):
                self._look(socket, ready)
        for number, _ in self._await(0 if ready else timeout):
            found = self._watched.get(number)
            if found is None:
                if number in self._signals:
                    os.read(number, 4096)
                elif number == self._life:
                    self._poll.unregister(number)
                    if self._bereaved is not None:
                        self._bereaved()
                elif self._waker is not None:
                    self._waker.drain()
            elif isinstance(found, LocalChannel):
                ready.append(found)
            elif found not in self._recheck:
                self._recheck.add(found)
                self._look(found, ready)
        return ready

    def _await(self, timeout: float | None) -> list[tuple[int, int]]:
        """Wait for descriptors; where the last turn was short, at first without sleeping."""
        poll = self._poll.poll
        if self.spin and (timeout is None or timeout > WAKEFUL):
            began = now = time.monotonic()
            if began >= self._wakefulness.again:
                until = began + WAKEFUL
                while now < until:
                    if found := poll(0, _AT_ONCE):
                        self._wakefulness.ended(began, now, True)
                        return found
                    os.sched_yield()  # whoever is to answer may need this very processor
                    now = time.monotonic()
                self._wakefulness.ended(began, now, False)
        # Python rounds up: rounded down, the last millisecond before a timer would be spent spinning.
        return poll(timeout, _AT_ONCE)

    def _look(self, socket: zmq.Socket[Any], ready: list[Any]) -> None:
        """Ask a ZeroMQ socket whether it has something to read; from a no on, its descriptor tells of changes."""
        if not _get(socket, _EVENTS) & _POLLIN:
            self._recheck.discard(socket)
        elif socket is self._monitor:
            self._read_monitor()
        else:
            ready.append(socket)

    def wake(self) -> None:
        """End a poll that runs in another thread; once these are closed, there is none."""
        waker = self._waker
        if waker is not None:
            waker.wake()

    def watch_life(self, pidfd: int, bereaved: Callable[[], None]) -> None:
        """Have a process's end noticed by a poll; the descriptor is closed with these sockets."""
        self._life, self._bereaved = pidfd, bereaved
        self._poll.register(pidfd, select.EPOLLIN)

    def heed_signals(self) -> None:
        """Have signals end a poll, also one that begins between a signal and Python's look at it (main thread only).

        Without that their handlers would run when something else ends the poll, up to a heartbeat later.
        """
        reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._signals = (reading, writing)
        self._poll.register(reading, select.EPOLLIN)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def _read_monitor(self) -> None:
        assert self._monitor is not None
        while _get(self._monitor, _EVENTS) & _POLLIN:
            # pyzmq's reader imports asyncio and ssl.
            event, number = _EVENT.unpack_from(self._monitor.recv_multipart()[0])
            if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                self.refused = "the supervisor does not know this key, or has revoked it"
                self.revoked = True
            elif event == zmq.EVENT_DISCONNECTED:
                self.broken = True
            elif event & _HANDSHAKE_FAILED and number != errno.ECONNRESET:  # else it was cut off: too many came at once
                self.refused = "the handshake failed: the server key is not this supervisor's"

    def close(self, linger: float = 0.0) -> None:
        """Close everything; what was sent has `linger` seconds to leave."""
        if self._monitor is not None:
            self.supervisor.disable_monitor()
            self._monitor.close(0)  # the context does not end before its last socket
        self.supervisor.close(int(linger * 1000))
        self.context.destroy(linger=0) if linger == 0 else self.context.term()
        self._poll.close()
        if self._signals and threading.current_thread() is threading.main_thread():
            signal.set_wakeup_fd(-1)
        self._waker = None
        for descriptor in (*self._signals, *([self._life] if self._life >= 0 else [])):
            os.close(descriptor)
