"""Who may connect: a ZeroMQ authenticator (ZAP, RFC 27) that asks a function about each CURVE key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import zmq
from zmq.utils import z85

_ENDPOINT = "inproc://zeromq.zap.01"


class Authenticator:
    """Answer the ZAP requests of one context.

    Args:
        context: whose CURVE servers ask. The authenticator must be made before they are bound.
        admit: tells for a client's public key (z85) whether it may connect.
    """

    def __init__(self, context: zmq.Context[Any], admit: Callable[[bytes], bool]) -> None:
        self._admit = admit
        self.socket: zmq.Socket[Any] = context.socket(zmq.REP)
        self.socket.linger = 0
        self.socket.bind(_ENDPOINT)

    def answer(self) -> None:
        """Answer every request that waits; the client's key becomes its messages' `User-Id`."""
        while True:
            try:
                request = self.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            version, number, mechanism = request[0], request[1], request[5]
            if mechanism != b"CURVE" or len(request) < 7 or len(request[6]) != 32:
                self.socket.send_multipart([version, number, b"400", b"CURVE only", b"", b""])
                continue
            key = z85.encode(request[6])
            if self._admit(key):
                self.socket.send_multipart([version, number, b"200", b"", key, b""])
            else:
                self.socket.send_multipart([version, number, b"400", b"unknown key", b"", b""])
