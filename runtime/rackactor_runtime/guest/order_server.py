"""How a supervisor on a remote machine gets its order, which contains secrets.

User-data and metadata can be read by everybody who can see the server. So they contain only a one-time CURVE key pair
of the machine's, and the public key of the only client that it accepts. The launcher connects with that key, sends one
message (the order, a msgpack map), and receives msgpack maps on the same connection until either side goes:

    {"accepted": true}          the order is here; the machine listens no more
    {"progress": "text"}        for people
    {"answer": {...}}           the supervisor's one line: how to reach the group, or an `error`
    {"ended": code}             the supervisor has ended
    {"refused": "why"}          a message that is no order, or another one after it

After the answer, the connection may be closed at any time: the supervisor goes on. Nobody but the launcher can send an
order. A recorded order cannot be read later, not even with the keys in the user-data, since each connection has its own
session keys. Only somebody who knows these keys *and* can take the machine's place on the network at this very moment
would get the order instead.
"""

from __future__ import annotations

import secrets
import time
from typing import Any

import msgpack
import zmq

from rackactor.errors import ProtocolError
from rackactor.kernel.transport import sockets
from rackactor.kernel.transport.sockets import Keys
from rackactor.kernel.transport.zap import Authenticator
from rackactor.wire.frames import parse_map
from rackactor_runtime.guest.tcp_forward import Porch

#: Messages that are read from one connection after the order; all of them are refused.
_REFUSALS = 8
#: Seconds that the last messages have to be sent.
_LINGER = 2.0


class Doorway:
    """The machine's end: accepts one order of one client, then only reports.

    Args:
        address: where to listen, with the `port`.
        keys: the machine's one-time key pair.
        client: the public key of the only client that may connect.
    """

    def __init__(self, address: str, port: int, keys: Keys, client: bytes) -> None:
        self._context: zmq.Context[Any] = zmq.Context(io_threads=1)
        self._zap = Authenticator(self._context, lambda key: key == client and self._connection is None)
        self._router: zmq.Socket[Any] = self._context.socket(zmq.ROUTER)
        sockets.tune(self._router)
        self._connection: bytes | None = None
        self._refusals = 0
        try:
            self._router.setsockopt(zmq.ROUTER_MANDATORY, 1)
            self._router.curve_server = True
            self._router.curve_publickey, self._router.curve_secretkey = keys.public, keys.secret
            name = f"rackactor-{secrets.token_hex(16)}"
            self._router.bind(f"ipc://@{name}")
            self._porch = Porch(address, port, name)
        except BaseException:
            self._router.close(0)
            self._zap.socket.close(0)
            self._context.term()
            raise
        self.endpoint = self._porch.endpoint
        self._poller = zmq.Poller()
        self._poller.register(self._zap.socket, zmq.POLLIN)
        self._poller.register(self._router, zmq.POLLIN)

    def receive(self, patience: float) -> dict[str, Any] | None:
        """Wait for the order; after it nobody can connect any more. None: it has not come in time."""
        until = time.monotonic() + patience
        while (left := until - time.monotonic()) > 0:
            self._poller.poll(int(left * 1000) + 1)
            self._zap.answer()
            while (message := self._next()) is not None:
                connection, bodies = message
                try:
                    order = _order(bodies)
                except ProtocolError as error:
                    self._tell(connection, {"refused": str(error)})
                    continue
                self._connection = connection
                self._porch.leave()
                self.tell({"accepted": True})
                return order
        return None

    def watch(self, descriptor: int, timeout: float) -> bool:
        """Refuse all further messages until a descriptor is readable; return whether it is."""
        self._poller.register(descriptor, zmq.POLLIN)
        until = time.monotonic() + timeout
        try:
            while (left := until - time.monotonic()) > 0:
                ready = dict(self._poller.poll(int(left * 1000) + 1))
                self._zap.answer()
                while (message := self._next()) is not None:
                    self._refusals += 1
                    if self._refusals <= _REFUSALS:
                        self._tell(message[0], {"refused": "one order is taken, and has been"})
                if descriptor in ready:
                    return True
        finally:
            self._poller.unregister(descriptor)
        return False

    def tell(self, fields: dict[str, Any]) -> None:
        """Send a message to the client, if it is still there."""
        if self._connection is not None:
            self._tell(self._connection, fields)

    def close(self, linger: float = _LINGER) -> None:
        """Close everything; messages have some time to be sent."""
        self._porch.leave()
        self._router.close(int(linger * 1000))
        self._zap.socket.close(0)
        self._context.term()
        self._porch.settle(linger)

    def _next(self) -> tuple[bytes, list[bytes]] | None:
        try:
            connection, *bodies = self._router.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None
        return connection, bodies

    def _tell(self, connection: bytes, fields: dict[str, Any]) -> None:
        try:
            self._router.send_multipart([connection, msgpack.packb(fields)], zmq.NOBLOCK)
        except zmq.ZMQError:
            pass  # the client is gone


def _order(bodies: list[bytes]) -> dict[str, Any]:
    if len(bodies) != 1:
        raise ProtocolError(f"an order is one frame, not {len(bodies)}")
    return parse_map(bodies[0])
