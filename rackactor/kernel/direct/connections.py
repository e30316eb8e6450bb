"""The direct connections of an agent that have been begun, each with its state. Nothing is opened or closed here."""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple

import zmq

from rackactor.kernel.transport.seqpacket import LocalChannel
from rackactor.records import dataclass
from rackactor.wire.frames import Header


class State(Enum):
    """How far a connection is."""

    #: We listen; the other one has not shown its ticket.
    EXPECTED = "expected"
    #: We have connected, and shown our ticket; the other one has not answered.
    CONNECTING = "connecting"
    #: Messages may go over it.
    JOINED = "joined"
    #: Its ticket was shown by somebody else: nothing comes of it.
    SPENT = "spent"
    #: Given up.
    CLOSED = "closed"


@dataclass(slots=True, eq=False)
class Connection:
    """One introduction to another process, and what there is of its connection."""

    pid: int
    incarnation: int
    #: Of the introduction.
    number: int
    ticket: bytes
    state: State
    #: Where we connect; None where we listen.
    socket: zmq.Socket[Any] | None = None
    #: Where that leads; "" where we listen.
    endpoint: str = ""
    #: The CURVE key with which the other one comes where we listen, over a network.
    key: bytes | None = None
    #: What ZeroMQ calls it at our listening socket, once it has joined.
    identity: bytes = b""
    #: Its ticket may still open the short way.
    opens_short_way: bool = False

    def is_from(self, header: Header) -> bool:
        """Tell whether a message that came over it is from the process that it leads to."""
        return header.pid == self.pid and header.incarnation == self.incarnation

    @property
    def is_incoming(self) -> bool:
        """Tell whether the other one has joined it at our listening socket."""
        return bool(self.identity)


class Path(NamedTuple):
    """How a directly connected peer is reached: a socket, on a listening one its identity there, the short way."""

    socket: zmq.Socket[Any]
    identity: bytes | None
    line: LocalChannel | None = None
    #: Of the introduction that it came from.
    number: int = 0


class Connections:
    """All of them, found by what is known of one."""

    def __init__(self) -> None:
        self._all: dict[tuple[int, int], Connection] = {}
        self._by_ticket: dict[bytes, Connection] = {}  # where we listen
        self._by_identity: dict[bytes, Connection] = {}
        self._by_socket: dict[zmq.Socket[Any], Connection] = {}
        self._pending: set[Connection] = set()

    def add(self, connection: Connection) -> None:
        """Take one that has been begun."""
        self._all[connection.pid, connection.number] = connection
        self._pending.add(connection)
        if connection.socket is None:
            self._by_ticket[connection.ticket] = connection
        else:
            self._by_socket[connection.socket] = connection

    def settle(self, connection: Connection, state: State, identity: bytes = b"") -> None:
        """Take note of what has become of one that could join.

        Args:
            connection: the one.
            state: joined, spent or closed.
            identity: what ZeroMQ calls it, if it has joined at our listening socket.
        """
        connection.state = state
        self._pending.discard(connection)
        if identity:
            connection.identity = identity
            self._by_identity[identity] = connection

    def close(self, connection: Connection) -> None:
        """Forget one; what is still said on it is a stranger's."""
        self.settle(connection, State.CLOSED)
        del self._all[connection.pid, connection.number]
        self._by_ticket.pop(connection.ticket, None)
        self._by_identity.pop(connection.identity, None)
        if connection.socket is not None:
            del self._by_socket[connection.socket]

    def get(self, pid: int, number: int) -> Connection | None:
        """Find the one of an introduction."""
        return self._all.get((pid, number))

    def numbers(self, pid: int) -> list[int]:
        """Return the numbers of the introductions to a process."""
        return [number for other, number in self._all if other == pid]

    def of_ticket(self, ticket: object) -> Connection | None:
        """Find the one that a ticket was made for, where we listen; whatever it is that was shown."""
        return self._by_ticket.get(ticket) if type(ticket) is bytes else None

    def at(self, identity: bytes) -> Connection | None:
        """Find the one that has joined at our listening socket, by its identity there."""
        return self._by_identity.get(identity)

    def on(self, socket: zmq.Socket[Any]) -> Connection | None:
        """Find the one that has this socket."""
        return self._by_socket.get(socket)

    @property
    def pending(self) -> int:
        """How many may still join."""
        return len(self._pending)

    @property
    def sockets(self) -> list[zmq.Socket[Any]]:
        """The sockets that we connect with."""
        return list(self._by_socket)
