"""The short way between two processes of one host, for small messages.

A message through ZeroMQ wakes two more threads on its way. Two processes that are connected directly over ipc also
open a plain UNIX socket that keeps packets apart, and send on it what is small, as long as the kernel takes it at
once; everything else goes the longer way, at the same time. Streams are numbered, so it does not matter who is first.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from typing import Any

import msgpack

from rackactor.codec import unpack
from rackactor.errors import ProtocolError

#: Packets up to this size take the short way, bytes.
SMALL = 16 << 10
_ROOM = 64 << 10
#: Connections that have not shown a ticket yet, at the most.
_STRANGERS = 64

Line = socket.socket


def place(endpoint: str) -> str | None:
    """Return where the short way beside a ZeroMQ endpoint begins, or None where there is none."""
    return endpoint[len("ipc://") :] + ".s" if endpoint.startswith("ipc://") else None


def open_door(path: str) -> Line:
    """Listen for connections."""
    door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    try:
        door.bind(path)
        os.chmod(path, 0o600)
        door.listen(_STRANGERS)
    except OSError:
        door.close()
        raise
    return door


def dial(path: str) -> Line | None:
    """Connect, or return None if that cannot be done at once: there is the longer way."""
    line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    try:
        line.connect(path)
    except OSError:
        line.close()
        return None
    return line


def accept(door: Line) -> Line | None:
    """Take one connection, or None when nobody waits."""
    try:
        line, _ = door.accept()
    except OSError:
        return None
    line.setblocking(False)
    return line


def send(line: Line, frames: Sequence[Any]) -> bool:
    """Send a small message; False when it is too large, or the kernel has no room for it now.

    Raises:
        OSError: the connection is broken.
    """
    if sum(map(len, frames)) > SMALL:
        return False
    try:
        line.send(msgpack.packb([bytes(frame) for frame in frames]))
    except BlockingIOError:
        return False
    return True


def receive(line: Line, take: Callable[[list[bytes]], None], limit: int = 256) -> bool:
    """Hand on what has come; False when the connection has ended."""
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
            frames = unpack(packet)
            if isinstance(frames, list) and all(type(frame) is bytes for frame in frames):
                take(frames)
        except (ProtocolError, IndexError):
            continue
    return True
