"""Direct connections between two processes that talk a lot.

The supervisor introduces them: it tells the one to listen for the other, with a ticket, and the other where
to connect. Until the handshake is done, and whenever the path breaks, messages go through the supervisor;
streams are numbered, so the application cannot tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import zmq

from rackactor import link as _link
from rackactor import wire
from rackactor.errors import ProtocolError
from rackactor.wire import Header, Kind, parse_header, parse_map
from rackactor.zap import Authenticator

if TYPE_CHECKING:
    from rackactor.exchange import Exchange


_FOR_STREAMS = frozenset({Kind.DATA, Kind.ACK, Kind.BEAT})


class Path(NamedTuple):
    """How a directly connected peer is reached: a socket, and on a listening one its identity there."""

    socket: zmq.Socket[Any]
    identity: bytes | None


class Guest(NamedTuple):
    """Who is expected at the listening socket."""

    pid: int
    incarnation: int


class Direct:
    """The direct connections of one agent (used by the holder of the baton only)."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._listener: zmq.Socket[Any] | None = None
        self._endpoint = ""
        self._zap: Authenticator | None = None
        self._keys: set[bytes] = set()
        self._expected: dict[bytes, Guest] = {}
        self._guests: dict[bytes, Guest] = {}
        self._hosts: dict[zmq.Socket[Any], Guest] = {}

    def ask_for(self, pid: int) -> None:
        """Ask the supervisor for an introduction; without one, nothing changes."""
        self._exchange.request("introduce", {"pid": pid})

    def event(self, name: str, fields: dict[str, Any]) -> None:
        """Do what the supervisor says: listen for a peer, or meet one."""
        if name == "listen":
            self._listen(fields)
        else:
            self._meet(fields)

    def forget(self, pid: int) -> None:
        """Close the connection to a peer that is gone."""
        for socket, host in list(self._hosts.items()):
            if host.pid == pid:
                del self._hosts[socket]
                self._exchange.link.drop(socket)

    def send(self, path: Path, frames: Sequence[Any]) -> bool:
        """Send on a direct path; False when it is broken."""
        try:
            _link.send(path.socket, frames if path.identity is None else [path.identity, *frames])
        except zmq.ZMQError:
            return False
        return True

    def beat(self, pid: int, path: Path) -> None:
        """Ask a direct peer to acknowledge what it has."""
        self.send(path, self._frames(pid, Kind.BEAT))

    def close(self) -> None:
        """Close everything."""
        for socket in [*self._hosts, *([self._listener] if self._listener else [])]:
            socket.close(0)
        if self._zap is not None:
            self._zap.socket.close(0)

    def read(self, socket: zmq.Socket[Any]) -> None:
        """Take what waits on a direct socket."""
        if self._zap is not None and socket is self._zap.socket:
            self._zap.answer()
            return
        for _ in range(256):
            if socket.closed:
                return
            frames = _link.receive(socket, 3 if socket is self._listener else 2)
            if frames is None:
                return
            try:
                if socket is self._listener:
                    self._from_guest(frames[0], parse_header(frames[2]), frames[3:])
                else:
                    self._from_host(socket, parse_header(frames[1]), frames[2:])
            except (ProtocolError, IndexError):
                continue

    def _listen(self, fields: dict[str, Any]) -> None:
        if self._listener is None:
            self._listener = self._bind(fields["bind"])
        if fields.get("key"):
            self._keys.add(fields["key"])
        self._expected[fields["ticket"]] = Guest(fields["pid"], fields["incarnation"])
        answer = {"pid": fields["pid"], "endpoint": self._endpoint, "ticket": fields["ticket"]}
        self._exchange.request("listening", answer)

    def _bind(self, bind: str) -> zmq.Socket[Any]:
        context = self._exchange.link.context
        keys = self._exchange.keys
        if keys is not None:
            self._zap = Authenticator(context, lambda key: key in self._keys)
            self._exchange.link.watch(self._zap.socket)
        listener: zmq.Socket[Any] = context.socket(zmq.ROUTER)
        _link.tune(listener)
        listener.setsockopt(zmq.ROUTER_MANDATORY, 1)
        if keys is not None:
            listener.curve_server = True
            listener.curve_publickey, listener.curve_secretkey = keys.public, keys.secret
        listener.bind(bind)
        self._endpoint = _link.endpoint(listener)
        self._exchange.link.watch(listener)
        return listener

    def _from_guest(self, identity: bytes, header: Header, bodies: list[Any]) -> None:
        guest = self._guests.get(identity)
        if header.kind is Kind.JOIN and guest is None:
            ticket = parse_map(bodies[0]).get("ticket")
            guest = self._expected.pop(ticket, None) if type(ticket) is bytes else None
            if guest is None or (header.pid, header.incarnation) != guest:
                return
            self._guests[identity] = guest
            path = Path(self._listener, identity)  # type: ignore[arg-type]
            if self.send(path, self._frames(guest.pid, Kind.WELCOME)):
                self._exchange.switch(guest.pid, path)
        elif guest == (header.pid, header.incarnation) and header.kind in _FOR_STREAMS:
            self._exchange.arrived(header, bodies)

    def _meet(self, fields: dict[str, Any]) -> None:
        try:
            socket = self._exchange.link.connect(fields["endpoint"], fields.get("key"))
        except (zmq.ZMQError, ValueError):
            return  # not an endpoint that this host can reach: the supervisor goes on relaying
        self._hosts[socket] = Guest(fields["pid"], fields["incarnation"])
        self.send(Path(socket, None), self._frames(fields["pid"], Kind.JOIN, {"ticket": fields["ticket"]}))

    def _from_host(self, socket: zmq.Socket[Any], header: Header, bodies: list[Any]) -> None:
        host = self._hosts.get(socket)
        if host is None or host != (header.pid, header.incarnation):
            return
        if header.kind is Kind.WELCOME:
            self._exchange.switch(host.pid, Path(socket, None))
        elif header.kind in _FOR_STREAMS:
            self._exchange.arrived(header, bodies)

    def _frames(self, pid: int, kind: Kind, body: dict[str, Any] | None = None) -> list[Any]:
        exchange = self._exchange
        header = Header(kind, exchange.epoch, exchange.pid, exchange.incarnation, 0)
        return [wire.pack_route(pid), header.pack(), *([] if body is None else [wire.pack_body(body)])]
