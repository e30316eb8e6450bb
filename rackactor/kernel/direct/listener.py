"""Where an agent listens for direct connections: a ZeroMQ socket, and on one host a UNIX socket beside it.

Opened when the supervisor first asks for it. Over a network only those keys are let in that the supervisor has named,
and connections that do not join in time are cut (`rackactor.kernel.transport.newcomers`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import zmq

from rackactor.kernel.identity import Identity
from rackactor.kernel.transport import netaddr, seqpacket, sockets
from rackactor.kernel.transport.newcomers import Gate
from rackactor.kernel.transport.seqpacket import LocalChannel
from rackactor.kernel.transport.sockets import Sockets
from rackactor.kernel.transport.zap import Authenticator

#: Seconds until callers are looked at again which could not be taken.
_LATER = 1.0
#: Seconds between two looks at connections that have not joined.
_LOOK = 0.1


class Listener:
    """See the module (used by the leader only).

    Args:
        sockets: those of the agent.
        identity: who it is.
        at_time: runs an action in so many seconds.
    """

    def __init__(
        self, sockets: Sockets, identity: Identity, at_time: Callable[[float, Callable[[], None]], None]
    ) -> None:
        self._sockets = sockets
        self._identity = identity
        self._at_time = at_time
        #: None before it is open; the channel also where there is none.
        self.socket: zmq.Socket[Any] | None = None
        self.channel: LocalChannel | None = None
        #: Where others reach the socket.
        self.endpoint = ""
        #: Learns of connections that say something for the first time; None on one host.
        self.gate: Gate | None = None
        self._looking = False
        self._zap: Authenticator | None = None
        self._keys: set[bytes] = set()

    def expect(self, key: bytes) -> None:
        """Let in whoever has this key."""
        self._keys.add(key)

    def refuse(self, key: bytes) -> None:
        """Let nobody in with this key any more."""
        self._keys.discard(key)

    def open(self, bind: str) -> bool:
        """Listen, unless it does already; False when there is nowhere to listen at this moment.

        Args:
            bind: a ZeroMQ endpoint; "": where we come from when we speak to the supervisor.
        """
        if self.socket is None:
            try:
                self.socket = self._bind(bind)
            except (OSError, zmq.ZMQError):
                return False
        return True

    def _bind(self, bind: str) -> zmq.Socket[Any]:
        context = self._sockets.context
        keys = self._identity.keys
        if not bind:
            bind = netaddr.listener(netaddr.toward(self._sockets.endpoint))
        if keys is not None and self._zap is None:
            self._zap = Authenticator(context, lambda key: key in self._keys)
            self._sockets.watch(self._zap.socket)
        listener: zmq.Socket[Any] = context.socket(zmq.ROUTER)
        sockets.tune(listener)
        listener.setsockopt(zmq.RCVHWM, sockets.QUEUE)
        listener.setsockopt(zmq.ROUTER_MANDATORY, 1)
        if keys is not None:
            sockets.watch_over(listener)
            listener.curve_server = True
            listener.curve_publickey, listener.curve_secretkey = keys.public, keys.secret
        if netaddr.is_ipv6(bind):
            listener.setsockopt(zmq.IPV6, 1)
        gate = None
        try:
            if keys is not None:
                gate = Gate(listener, remote=True)
                self._sockets.watch(gate.events)
            listener.bind(bind)
        except (OSError, zmq.ZMQError):
            if gate is not None:
                self._sockets.unwatch(gate.events)
                gate.close()
            listener.close(0)
            raise
        self.gate, self.endpoint = gate, sockets.endpoint(listener)
        self._sockets.watch(listener)
        place = seqpacket.place(self.endpoint)
        if place is not None:
            self._open_channel(place)
        return listener

    def _open_channel(self, place: str) -> None:
        """Listen for those who take the short way, if that can be: there is the usual way too."""
        try:
            channel = seqpacket.listen(place)
        except OSError:
            return
        try:
            self._sockets.watch(channel)
        except OSError:
            channel.close()
            return
        self.channel = channel

    # -- who comes in ----------------------------------------------------------------------------------

    def read(self, socket: zmq.Socket[Any]) -> bool:
        """Take what is about keys, and about connections coming and going; False: it is a message."""
        if self.gate is not None and socket is self.gate.events:
            self.gate.read()
            if not self._looking:
                self._look()
            return True
        if self._zap is not None and socket is self._zap.socket:
            self._zap.answer()
            return True
        return False

    def joined(self, identity: bytes) -> None:
        """Take note that a connection has shown a good ticket."""
        if self.gate is not None:
            self.gate.joined(identity)

    def refused(self, identity: bytes) -> None:
        """Take note that a connection has said what it may not."""
        if self.gate is not None:
            self.gate.refused(identity)
            if not self._looking:
                self._look()

    def _look(self) -> None:
        """Cut connections that were to join and do not, and look again while there are others."""
        assert self.gate is not None
        self.gate.turn(time.monotonic())
        self._looking = self.gate.is_busy
        if self._looking:
            self._at_time(_LOOK, self._look)

    def callers(self) -> Iterator[LocalChannel]:
        """Yield those who have come the short way; they are watched already."""
        assert self.channel is not None
        try:
            while (caller := seqpacket.accept(self.channel)) is not None:
                try:
                    self._sockets.watch(caller)
                except OSError:
                    caller.close()
                    raise
                yield caller
        except OSError:  # it would only be told of them again, at once; until later the usual way has to do
            self._sockets.unwatch(self.channel)
            self._at_time(_LATER, self._watch_channel)

    def _watch_channel(self) -> None:
        assert self.channel is not None
        try:
            self._sockets.watch(self.channel)
        except OSError:
            self._at_time(_LATER, self._watch_channel)

    def close(self) -> None:
        """Close everything."""
        if self.gate is not None:
            self.gate.close()
        if self.socket is not None:
            self.socket.close(0)
        if self.channel is not None:
            self.channel.close()
        if self._zap is not None:
            self._zap.socket.close(0)
