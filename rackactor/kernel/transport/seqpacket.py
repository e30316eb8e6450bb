"""The short way between two processes of one host, for small messages.

A message through ZeroMQ wakes two more threads on its way. Two processes that are connected directly over ipc also
open a plain UNIX socket that keeps packets apart, and send on it what is small, as long as the kernel takes it at
once; everything else goes the longer way, at the same time. Streams are numbered, so it does not matter who is first.

A packet is one msgpack array: of the frames that ZeroMQ would carry, or, for the messages of a stream, of

    [first, count, ack, limit, kind, rid, payload, kind, rid, payload, ...]

without a header, since a connection that has shown its ticket is always the same process. Packing and reading one
array instead of three is what makes a round trip short.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from typing import Any

import msgpack

from rackactor.errors import ProtocolError
from rackactor.kernel import interrupts
from rackactor.wire.codec import unpack
from rackactor.wire.frames import Header, parse_header, parse_numbers, within
from rackactor.wire.stream import Entry, flatten, message, unflatten

#: Packets up to this size take the short way, bytes.
SMALL = 16 << 10
_ROOM = 64 << 10
#: A packet up to this size is taken for the only one: its sender is not busy, and the next poll tells of others.
_SINGLE = 4 << 10
#: The types of the fields of a packet of one message.
_ONE = [int, int, int, int, int, int, bytes]
#: Connections that have not shown a ticket yet, at the most.
_STRANGERS = 64

LocalChannel = socket.socket


def place(endpoint: str) -> str | None:
    """Return where the short way beside a ZeroMQ endpoint begins, or None where there is none."""
    return endpoint[len("ipc://") :] + ".s" if endpoint.startswith("ipc://") else None


def listen(path: str) -> LocalChannel:
    """Listen for connections."""
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    try:
        channel.bind(path)
        os.chmod(path, 0o600)
        channel.listen(_STRANGERS)
    except OSError:
        channel.close()
        raise
    return channel


def dial(path: str) -> LocalChannel | None:
    """Connect, or return None if that cannot be done at once: there is the longer way."""
    try:
        line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    except OSError:
        return None
    try:
        line.connect(path)
    except OSError:
        line.close()
        return None
    return line


def accept(channel: LocalChannel) -> LocalChannel | None:
    """Take one connection, or None when nobody waits.

    Raises:
        OSError: it cannot be taken now: no descriptor is left, or no memory.
    """
    try:
        line, _ = channel.accept()
    except (BlockingIOError, ConnectionError):
        return None
    line.setblocking(False)
    return line


def send(line: LocalChannel, frames: Sequence[Any]) -> bool:
    """Send a small message; False when it is too large, or the kernel has no room for it now.

    Raises:
        OSError: the connection is broken.
    """
    if sum(map(len, frames)) > SMALL:
        return False
    return _put(line, msgpack.packb([bytes(frame) for frame in frames]))


def send_data(
    line: LocalChannel, numbers: tuple[int, ...], entries: Sequence[Entry], pack: Callable[[Any], bytes] = msgpack.packb
) -> bool:
    """Send messages of a stream: see `send`.

    Args:
        line: where to.
        numbers: first, count, ack, limit.
        entries: the messages.
        pack: packs an array.
    """
    if len(entries) == 1:  # as most are that somebody waits for
        kind, rid, payload, more = entries[0]
        return not more and len(payload) <= SMALL and _put(line, pack((*numbers, kind, rid, payload)))
    if sum(len(entry.payload) for entry in entries) > SMALL:
        return False
    return _put(line, pack([*numbers, *flatten(entries)]))


def _put(line: LocalChannel, packet: bytes) -> bool:
    try:
        line.send(packet)
    except BlockingIOError:
        return False
    return True


def receive(
    line: LocalChannel,
    take: Callable[[LocalChannel, list[Any]], None],
    spoilt: Callable[[LocalChannel, Exception], None],
    limit: int = 256,
) -> bool:
    """Hand on what has come: frames, or numbers and fields (see `parse_data`); False when the connection has ended.

    `spoilt` hears of what cannot be read.
    """
    for _ in range(limit):
        try:
            packet = line.recv(_ROOM)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not packet:
            return False
        try:
            fields = unpack(packet)
            if type(fields) is not list or not fields:
                raise ProtocolError("a packet is an array")
            take(line, fields)
        except Exception as error:  # whatever has come
            if interrupts.comes_from_a_handler(error):
                raise
            spoilt(line, error)
            continue
        if len(packet) <= _SINGLE:
            return True
    return True


def is_data(fields: list[Any]) -> bool:
    """Tell a packet of messages from one of frames."""
    return type(fields[0]) is int


def parse_data(fields: list[Any]) -> tuple[tuple[int, int, int, int], list[Entry]]:
    """Return the numbers and the messages of a packet.

    Raises:
        ProtocolError: anything that `send_data` does not write.
    """
    if [*map(type, fields)] == _ONE and fields[1] == 1:  # one message, as most are that somebody waits for
        try:
            entries = [message(*fields[4:])]
        except KeyError:
            raise ProtocolError(f"no message of a stream is of the kind {fields[4]}") from None
        return within(fields[0], 1, fields[2], fields[3]), entries
    first, count, ack, limit = parse_numbers(fields[:4])
    entries = unflatten(fields[4:])
    if len(entries) != count:
        raise ProtocolError(f"a packet of {count} messages holds {len(entries)}")
    return (first, count, ack, limit), entries


def parse_frames(fields: list[Any]) -> tuple[Header, list[Any]]:
    """Return the header and the bodies of a packet of frames.

    Raises:
        ProtocolError: anything that `send` does not write.
    """
    if len(fields) < 2 or not all(type(frame) is bytes for frame in fields):
        raise ProtocolError("a packet is an array of frames")
    return parse_header(fields[1]), fields[2:]
