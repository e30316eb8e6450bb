"""Connections that have not joined yet: how many a listening socket keeps, for how long, and how much it takes of them.

Whoever reaches a port may open connections to it, and who knows the server's key may send. ZeroMQ keeps each for the
time of its handshake, or for ever, and cannot be told to accept no more. But its monitor tells the descriptor of each
connection, and so does each message. So connections are cut from outside: at random where there are too many, of the
address that has most of them, so that who floods us suffers most, and who is quick gets in.

The clock counts only time in which somebody looked. A process that was stopped for a while finds the messages that have
come meanwhile, and does not cut who sent them.
"""

from __future__ import annotations

import math
import os
import resource
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import zmq

from rackactor.records import dataclass

#: Seconds until a connection over tcp has to have joined.
PATIENCE = 10.0
#: Seconds that a refusal has to reach who was refused.
FAREWELL = 0.5
#: Bytes that are taken of a connection before it has joined; a join is much smaller.
MOST = 256 << 10
#: Newcomers at the most, however many descriptors there are.
CROWD = 4096
#: Seconds between two looks that count, at the most. So between a refusal and the cut there are several looks.
_STEP = 0.1
#: Where TCP_INFO has the bytes that were received (tcpi_bytes_received).
_RECEIVED = struct.Struct("128xQ")
_ACCEPTED = int(zmq.EVENT_ACCEPTED)
_EVENTS = _ACCEPTED | int(zmq.EVENT_DISCONNECTED)
_HEAD = struct.Struct("=HI")


def room() -> int:
    """Return how many connections may wait to join: with a quarter of the descriptors at the most."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return CROWD if soft == resource.RLIM_INFINITY else max(8, min(CROWD, soft // 4))


def _any_of(count: int) -> int:
    return int.from_bytes(os.urandom(4), "big") % count


@dataclass
class _Newcomer:
    host: str
    until: float


class Newcomers:
    """Decide which connections are cut, by their descriptors.

    Args:
        room: how many may wait to join.
        patience: seconds that each has for it.
        choose: returns a number below the one it gets.
    """

    def __init__(self, room: int, patience: float = PATIENCE, choose: Callable[[int], int] = _any_of) -> None:
        self._room = room
        self._patience = patience
        self._choose = choose
        self._waiting: dict[int, _Newcomer] = {}
        self._hosts: dict[str, dict[int, None]] = {}
        self._lived = 0.0
        self._looked: float | None = None

    def __iter__(self) -> Iterator[int]:
        return iter(list(self._waiting))

    @property
    def limited(self) -> bool:
        """Whether anybody's time runs out one day."""
        return any(newcomer.until < math.inf for newcomer in self._waiting.values())

    def came(self, descriptor: int, host: str) -> int | None:
        """Learn of a new connection; returns one to be cut, if there are too many."""
        self.gone(descriptor)
        self._waiting[descriptor] = _Newcomer(host, self._lived + self._patience)
        self._hosts.setdefault(host, {})[descriptor] = None
        if len(self._waiting) <= self._room:
            return None
        fullest = max(self._hosts.values(), key=len)
        victim = list(fullest)[self._choose(len(fullest))]
        self.gone(victim)
        return victim

    def gone(self, descriptor: int) -> None:
        """Learn that a connection has joined, or has ended."""
        newcomer = self._waiting.pop(descriptor, None)
        if newcomer is not None:
            here = self._hosts[newcomer.host]
            del here[descriptor]
            if not here:
                del self._hosts[newcomer.host]

    def refused(self, descriptor: int) -> None:
        """Learn that a newcomer has said something else than how it joins: it goes when it has been told so."""
        newcomer = self._waiting.get(descriptor)
        if newcomer is not None:
            newcomer.until = min(newcomer.until, self._lived + FAREWELL)

    def overdue(self, now: float) -> list[int]:
        """Return whose time is over; each is told once."""
        if self._looked is not None:
            self._lived += max(0.0, min(_STEP, now - self._looked))
        self._looked = now
        late = [descriptor for descriptor, newcomer in self._waiting.items() if newcomer.until <= self._lived]
        for descriptor in late:
            self.gone(descriptor)
        return late


