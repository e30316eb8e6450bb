"""How a supervisor on a machine elsewhere gets its order, which holds what nobody else may read.

User-data and metadata can be read by whoever can see the server, so they carry only a one-time CURVE key pair of the
machine's, and the public key of the only one that it listens to. The launcher connects with that, sends one message
(the order, a msgpack map), and hears msgpack maps on the same connection until it, or the machine, goes:

    {"accepted": true}          the order is here; the machine listens no more
    {"progress": "text"}        for people
    {"answer": {...}}           the supervisor's one line: how to reach the group, or an `error`
    {"ended": code}             the supervisor has ended
    {"refused": "why"}          a message that is no order, or another one after it

Once it has been answered, the connection may be left at any time: the supervisor goes on. Nobody but the launcher can
send an order, and who has recorded it cannot read it, not even with the keys in the user-data: each connection has keys
of its own beside them. Only who knows these *and* can put himself in the machine's place on the network, in this very
minute, would be sent the order in its stead.
"""

from __future__ import annotations

import secrets
import time
from typing import Any

import msgpack
import zmq

from rackactor.errors import ProtocolError
from rackactor.kernel import sockets
from rackactor.kernel.sockets import Keys
from rackactor.kernel.zap import Authenticator
from rackactor.wire.frames import parse_map
from rackactor_runtime.guest.tcp_forward import Porch

#: Messages that are read of one connection after the order, all of them refused.
_REFUSALS = 8
#: Seconds that the last words have to leave.
_LINGER = 2.0


class Doorway:
    """The machine's end: listens for one order of one client, then only answers it.

    Args:
        address: where to listen, with the `port`.
        keys: the machine's, for this once.
        client: the public key of the only one who may connect.
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
        """Wait for the order; then nobody can connect any more. None: it has not come in time."""
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
        """Refuse whatever else comes, until a descriptor is readable; tells whether it is."""
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
        """Tell the client something, if it is still there."""
        if self._connection is not None:
            self._tell(self._connection, fields)

    def close(self, linger: float = _LINGER) -> None:
        """Close everything; what was said has some time to leave."""
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
            pass  # it has gone


def _order(bodies: list[bytes]) -> dict[str, Any]:
    if len(bodies) != 1:
        raise ProtocolError(f"an order is one frame, not {len(bodies)}")
    return parse_map(bodies[0])
