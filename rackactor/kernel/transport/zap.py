"""Who may connect: a ZeroMQ authenticator (ZAP, RFC 27) that asks a function about each CURVE key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import zmq
from zmq.utils import z85

from rackactor.kernel.transport import sockets

_ENDPOINT = "inproc://zeromq.zap.01"


class Authenticator:
    """Answer the ZAP requests of one context.

    Args:
        context: whose CURVE servers ask. The authenticator must be made before they are bound.
        admit: tells for a client's public key (z85) whether it may connect.
    """

    def __init__(self, context: zmq.Context[Any], admit: Callable[[bytes], bool]) -> None:
        self._admit = admit
        # Not a REP, which takes no request before the last one is answered: a signal handler may raise in between.
        self.socket: zmq.Socket[Any] = context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.socket.bind(_ENDPOINT)

    def answer(self) -> None:
        """Answer every request that waits; the client's key becomes its messages' `User-Id`."""
        while (request := sockets.receive(self.socket, 9)) is not None:
            if len(request) < 8:
                continue
            back, version, number, mechanism = request[:2], request[2], request[3], request[7]
            key = z85.encode(request[8]) if len(request) > 8 and len(request[8]) == 32 else b""
            if mechanism != b"CURVE" or not key:
                verdict = [b"400", b"CURVE only", b"", b""]
            elif self._admit(key):
                verdict = [b"200", b"", key, b""]
            else:
                verdict = [b"400", b"unknown key", b"", b""]
            try:
                sockets.send(self.socket, [*back, version, number, *verdict])
            except zmq.ZMQError:
                pass  # who asked is gone
