"""How an agent comes into its group: it shows its token, and is welcomed."""

from __future__ import annotations

import os
import time

import zmq

from rackactor.errors import AuthenticationError
from rackactor.kernel.identity import Identity
from rackactor.kernel.transport.sockets import Sockets
from rackactor.kernel.uplink import Uplink
from rackactor.wire import frames
from rackactor.wire.errors import unpack_error
from rackactor.wire.frames import Kind, parse_header, parse_map
from rackactor.wire.welcome import Welcome

#: How long it may take where the supervisor cuts off some of those who come, for too many do, seconds.
CROWDED_TIMEOUT = 20.0


def join(sockets: Sockets, uplink: Uplink, identity: Identity, token: bytes, timeout: float) -> Welcome:
    """Say the token on a connection that has been dialled, and wait for the welcome; nobody runs the loop yet.

    Args:
        sockets: with the connection to the supervisor.
        uplink: speaks on it.
        identity: learns who this agent is.
        token: its own, or the group's.
        timeout: seconds that the supervisor may take to answer.

    Raises:
        AuthenticationError: key or token are not known, or nobody has answered in time.
    """
    begun = time.monotonic()
    deadline = begun + timeout
    _show(uplink, token)
    while (left := deadline - time.monotonic()) > 0:
        for socket in sockets.poll(left):
            parts = sockets.receive(socket)
            if parts is None or len(parts) < 3:
                continue
            header, fields = parse_header(parts[1]), parse_map(parts[2])
            if header.kind is Kind.REFUSED:
                raise unpack_error(fields)
            if header.kind is Kind.WELCOME:
                identity.epoch = header.epoch
                return Welcome.from_wire(fields, list(parts[3:]))
        if sockets.refused:
            raise AuthenticationError(sockets.refused)
        if sockets.broken:  # somebody is there who has cut us off: too many have come at once
            deadline = min(begun + max(timeout, CROWDED_TIMEOUT), time.monotonic() + timeout)
            sockets.redial()
            _show(uplink, token)
    raise AuthenticationError("no supervisor that knows this group's key answered: is it still alive?")


def _show(uplink: Uplink, token: bytes) -> None:
    body = {"token": token, "protocol": frames.PROTOCOL, "os_pid": os.getpid()}
    try:
        uplink.send(Kind.JOIN, (), [frames.pack_body(body)])
    except zmq.Again:
        pass  # our key was refused before we had said a word; what follows tells it