class Gate:
    """Watch over the connections of a listening ROUTER, and cut those that do not join. Made before it is bound.

    Args:
        listener: the socket; whoever reads it tells `meet` of each connection that is not among the `names`.
        remote: whether others than this user can reach it. On one host newcomers wait as long as they like, and only
            their number is bounded: processes connect before there is anything for them to do.
        ended: is told the name of each connection that has ended.
    """

    def __init__(
        self, listener: zmq.Socket[Any], *, remote: bool, ended: Callable[[bytes], object] = lambda name: None
    ) -> None:
        self._listener = listener
        self._remote = remote
        self._ended = ended
        self._newcomers = Newcomers(room() if remote else CROWD, PATIENCE if remote else math.inf)
        self._inodes: dict[int, int] = {}
        self._by_descriptor: dict[int, bytes] = {}
        #: The descriptor of each connection that has said something, by its name at the router.
        self.names: dict[bytes, int] = {}
        place = f"inproc://newcomers-{id(listener)}"
        listener.monitor(place, _EVENTS)
        #: Tells of connections; to be polled.
        self.events: zmq.Socket[Any] = listener.context.socket(zmq.PAIR)
        self.events.linger = 0
        self.events.rcvhwm = 0  # ZeroMQ's own thread would wait for us
        self.events.connect(place)

    def meet(self, name: bytes, frame: zmq.Frame) -> None:
        """Learn of the first message of a connection.

        Args:
            name: of the connection, at the router.
            frame: a frame of the message, which knows the connection's descriptor.
        """
        self.read()  # what has happened to this descriptor before
        try:
            descriptor: Any = frame.get(zmq.SRCFD)
        except zmq.ZMQError:
            return  # it had ended before ZeroMQ knew it well
        self.names[name] = descriptor
        self._by_descriptor[descriptor] = name

    def joined(self, name: bytes) -> None:
        """Learn that a connection is a member's."""
        descriptor = self.names.get(name)
        if descriptor is not None:
            self._newcomers.gone(descriptor)
            self._inodes.pop(descriptor, None)

    def refused(self, name: bytes) -> None:
        """Learn that a connection has said what only members may say, or nonsense: if it is no member's, it is cut."""
        descriptor = self.names.get(name)
        if descriptor is not None:
            self._newcomers.refused(descriptor)

    @property
    def is_busy(self) -> bool:
        """Whether `turn` has something to look at."""
        return self._newcomers.limited

    def read(self) -> None:
        """Take what the monitor tells."""
        while True:
            try:
                event, descriptor = _HEAD.unpack_from(self.events.recv(zmq.NOBLOCK))
            except zmq.Again:
                return
            self.events.recv()  # the endpoint, which is always our own
            name = self._by_descriptor.pop(descriptor, None)
            if name is not None:
                del self.names[name]
                self._ended(name)
            self._inodes.pop(descriptor, None)
            if event == _ACCEPTED:
                self._came(descriptor)
            else:
                self._newcomers.gone(descriptor)

    def _came(self, descriptor: int) -> None:
        try:
            self._inodes[descriptor] = os.fstat(descriptor).st_ino
        except OSError:
            return  # it has ended already
        victim = self._newcomers.came(descriptor, _host(descriptor) if self._remote else "")
        if victim is not None:
            self._cut(victim)

    def turn(self, now: float) -> None:
        """Cut those whose time is over, or who have sent too much. To be called several times a second."""
        self.read()
        for descriptor in self._newcomers.overdue(now):
            self._cut(descriptor)
        if self._remote:
            for descriptor in self._newcomers:
                if _received(descriptor) > MOST:
                    self._newcomers.gone(descriptor)
                    self._cut(descriptor)

    def _cut(self, descriptor: int) -> None:
        inode = self._inodes.pop(descriptor, None)
        try:
            if inode is not None and os.fstat(descriptor).st_ino == inode:  # else the number is another's by now
                (_abort if self._remote else _shut)(descriptor)
        except OSError:
            pass  # it has just ended

    def close(self) -> None:
        """Watch no more. To be called before the listening socket is closed."""
        self._listener.disable_monitor()
        self.events.close(0)


class _Borrowed:
    """A socket object for a descriptor that is ZeroMQ's, which closes it."""

    def __init__(self, descriptor: int, family: int) -> None:
        self._socket = socket.socket(family, socket.SOCK_STREAM, 0, fileno=descriptor)

    def __enter__(self) -> socket.socket:
        return self._socket

    def __exit__(self, *_: object) -> None:
        self._socket.detach()


def _host(descriptor: int) -> str:
    """Return the address that a connection comes from."""
    try:
        with _Borrowed(descriptor, socket.AF_INET6) as borrowed:
            return str(borrowed.getpeername()[0])
    except OSError:
        return ""


def _received(descriptor: int) -> int:
    """Return how many bytes have come on a connection over tcp."""
    try:
        with _Borrowed(descriptor, socket.AF_INET6) as borrowed:
            told = borrowed.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RECEIVED.size)
    except OSError:
        return 0
    return int(_RECEIVED.unpack(told)[0]) if len(told) == _RECEIVED.size else 0


def _shut(descriptor: int) -> None:
    with _Borrowed(descriptor, socket.AF_UNIX) as borrowed:
        borrowed.shutdown(socket.SHUT_RDWR)


def _abort(descriptor: int) -> None:
    """Reset a connection: the other end can tell this from a handshake that has failed, and nothing of it lingers."""
    import ctypes

    nowhere = struct.pack("=H14x", socket.AF_UNSPEC)
    if ctypes.CDLL(None, use_errno=True).connect(descriptor, nowhere, len(nowhere)) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
