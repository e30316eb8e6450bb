"""The frames on the wire: `[route][header][body ...]`.

The supervisor reads route and header and passes bodies through untouched. A route is eight bytes: the
receiver's pid and incarnation (0: whichever lives). A header is a msgpack array:

    [kind, epoch, pid, incarnation, seq, *extra]

that is: its sender (pid, incarnation), the life of the supervisor that it belongs to (epoch), and a number that grows
with each message of that sender on that connection. `extra` depends on the kind:

    JOIN                       body: {"token", "protocol", ...}
    WELCOME                    body: birth of the process; then the target and its arguments, unread
    CALL     rid, op           body: arguments; then what the op carries, unread
    REPLY    rid, ok           body: the result, or {"type", "message"}; then blobs
    EVENT    name              body: its fields
    BEAT                       no body
    REFUSED                    body: {"type", "message"}: the last word before a connection is ignored
    DATA     first, count, ack, limit      body: entries of a stream (see rackactor.wire.stream)
    ACK      ack, limit        no body
    RESUME   count             no body: the first word on a new connection, and its answer (see rackactor.wire.resend)
    RECEIVED count             no body

Everything here is pure: bytes in, records out, `ProtocolError` for anything else.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Any, NamedTuple

import msgpack

from rackactor.errors import InvalidCall, ProtocolError
from rackactor.wire.codec import pack, unpack

#: Changes with the meaning of frames; a JOIN with another number is refused.
PROTOCOL = 3
#: Limit of one frame, bytes; ZeroMQ itself disconnects a peer that announces more.
MAX_FRAME = 1 << 30
#: Limit of one message of an application, bytes: a frame less what is sent with it.
MAX_MESSAGE = MAX_FRAME - (64 << 10)
#: Limit of a header, bytes.
MAX_HEADER = 4096
#: The supervisor's own pid, as init's.
SUPERVISOR = 1

_ROUTE = struct.Struct(">II")


class Kind(IntEnum):
    """What a message is."""

    JOIN = 1
    WELCOME = 2
    CALL = 3
    REPLY = 4
    EVENT = 5
    BEAT = 6
    REFUSED = 7
    DATA = 8
    ACK = 9
    RESUME = 10
    RECEIVED = 11


#: How many extra fields each kind carries, and of which type.
_EXTRA: dict[Kind, tuple[type, ...]] = {
    Kind.JOIN: (),
    Kind.WELCOME: (),
    Kind.CALL: (int, str),
    Kind.REPLY: (int, bool),
    Kind.EVENT: (str,),
    Kind.BEAT: (),
    Kind.REFUSED: (),
    Kind.DATA: (int, int, int, int),
    Kind.ACK: (int, int),
    Kind.RESUME: (int,),
    Kind.RECEIVED: (int,),
}
_TYPES = {kind: (int,) * 5 + extra for kind, extra in _EXTRA.items()}
_KINDS = {int(kind): kind for kind in Kind}
_DATA_NUMBERS = [*_EXTRA[Kind.DATA]]
_INT_BITS = 62
_MAX_INT = 1 << _INT_BITS


class Header(NamedTuple):
    """What the supervisor reads of a message."""

    kind: Kind
    epoch: int
    pid: int
    incarnation: int
    seq: int
    extra: tuple[Any, ...] = ()

    def pack(self) -> bytes:
        """Return the header's bytes."""
        kind, epoch, pid, incarnation, seq, extra = self
        packed: bytes = msgpack.packb((int(kind), epoch, pid, incarnation, seq, *extra))
        return packed


def pack_route(pid: int, incarnation: int = 0) -> bytes:
    """Return the route frame to a process."""
    return _ROUTE.pack(pid, incarnation)


def parse_route(frame: bytes) -> tuple[int, int]:
    """Return (pid, incarnation) of a route frame.

    Raises:
        ProtocolError: it is not eight bytes.
    """
    if len(frame) != _ROUTE.size:
        raise ProtocolError(f"a route is {_ROUTE.size} bytes, not {len(frame)}")
    pid, incarnation = _ROUTE.unpack(frame)
    return pid, incarnation


def parse_header(frame: bytes) -> Header:
    """Return the header of its frame, every field checked.

    Raises:
        ProtocolError: it is not what a sender of this protocol writes.
    """
    if len(frame) > MAX_HEADER:
        raise ProtocolError(f"a header of {len(frame)} bytes (at most {MAX_HEADER})")
    fields = unpack(frame)
    if not isinstance(fields, list) or len(fields) < 5:
        raise ProtocolError("a header is an array of at least five fields")
    kind = _KINDS.get(fields[0]) if type(fields[0]) is int else None
    if kind is None:
        raise ProtocolError(f"unknown kind of message {fields[0]!r}")
    if tuple(map(type, fields)) != _TYPES[kind]:
        raise ProtocolError(f"a {kind.name} has fields of the types {[t.__name__ for t in _TYPES[kind]]}")
    numbers = [value for value in fields if type(value) is int]
    if min(numbers) < 0 or max(numbers) >= _MAX_INT:
        raise ProtocolError(f"a number of a {kind.name} is out of range")
    return Header(kind, fields[1], fields[2], fields[3], fields[4], tuple(fields[5:]))


def parse_numbers(fields: list[Any]) -> list[int]:
    """Return the numbers (first, count, ack, limit) at the head of stream messages without a header.

    Raises:
        ProtocolError: they are not what a sender of this protocol writes.
    """
    if [*map(type, fields)] != _DATA_NUMBERS:
        raise ProtocolError("messages of a stream are led by four integers")
    return [*within(*fields)]


def within(first: int, count: int, ack: int, limit: int) -> tuple[int, int, int, int]:
    """Check the numbers of a stream, and return them.

    Raises:
        ProtocolError: one is out of range.
    """
    if (first | count | ack | limit) >> _INT_BITS:  # one is too large, or negative
        raise ProtocolError("a number of a stream is out of range")
    return first, count, ack, limit


def pack_body(value: Any) -> bytes:
    """Pack the plain values of a body, strings of every kind included (see `codec.pack`)."""
    return pack(value)


def parse_map(body: bytes | memoryview) -> dict[str, Any]:
    """Unpack a body that must be a map with string keys.

    Raises:
        ProtocolError: it is anything else.
    """
    value = unpack(body)
    if not isinstance(value, dict) or not all(type(key) is str for key in value):
        raise ProtocolError("this body is a map with string keys")
    return value


def check_size(payload: bytes | memoryview) -> None:
    """Refuse what no frame can carry: a peer would cut us off for it.

    Raises:
        InvalidCall: says how large it is and may be.
    """
    if len(payload) > MAX_MESSAGE:
        raise InvalidCall(f"a message of {len(payload)} bytes; at most {MAX_MESSAGE}: send it in parts")
