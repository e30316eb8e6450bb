"""Direct connections between two processes that talk a lot.

Messages go through the supervisor at first. When two processes talk a lot, it introduces them: the one listens, and the
other connects. Until the handshake is done, and whenever the path breaks, messages go through the supervisor. Streams
are numbered, so the application cannot tell, and a direct path can be given up without harm at any time.

The steps, by their names on the wire:

1. `introduce`: a process asks the supervisor for an introduction.
2. `listen`: the other one is told to listen, with a ticket for one use.
3. `listening`: it says where. `meet`: the first one is told where to connect, with that ticket.
4. JOIN with the ticket, WELCOME: both take the path.
5. `part`: one of them has given up. The supervisor tells the other one, in order with all that it relays.

Each introduction has a number, which the supervisor gives. So a late `part` cannot end a newer connection.

States of a connection (`Connection`):

- EXPECTED, then JOINED, where we listen; SPENT if somebody else shows its ticket
- CONNECTING, then JOINED, where we connect
- CLOSED

Several connections to one process may be open. Messages take the one that joined last, the *path*; something may still
arrive on the others. A process that loses its path by a `part` gives up the others too: the other one may still send
acknowledgements on one of them, and would never find out that it is dark.

The short way: on one host the one that connects also opens a UNIX socket (`seqpacket`), and shows the same ticket
there. What is small takes it, past ZeroMQ, whose threads would have to wake for each message. It opens after the
connection has joined. When it breaks, the path goes on without it.

When a path is dark is decided in `path_monitor`, and when a connection is worth it in `peers`.

Known gap: what was given up at the end that listens stays half open until ZeroMQ's own heartbeat closes it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import msgpack
import zmq

from rackactor.kernel import interrupts
from rackactor.kernel.direct.connections import Connection, Connections, Path, State
from rackactor.kernel.direct.listener import Listener
from rackactor.kernel.direct.path_monitor import Action, Paths, Step
from rackactor.kernel.identity import Identity
from rackactor.kernel.peers import Peers, Sending
from rackactor.kernel.transport import seqpacket, sockets
from rackactor.kernel.transport.seqpacket import LocalChannel
from rackactor.kernel.transport.sockets import Sockets
from rackactor.kernel.uplink import Uplink
from rackactor.wire.calls.connections import Introduce, Listening, Part
from rackactor.wire.events import ListenEvent, MeetEvent, PartEvent
from rackactor.wire.frames import Header, Kind, pack_body, pack_route, parse_header, parse_map
from rackactor.wire.schema import Event
from rackactor.wire.stream import Entry

#: Seconds for which what a process had still to say when it ended may come from its own connection.
LAST_WORDS = 60.0
_FOR_STREAMS = frozenset({Kind.DATA, Kind.ACK, Kind.BEAT})


class Receiver(Protocol):
    """Who takes what comes over direct connections, and keeps the time."""

    def arrived(self, header: Header, bodies: list[Any]) -> None:
        """Take a message of a stream."""

    def took(self, pid: int, incarnation: int, numbers: tuple[int, int, int, int], entries: list[Entry]) -> None:
        """Take messages of a stream."""

    def malformed(self, pid: int, error: Exception) -> None:
        """Learn that a process has sent what nobody of this wire sends."""

    def at_time(self, delay: float, action: Callable[[], object]) -> None:
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
        self._listener = Listener(sockets, identity, receiver.at_time)
        self._connections = Connections()
        self._paths: dict[int, Path] = {}  # what messages take now, by pid
        self._lines: dict[LocalChannel, Connection | None] = {}  # None: it has not shown its ticket yet
        self._pack = msgpack.packb

    def ask_for(self, pid: int) -> None:
        """Ask the supervisor for an introduction; without one, nothing changes."""
        if self._full:
            return
        self._uplink.request(Introduce(pid))
        if self._identity.keys is not None:
            self._monitor.asked(pid, time.monotonic())

    @property
    def _full(self) -> bool:
        return len(self._paths) + self._connections.pending >= sockets.max_direct_peers()

    def event(self, event: Event) -> None:
        """Do what the supervisor says: listen for a peer, or meet one, or give connections up."""
        match event:
            case PartEvent():
                self._part(event.pid, event.numbers)
            case ListenEvent() if not self._full:  # else the supervisor goes on relaying
                self._listen(event)
            case MeetEvent() if not self._full:
                self._meet(event)

    def forget(self, pid: int) -> None:
        """Close the connection to a peer that is gone."""
        path = self._paths.pop(pid, None)
        if path is not None and path.line is not None:
            self._hang_up(path.line)
        for number in self._connections.numbers(pid):
            if not self._drop(pid, number, incoming=False):  # its last words may still be under way to us
                self._receiver.at_time(LAST_WORDS, partial(self._drop, pid, number))
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
        numbers = self._connections.numbers(pid)
        self._leave(pid)
        for number in numbers:
            self._drop(pid, number)
        self._tell_part(pid, numbers)

    def _part(self, pid: int, numbers: Sequence[int]) -> None:
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

    def _tell_part(self, pid: int, numbers: Sequence[int]) -> None:
        if numbers:
            self._uplink.request(Part(pid, numbers))

    def _drop(self, pid: int, number: int, *, incoming: bool = True) -> bool:
        """Close what there is of a connection; False when there is nothing.

        Of one that came in at our listening socket only the entry goes: ZeroMQ closes what is dark itself, after a
        while. Without `incoming` not even that.
        """
        connection = self._connections.get(pid, number)
        if connection is None or (connection.is_incoming and not incoming):
            return False
        self._connections.close(connection)
        if connection.socket is not None:
            self._sockets.drop(connection.socket)
        if connection.key is not None and not self._connections.numbers(pid):
            self._listener.refuse(connection.key)
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
        for socket in self._connections.sockets:
            socket.close(0)
        for line in self._lines:
            line.close()
        self._listener.close()

    def read(self, socket: zmq.Socket[Any]) -> None:
        """Take what waits on a direct socket."""
        listener = self._listener
        if listener.read(socket):
            return
        for _ in range(256):
            if socket.closed:
                return
            listening = socket is listener.socket
            frames = sockets.receive(socket, 3 if listening else 2, listener.gate if listening else None)
            if frames is None:
                return
            try:
                if listening:
                    self._from_listener(frames[0], parse_header(frames[2]), frames[3:])
                else:
                    self._from_connected(socket, parse_header(frames[1]), frames[2:])
            except Exception as error:  # whatever has come
                if interrupts.comes_from_a_handler(error):
                    raise
                if listening:
                    listener.refused(frames[0])
                connection = self._connections.at(frames[0]) if listening else self._connections.on(socket)
                if connection is not None:
                    self._receiver.malformed(connection.pid, error)

    def _listen(self, event: ListenEvent) -> None:
        if not self._listener.open(event.bind):
            return  # no way leads to the supervisor at this moment
        if event.key:
            self._listener.expect(event.key)
        if self._identity.keys is None:  # over a network it may be that only one of the two can reach the other
            self._peers.introduced(event.pid)
        expected = Connection(event.pid, event.incarnation, event.number, event.ticket, State.EXPECTED, key=event.key)
        expected.opens_short_way = self._listener.channel is not None
        self._connections.add(expected)
        self._uplink.request(Listening(event.pid, event.number, event.ticket, self._listener.endpoint))

    def _from_listener(self, identity: bytes, header: Header, bodies: list[Any]) -> None:
        connection = self._connections.at(identity)
        if connection is not None:
            if header.kind in _FOR_STREAMS and connection.is_from(header):
                self._receiver.arrived(header, bodies)
        elif header.kind is Kind.JOIN:
            self._welcome(identity, header, parse_map(bodies[0]).get("ticket"))
        else:
            self._listener.refused(identity)

    def _welcome(self, identity: bytes, header: Header, ticket: object) -> None:
        """Let in who shows the ticket of one that is expected, if it is that one; a ticket is good for one try."""
        connection = self._connections.of_ticket(ticket)
        if connection is None or connection.state is not State.EXPECTED:
            self._listener.refused(identity)
            return
        if not connection.is_from(header):
            self._connections.settle(connection, State.SPENT)
            self._listener.refused(identity)
            return
        self._connections.settle(connection, State.JOINED, identity)
        self._listener.joined(identity)
        path = Path(self._listener.socket, identity, None, connection.number)  # type: ignore[arg-type]
        if self.send(path, self._frames(connection.pid, Kind.WELCOME)):
            self._take_path(connection.pid, path)

    def _meet(self, event: MeetEvent) -> None:
        pid, number, ticket = event.pid, event.number, event.ticket
        if self._connections.get(pid, number) is not None:
            return  # nobody is introduced twice
        try:
            socket = self._sockets.connect(event.endpoint, event.key)
        except (zmq.ZMQError, OSError, ValueError):
            return  # not an endpoint that this host can reach: the supervisor goes on relaying
        met = Connection(pid, event.incarnation, number, ticket, State.CONNECTING, socket, event.endpoint)
        self._connections.add(met)
        if self._identity.keys is not None:
            self._monitor.met(pid, number, time.monotonic())
        self.send(Path(socket, None), self._frames(pid, Kind.JOIN, {"ticket": ticket}))

    def _from_connected(self, socket: zmq.Socket[Any], header: Header, bodies: list[Any]) -> None:
        connection = self._connections.on(socket)
        if connection is None or not connection.is_from(header):
            return
        if header.kind is Kind.WELCOME:
            self._take_path(connection.pid, Path(socket, None, None, connection.number))
            if connection.state is State.CONNECTING:
                self._connections.settle(connection, State.JOINED)
                self._dial(connection)
        elif header.kind in _FOR_STREAMS:
            self._receiver.arrived(header, bodies)

    def _take_path(self, pid: int, path: Path, *, again: bool = False) -> None:
        self._paths[pid] = path
        self._peers.switch(pid, path, again=again)
        if self._identity.keys is not None:
            self._monitor.taken(pid, path.number, time.monotonic())

    # -- the short way ---------------------------------------------------------------------------------

    def _dial(self, connection: Connection) -> None:
        place = seqpacket.place(connection.endpoint)
        line = seqpacket.dial(place) if place is not None else None
        if line is None:
            return
        self._lines[line] = connection
        try:
            self._sockets.watch(line)
            seqpacket.send(line, self._frames(connection.pid, Kind.JOIN, {"ticket": connection.ticket}))
        except OSError:
            self._hang_up(line)

    def read_line(self, line: LocalChannel) -> None:
        """Take what waits on a short way."""
        if line is self._listener.channel:
            for caller in self._listener.callers():
                self._lines[caller] = None
        elif line in self._lines and not seqpacket.receive(line, self._from_line, self._spoilt):
            self._hang_up(line)

    def _spoilt(self, line: LocalChannel, error: Exception) -> None:
        connection = self._lines.get(line)
        if connection is not None:
            self._receiver.malformed(connection.pid, error)

    def _from_line(self, line: LocalChannel, fields: list[Any]) -> None:
        connection = self._lines.get(line)
        if connection is not None and seqpacket.is_data(fields):
            self._receiver.took(connection.pid, connection.incarnation, *seqpacket.parse_data(fields))
            return
        header, bodies = seqpacket.parse_frames(fields)
        if connection is None:
            self._admit(line, header, bodies)
        elif not connection.is_from(header):
            return
        elif header.kind is Kind.WELCOME:
            self._shorten(connection.pid, line)
        elif header.kind in _FOR_STREAMS:
            self._receiver.arrived(header, bodies)

    def _admit(self, line: LocalChannel, header: Header, bodies: list[Any]) -> None:
        ticket = parse_map(bodies[0]).get("ticket") if header.kind is Kind.JOIN else None
        connection = self._connections.of_ticket(ticket)
        if connection is None or not connection.opens_short_way:
            self._hang_up(line)
            return
        connection.opens_short_way = False
        if not connection.is_from(header):
            self._hang_up(line)
            return
        self._lines[line] = connection
        try:
            if seqpacket.send(line, self._frames(connection.pid, Kind.WELCOME)):
                self._shorten(connection.pid, line)
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
        connection = self._lines.pop(line, None)
        self._sockets.unwatch(line)
        line.close()
        path = None if connection is None else self._paths.get(connection.pid)
        if connection is not None and path is not None and path.line is line:
            self._take_path(connection.pid, path._replace(line=None), again=True)

    def _frames(self, pid: int, kind: Kind, body: dict[str, Any] | None = None) -> list[Any]:
        return [pack_route(pid), self._identity.greeting(kind), *([] if body is None else [pack_body(body)])]
