"""Direct connections between two processes that talk a lot.

The supervisor introduces them: it tells the one to listen for the other, with a ticket, and the other where
to connect. Until the handshake is done, and whenever the path breaks, messages go through the supervisor;
streams are numbered, so the application cannot tell.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import msgpack
import zmq

from rackactor.kernel import interrupts, netaddr, seqpacket, sockets
from rackactor.kernel.identity import Identity
from rackactor.kernel.newcomers import Gate
from rackactor.kernel.path_monitor import Action, Paths, Step
from rackactor.kernel.peers import Peers, Sending
from rackactor.kernel.seqpacket import LocalChannel
from rackactor.kernel.sockets import Sockets
from rackactor.kernel.uplink import Uplink
from rackactor.kernel.zap import Authenticator
from rackactor.wire.frames import Header, Kind, pack_body, pack_route, parse_header, parse_map
from rackactor.wire.stream import Entry

#: Seconds until callers are looked at again which could not be taken.
_LATER = 1.0
#: Seconds between two looks at connections that have not joined.
_LOOK = 0.1
_FOR_STREAMS = frozenset({Kind.DATA, Kind.ACK, Kind.BEAT})


class Path(NamedTuple):
    """How a directly connected peer is reached: a socket, on a listening one its identity there, the short way."""

    socket: zmq.Socket[Any]
    identity: bytes | None
    line: LocalChannel | None = None
    #: Of the introduction that it came from.
    number: int = 0


class Guest(NamedTuple):
    """Who is expected at the listening socket."""

    pid: int
    incarnation: int


class _Meeting:
    """An introduction, and what there is of its connection."""

    __slots__ = ("identity", "socket", "ticket")

    def __init__(self, ticket: bytes, socket: zmq.Socket[Any] | None = None) -> None:
        self.ticket = ticket
        #: Where we connect; None where we listen.
        self.socket = socket
        #: Of the connection at our listening socket.
        self.identity = b""


class Receiver(Protocol):
    """Who takes what comes over direct connections, and keeps the time."""

    def arrived(self, header: Header, bodies: list[Any]) -> None:
        """Take a message of a stream."""

    def took(self, pid: int, incarnation: int, numbers: tuple[int, int, int, int], entries: list[Entry]) -> None:
        """Take messages of a stream."""

    def malformed(self, pid: int, error: Exception) -> None:
        """Learn that a process has sent what nobody of this wire sends."""

    def at_time(self, delay: float, action: Callable[[], None]) -> None:
        """Run `action` in `delay` seconds."""


class Direct:
    """The direct connections of one agent (used by the leader only).

    Args:
        sockets: those of this agent.
        identity: who this agent is.
        uplink: to the supervisor, who introduces.
        peers: the streams.
        paths: what is known of the connections' health.
        receiver: see there.
    """

    def __init__(
        self, sockets: Sockets, identity: Identity, uplink: Uplink, peers: Peers, paths: Paths, receiver: Receiver
    ) -> None:
        self._sockets = sockets
        self._identity = identity
        self._uplink = uplink
        self._peers = peers
        self._monitor = paths
        self._receiver = receiver
        self._listener: zmq.Socket[Any] | None = None
        self._endpoint = ""
        self._gate: Gate | None = None
        self._looking = False
        self._zap: Authenticator | None = None
        self._keys: set[bytes] = set()
        self._expected: dict[bytes, Guest] = {}
        self._guests: dict[bytes, Guest] = {}
        self._hosts: dict[zmq.Socket[Any], Guest] = {}
        self._paths: dict[int, Path] = {}
        self._met: dict[zmq.Socket[Any], tuple[str, bytes]] = {}
        self._door: LocalChannel | None = None
        self._lines: dict[LocalChannel, Guest | None] = {}  # None: it has not shown its ticket yet
        self._pack = msgpack.packb
        self._tickets: dict[bytes, Guest] = {}
        self._meetings: dict[tuple[int, int], _Meeting] = {}  # by pid, and the number of the introduction
        self._numbers: dict[zmq.Socket[Any] | bytes, int] = {}  # of a socket, or of a ticket

    def ask_for(self, pid: int) -> None:
        """Ask the supervisor for an introduction; without one, nothing changes."""
        if self._full:
            return
        self._uplink.request("introduce", {"pid": pid})
        if self._identity.keys is not None:
            self._monitor.asked(pid, time.monotonic())

    @property
    def _full(self) -> bool:
        return len(self._paths) + len(self._expected) + len(self._met) >= sockets.max_direct_peers()

    def event(self, name: str, fields: dict[str, Any]) -> None:
        """Do what the supervisor says: listen for a peer, or meet one."""
        if name == "part":
            self._part(fields["pid"], fields["numbers"])
        elif not self._full:  # else the supervisor goes on relaying
            (self._listen if name == "listen" else self._meet)(fields)

    def forget(self, pid: int) -> None:
        """Close the connection to a peer that is gone."""
        path = self._paths.pop(pid, None)
        if path is not None and path.line is not None:
            self._hang_up(path.line)
        for number in self._known(pid):
            self._drop(pid, number, listening=False)  # its last words may still be under way to us
        self._monitor.forget(pid)

    # -- giving up ---------------------------------------------------------------------------------------

    def act(self, action: Action) -> None:
        """Do what has been decided about a path."""
        pid = action.pid
        if action.step is Step.RETRY:
            self._peers.reconsider(pid)
        elif action.step is Step.GIVE_UP:
            self.give_up(pid)
        elif action.step is Step.DROP:
            if self._drop(pid, action.number):
                self._tell_part(pid, [action.number])
        elif (path := self._paths.get(pid)) is not None:
            self.beat(pid, path)

    def give_up(self, pid: int) -> None:
        """Have everything to and from a peer go through the supervisor again."""
        numbers = self._known(pid)
        self._leave(pid)
        for number in numbers:
            self._drop(pid, number)
        self._tell_part(pid, numbers)

    def _part(self, pid: int, numbers: list[int]) -> None:
        """The other one has given up: what was under way on those connections, either way, goes again.

        Whoever used one of them gives up the rest as well. The other one may still send on one of those, and only
        acknowledgements: it would never find out that it is dark.
        """
        for number in numbers:
            self._drop(pid, number)
        path = self._paths.get(pid)
        if path is not None and path.number in numbers:
            self.give_up(pid)

    def _leave(self, pid: int) -> None:
        path = self._paths.pop(pid, None)
        if path is not None and path.line is not None:
            self._hang_up(path.line)
        self._monitor.over(pid, time.monotonic())
        self._peers.switch(pid, None, again=True)

    def _tell_part(self, pid: int, numbers: list[int]) -> None:
        if numbers:
            self._uplink.request("part", {"pid": pid, "numbers": numbers})

    def _known(self, pid: int) -> list[int]:
        return [number for other, number in self._meetings if other == pid]

    def _drop(self, pid: int, number: int, *, listening: bool = True) -> bool:
        """Close what there is of a connection; False when there is nothing."""
        meeting = self._meetings.get((pid, number))
        if meeting is None or (meeting.identity and not listening):
            return False
        del self._meetings[pid, number]
        self._numbers.pop(meeting.ticket, None)
        self._expected.pop(meeting.ticket, None)
        self._tickets.pop(meeting.ticket, None)
        self._guests.pop(meeting.identity, None)  # ZeroMQ closes what is dark itself, after a while
        if meeting.socket is not None:
            self._numbers.pop(meeting.socket, None)
            self._met.pop(meeting.socket, None)
            del self._hosts[meeting.socket]
            self._sockets.drop(meeting.socket)
        return True

    def send(self, path: Path, frames: Sequence[Any]) -> bool:
        """Send on a direct path; False when it is broken."""
        try:
            if path.line is not None and seqpacket.send(path.line, frames):
                return True
        except OSError:
            self._hang_up(path.line)  # type: ignore[arg-type]
        try:
            self._sockets.send(path.socket, frames if path.identity is None else [path.identity, *frames])
        except zmq.ZMQError:
            return False
        return True

    def pass_on(self, pid: int, entry: Entry) -> bool:
        """Send a message on the short way, past the queue; False: it goes the usual one, and nothing has happened."""
        path = self._paths.get(pid)
        line = None if path is None else path.line
        if line is None or entry.more or len(entry.payload) > seqpacket.SMALL:
            return False
        numbers = self._peers.pass_on(pid, entry)
        if numbers is None:
            return False
        self.transmit(Sending(pid, path, Kind.DATA, numbers, (entry,)))
        return True

    def transmit(self, sending: Sending) -> None:
        """Send a message of a stream on its direct path; where that is broken, it goes through the supervisor."""
        if not self._try(sending):
            self.give_up(sending.pid)
        elif self._identity.keys is not None and sending.kind is Kind.DATA:  # what goes over a network may vanish
            self._monitor.sent(sending.pid, time.monotonic())

    def _try(self, sending: Sending) -> bool:
        pid, path, kind, numbers, entries = sending
        line = path.line
        if line is not None and entries:
            try:
                if seqpacket.send_data(line, numbers, entries, self._pack):
                    return True
            except OSError:
                self._hang_up(line)
                return True  # it goes again with everything else that was on it
        return self.send(path, [pack_route(pid), self._identity.header(kind, numbers), *sending.bodies])

    def beat(self, pid: int, path: Path) -> None:
        """Ask a direct peer to acknowledge what it has."""
        self.send(path, self._frames(pid, Kind.BEAT))

    def close(self) -> None:
        """Close everything."""
        if self._gate is not None:
            self._gate.close()
        for socket in [*self._hosts, *([self._listener] if self._listener else [])]:
            socket.close(0)
        for line in [*self._lines, *([self._door] if self._door else [])]:
            line.close()
        if self._zap is not None:
            self._zap.socket.close(0)

    def read(self, socket: zmq.Socket[Any]) -> None:
        """Take what waits on a direct socket."""
        if self._gate is not None and socket is self._gate.events:
            self._gate.read()
            if not self._looking:
                self._look()
            return
        if self._zap is not None and socket is self._zap.socket:
            self._zap.answer()
            return
        for _ in range(256):
            if socket.closed:
                return
            listening = socket is self._listener
            frames = sockets.receive(socket, 3 if listening else 2, self._gate if listening else None)
            if frames is None:
                return
            try:
                if listening:
                    self._from_guest(frames[0], parse_header(frames[2]), frames[3:])
                else:
                    self._from_host(socket, parse_header(frames[1]), frames[2:])
            except Exception as error:  # whatever has come
                if interrupts.comes_from_a_handler(error):
                    raise
                if listening:
                    self._refuse(frames[0])
                guest = self._guests.get(frames[0]) if listening else self._hosts.get(socket)
                if guest is not None:
                    self._receiver.malformed(guest.pid, error)

    def _listen(self, fields: dict[str, Any]) -> None:
        if self._listener is None:
            try:
                self._listener = self._bind(fields["bind"])
            except (OSError, zmq.ZMQError):
                return  # no way leads to the supervisor at this moment: there is nowhere to listen
        if fields.get("key"):
            self._keys.add(fields["key"])
        if self._identity.keys is None:  # over a network it may be that only one of the two can reach the other
            self._peers.introduced(fields["pid"])
        guest = Guest(fields["pid"], fields["incarnation"])
        self._expected[fields["ticket"]] = guest
        self._meetings[guest.pid, fields["number"]] = _Meeting(fields["ticket"])
        self._numbers[fields["ticket"]] = fields["number"]
        if self._door is not None:
            self._tickets[fields["ticket"]] = guest
        answer = {key: fields[key] for key in ("pid", "ticket", "number")} | {"endpoint": self._endpoint}
        self._uplink.request("listening", answer)

    def _bind(self, bind: str) -> zmq.Socket[Any]:
        context = self._sockets.context
        keys = self._identity.keys
        if not bind:  # where others reach us is where we come from
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
        self._gate, self._endpoint = gate, sockets.endpoint(listener)
        self._sockets.watch(listener)
        place = seqpacket.place(self._endpoint)
        if place is not None:
            self._open_door(place)
        return listener

    def _open_door(self, place: str) -> None:
        """Open the short way's door, if that can be: there is the usual way too."""
        try:
            door = seqpacket.open_door(place)
        except OSError:
            return
        try:
            self._sockets.watch(door)
        except OSError:
            door.close()
            return
        self._door = door

    def _from_guest(self, identity: bytes, header: Header, bodies: list[Any]) -> None:
        guest = self._guests.get(identity)
        if header.kind is Kind.JOIN and guest is None:
            ticket = parse_map(bodies[0]).get("ticket")
            guest = self._expected.pop(ticket, None) if type(ticket) is bytes else None
            if guest is None or (header.pid, header.incarnation) != guest:
                self._refuse(identity)
                return
            self._guests[identity] = guest
            if self._gate is not None:
                self._gate.joined(identity)
            number = self._numbers[ticket]  # type: ignore[index]
            self._meetings[guest.pid, number].identity = identity
            path = Path(self._listener, identity, None, number)  # type: ignore[arg-type]
            if self.send(path, self._frames(guest.pid, Kind.WELCOME)):
                self._take_path(guest.pid, path)
        elif guest == (header.pid, header.incarnation) and header.kind in _FOR_STREAMS:
            self._receiver.arrived(header, bodies)
        elif guest is None:
            self._refuse(identity)

    def _refuse(self, identity: bytes) -> None:
        if self._gate is not None:
            self._gate.refused(identity)
            if not self._looking:
                self._look()

    def _look(self) -> None:
        """Cut connections that were to join and do not, and look again while there are others."""
        assert self._gate is not None
        self._gate.turn(time.monotonic())
        self._looking = self._gate.is_busy
        if self._looking:
            self._receiver.at_time(_LOOK, self._look)

    def _meet(self, fields: dict[str, Any]) -> None:
        if (fields["pid"], fields["number"]) in self._meetings:
            return  # nobody is introduced twice
        try:
            socket = self._sockets.connect(fields["endpoint"], fields.get("key"))
        except (zmq.ZMQError, OSError, ValueError):
            return  # not an endpoint that this host can reach: the supervisor goes on relaying
        self._hosts[socket] = Guest(fields["pid"], fields["incarnation"])
        self._met[socket] = (fields["endpoint"], fields["ticket"])
        self._meetings[fields["pid"], fields["number"]] = _Meeting(fields["ticket"], socket)
        self._numbers[socket] = fields["number"]
        if self._identity.keys is not None:
            self._monitor.met(fields["pid"], fields["number"], time.monotonic())
        self.send(Path(socket, None), self._frames(fields["pid"], Kind.JOIN, {"ticket": fields["ticket"]}))

    def _from_host(self, socket: zmq.Socket[Any], header: Header, bodies: list[Any]) -> None:
        host = self._hosts.get(socket)
        if host is None or host != (header.pid, header.incarnation):
            return
        if header.kind is Kind.WELCOME:
            self._take_path(host.pid, Path(socket, None, None, self._numbers[socket]))
            self._dial(host, *self._met.pop(socket, ("", b"")))
        elif header.kind in _FOR_STREAMS:
            self._receiver.arrived(header, bodies)

    def _take_path(self, pid: int, path: Path, *, again: bool = False) -> None:
        self._paths[pid] = path
        self._peers.switch(pid, path, again=again)
        if self._identity.keys is not None:
            self._monitor.taken(pid, path.number, time.monotonic())

    # -- the short way ---------------------------------------------------------------------------------

    def _dial(self, host: Guest, endpoint: str, ticket: bytes) -> None:
        place = seqpacket.place(endpoint)
        line = seqpacket.dial(place) if place is not None else None
        if line is None:
            return
        self._lines[line] = host
        try:
            self._sockets.watch(line)
            seqpacket.send(line, self._frames(host.pid, Kind.JOIN, {"ticket": ticket}))
        except OSError:
            self._hang_up(line)

    def read_line(self, line: LocalChannel) -> None:
        """Take what waits on a short way."""
        if line is self._door:
            try:
                self._take_callers(line)
            except OSError:  # it would only be told of them again, at once; until later the usual way has to do
                self._sockets.unwatch(line)
                self._receiver.at_time(_LATER, self._watch_door)
        elif line in self._lines and not seqpacket.receive(line, self._from_line, self._spoilt):
            self._hang_up(line)

    def _watch_door(self) -> None:
        assert self._door is not None
        try:
            self._sockets.watch(self._door)
        except OSError:
            self._receiver.at_time(_LATER, self._watch_door)

    def _take_callers(self, door: LocalChannel) -> None:
        while (caller := seqpacket.accept(door)) is not None:
            try:
                self._sockets.watch(caller)
            except OSError:
                caller.close()
                raise
            self._lines[caller] = None

    def _spoilt(self, line: LocalChannel, error: Exception) -> None:
        peer = self._lines.get(line)
        if peer is not None:
            self._receiver.malformed(peer.pid, error)

    def _from_line(self, line: LocalChannel, fields: list[Any]) -> None:
        peer = self._lines.get(line)
        if peer is not None and seqpacket.is_data(fields):
            self._receiver.took(*peer, *seqpacket.parse_data(fields))
            return
        header, bodies = seqpacket.parse_frames(fields)
        if peer is None:
            self._admit(line, header, bodies)
        elif peer != (header.pid, header.incarnation):
            return
        elif header.kind is Kind.WELCOME:
            self._shorten(peer.pid, line)
        elif header.kind in _FOR_STREAMS:
            self._receiver.arrived(header, bodies)

    def _admit(self, line: LocalChannel, header: Header, bodies: list[Any]) -> None:
        ticket = parse_map(bodies[0]).get("ticket") if header.kind is Kind.JOIN else None
        guest = self._tickets.pop(ticket, None) if type(ticket) is bytes else None
        if guest is None or guest != (header.pid, header.incarnation):
            self._hang_up(line)
            return
        self._lines[line] = guest
        try:
            if seqpacket.send(line, self._frames(guest.pid, Kind.WELCOME)):
                self._shorten(guest.pid, line)
        except OSError:
            self._hang_up(line)  # it has left already

    def _shorten(self, pid: int, line: LocalChannel) -> None:
        path = self._paths.get(pid)
        if path is not None:
            if self._pack is msgpack.packb:
                # One packer for all packets, where packb makes one each time: the leader packs alone.
                self._pack = msgpack.Packer().pack
            self._take_path(pid, path._replace(line=line))

    def _hang_up(self, line: LocalChannel) -> None:
        """Close a short way; what was on it and has not arrived goes the longer one."""
        peer = self._lines.pop(line, None)
        self._sockets.unwatch(line)
        line.close()
        path = None if peer is None else self._paths.get(peer.pid)
        if peer is not None and path is not None and path.line is line:
            self._take_path(peer.pid, path._replace(line=None), again=True)

    def _frames(self, pid: int, kind: Kind, body: dict[str, Any] | None = None) -> list[Any]:
        return [pack_route(pid), self._identity.greeting(kind), *([] if body is None else [pack_body(body)])]
