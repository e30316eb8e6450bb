"""How a launcher sends an order to a supervisor's machine: the other end of `rackactor_runtime.guest.order_server`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgpack
import zmq

from rackactor.errors import AuthenticationError, StartError
from rackactor.kernel.transport import netaddr, sockets
from rackactor.kernel.transport.sockets import Keys
from rackactor.wire.frames import parse_map


class Sender:
    """The launcher's end.

    Args:
        endpoint: tcp://address:port, where the machine will listen.
        server_key: the public key of the machine, z85.
        keys: the launcher's, whose public key the machine knows.
    """

    def __init__(self, endpoint: str, server_key: bytes, keys: Keys) -> None:
        self._context: zmq.Context[Any] = zmq.Context(io_threads=1)
        self._socket: zmq.Socket[Any] = self._context.socket(zmq.DEALER)
        sockets.tune(self._socket)
        self._socket.curve_serverkey = server_key
        self._socket.curve_publickey, self._socket.curve_secretkey = keys.public, keys.secret
        if netaddr.is_ipv6(endpoint):
            self._socket.setsockopt(zmq.IPV6, 1)
        self._socket.connect(endpoint)

    def send(self, order: dict[str, Any]) -> None:
        """Send the order as soon as the machine listens."""
        self._socket.send(msgpack.packb(order))

    def hear(self, timeout: float) -> dict[str, Any] | None:
        """Return the machine's next message, None if there is none in time."""
        if not self._socket.poll(int(timeout * 1000) + 1):
            return None
        return parse_map(self._socket.recv())

    def answer(self, timeout: float, progress: Callable[[str], None] | None = None) -> dict[str, Any]:
        """Wait for the supervisor's one line; messages before it are for people.

        Raises:
            AuthenticationError: the machine has refused the order.
            StartError: no answer came in time, or the supervisor ended without one.
        """
        until = time.monotonic() + timeout
        while (left := until - time.monotonic()) > 0:
            said = self.hear(left)
            if said is None:
                break
            if "answer" in said:
                answer: dict[str, Any] = said["answer"]
                return answer
            if "refused" in said:
                raise AuthenticationError(f"the supervisor's machine refused its order: {said['refused']}")
            if "ended" in said:
                raise StartError(f"the supervisor ended with code {said['ended']}, without an answer")
            if progress is not None and "progress" in said:
                progress(str(said["progress"]))
        raise StartError(f"the supervisor's machine has not answered within {timeout:g} s")

    def close(self) -> None:
        """Close the connection."""
        self._socket.close(0)
        self._context.term()
