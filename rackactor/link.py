"""The sockets of one agent: the connection to its supervisor, and those to peers it talks to a lot.

A `Link` belongs to one thread at a time (see `rackactor.baton`); it knows frames, not their meaning. The silent
traps of ZeroMQ are closed here on purpose: no message is dropped at a high-water mark (credit bounds what
is under way instead), no close waits for ever, an oversized frame cuts its sender off, and a failed
handshake is an event that becomes an `AuthenticationError`, not a silence.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from rackactor.wire import MAX_FRAME

Frames = list[Any]

_HANDSHAKE_FAILED = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
)
#: Bodies from this size on are neither copied into nor out of ZeroMQ, bytes.
ZERO_COPY = 32 << 10


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


def receive(socket: zmq.Socket[Any]) -> Frames | None:
    """Return the frames of one message, or None when there is none; bodies that are large stay uncopied."""
    try:
        first = socket.recv(zmq.NOBLOCK)
    except zmq.Again:
        return None
    frames: Frames = [first]
    while socket.getsockopt(zmq.RCVMORE):
        frame = socket.recv(copy=False)
        frames.append(frame.buffer if len(frame) >= ZERO_COPY else frame.bytes)
    return frames


def send(socket: zmq.Socket[Any], frames: Sequence[Any]) -> None:
    """Send one message; large frames are not copied.

    Raises:
        zmq.ZMQError: EHOSTUNREACH when a router does not know the receiver (any more).
    """
    last = len(frames) - 1
    for index, frame in enumerate(frames):
        more = zmq.SNDMORE if index < last else 0
        socket.send(frame, zmq.NOBLOCK | more, copy=len(frame) < ZERO_COPY)


class Link:
    """The sockets of an agent, and the poll over them."""

    def __init__(self, endpoint: str, server_key: bytes | None, keys: Keys | None) -> None:
        self.context = zmq.Context(io_threads=1)
        self._poller = zmq.Poller()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._poller.register(self._wake, zmq.POLLIN)
        self.keys = keys
        self.refused = ""
        self.supervisor = self.connect(endpoint, server_key)
        self._monitor: zmq.Socket[Any] | None = None
        if server_key is not None:
            self._monitor = self.supervisor.get_monitor_socket(_HANDSHAKE_FAILED)
            self._poller.register(self._monitor, zmq.POLLIN)

    def connect(self, endpoint: str, server_key: bytes | None) -> zmq.Socket[Any]:
        """Open a socket to a supervisor or a peer."""
        socket: zmq.Socket[Any] = self.context.socket(zmq.DEALER)
        tune(socket)
        if server_key is not None:
            assert self.keys is not None
            socket.curve_serverkey = server_key
            socket.curve_publickey, socket.curve_secretkey = self.keys.public, self.keys.secret
        self.watch(socket)
        socket.connect(endpoint)
        return socket

    def watch(self, socket: zmq.Socket[Any]) -> None:
        """Include a socket in the poll."""
        self._poller.register(socket, zmq.POLLIN)

    def drop(self, socket: zmq.Socket[Any]) -> None:
        """Close a socket at once."""
        if socket in self._poller:
            self._poller.unregister(socket)
        socket.close(0)

    def poll(self, timeout: float | None) -> list[zmq.Socket[Any]]:
        """Wait for messages, for `timeout` seconds at the most (None: until something comes).

        Returns: the sockets that have something to read.
        """
        ready = self._poller.poll(None if timeout is None else max(0, timeout * 1000))
        sockets: list[zmq.Socket[Any]] = []
        for socket, _ in ready:
            if socket == self._wake:
                self._clear_wake()
            elif socket is self._monitor:
                self._read_monitor()
            else:
                sockets.append(socket)
        return sockets

    def wake(self) -> None:
        """End a poll that runs in another thread."""
        os.eventfd_write(self._wake, 1)

    def _clear_wake(self) -> None:
        try:
            os.eventfd_read(self._wake)
        except BlockingIOError:
            pass

    def _read_monitor(self) -> None:
        assert self._monitor is not None
        event = recv_monitor_message(self._monitor)["event"]
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            self.refused = "the supervisor does not know this key, or has revoked it"
        elif event & _HANDSHAKE_FAILED:
            self.refused = "the handshake failed: the server key is not this supervisor's"

    def close(self, linger: float = 0.0) -> None:
        """Close everything; what was sent has `linger` seconds to leave."""
        if self._monitor is not None:
            self.supervisor.disable_monitor()
        self.supervisor.close(int(linger * 1000))
        self.context.destroy(linger=0) if linger == 0 else self.context.term()
        os.close(self._wake)
