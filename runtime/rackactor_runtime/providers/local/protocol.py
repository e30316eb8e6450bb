"""The messages between the supervisor and its fork server, and their framing.

A frame is four bytes of length, most significant first, and a msgpack array. Both sides keep what the
other cannot take yet in an `Outbox`, so neither ever blocks on the other.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Any

from rackactor.wire import codec
from rackactor_runtime.providers.base import Created, CreateFailed, Ended, Event, Key, Order, Output

#: Messages to the fork server.
EXPECT, SETTLED, CREATE, DELETE, GRANT, CLOSE = "expect", "settled", "create", "delete", "grant", "close"
MOVED = "moved"
#: Messages from it: one name per event, a note for the log, and that the warm processes are ready.
CREATED, FAILED, OUTPUT, ENDED, NOTE, WARMED = "created", "failed", "output", "ended", "note", "warmed"

#: The longest frame that is accepted; a larger birth belongs into a file.
MAX_FRAME = 256 * 1024 * 1024
#: The most that one call reads or writes.
CHUNK = 256 * 1024

_LENGTH = struct.Struct("!I")


def pack(value: Any) -> bytes:
    """Encode one value, strings of every kind included."""
    return codec.pack(value)


def unpack(data: bytes) -> Any:
    """Decode one value."""
    return codec.unpack(data)


def frame(*words: Any) -> bytes:
    """Return one message as it goes over the socket.

    Raises:
        ValueError: it is longer than `MAX_FRAME`.
    """
    body = pack(words)
    if len(body) > MAX_FRAME:
        raise ValueError(f"a message of {len(body)} bytes to the fork server; the most is {MAX_FRAME}")
    return _LENGTH.pack(len(body)) + body


class Decoder:
    """Turns the bytes of a stream back into messages, however they were cut."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[list[Any]]:
        """Take the next bytes and return the messages that they complete.

        Raises:
            ValueError: the stream is not one of ours.
        """
        self._buffer += data
        messages: list[list[Any]] = []
        start = 0
        while len(self._buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, start)
            if length > MAX_FRAME:
                raise ValueError(f"a frame of {length} bytes; the most is {MAX_FRAME}")
            end = start + _LENGTH.size + length
            if end > len(self._buffer):
                break
            messages.append(unpack(bytes(self._buffer[start + _LENGTH.size : end])))
            start = end
        del self._buffer[:start]
        return messages


class Outbox:
    """Holds what the other side has not taken yet."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def __len__(self) -> int:
        return len(self._buffer)

    def put(self, data: bytes) -> None:
        """Append one frame."""
        self._buffer += data

    def flush(self, send: Callable[[memoryview], int]) -> None:
        """Give `send` as much as it takes; any error but BlockingIOError is raised to the caller."""
        while self._buffer:
            with memoryview(self._buffer) as view, view[:CHUNK] as head:
                try:
                    sent = send(head)
                except BlockingIOError:
                    return
            del self._buffer[:sent]


def receive(sock: socket.socket) -> bytes | None:
    """Return what has arrived, b"" for nothing yet, or None when the other side is gone."""
    try:
        return sock.recv(CHUNK) or None
    except BlockingIOError:
        return b""
    except ConnectionError:
        return None


def create_frame(order: Order) -> bytes:
    """Encode an order; its birth stays packed, so that only the new process opens it."""
    return frame(CREATE, *order.key, pack(order.birth), order.env, order.cwd, order.memory, order.inherited)


def event_frame(event: Event) -> bytes:
    """Encode an event."""
    match event:
        case Created():
            return frame(CREATED, *event.key, event.instance)
        case CreateFailed():
            return frame(FAILED, *event.key, event.fault, event.kind)
        case Output():
            return frame(OUTPUT, *event.key, event.stream, event.data)
        case Ended():
            return frame(ENDED, *event.key, event.code, event.signal, event.oom, event.note)
    raise ValueError(f"not an event of a process of this host: {event!r}")


def read_event(message: list[Any]) -> Event:
    """Decode an event.

    Raises:
        ValueError: the message is not an event.
    """
    word, pid, incarnation, *rest = message
    key = Key(pid, incarnation)
    match word:
        case "created":
            return Created(key, *rest)
        case "failed":
            return CreateFailed(key, *rest)
        case "output":
            return Output(key, *rest)
        case "ended":
            return Ended(key, *rest)
    raise ValueError(f"not an event: {word!r}")
