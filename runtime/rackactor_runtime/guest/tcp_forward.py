"""A listening port whose connections stay open when the port is given to another program.

ZeroMQ closes a listener's connections together with the listener. But the supervisor needs the port by which its order
came, and the launcher still waits on that connection for the address of the group. So the listener is a plain socket,
and each connection is copied to a ZeroMQ socket of this process.
"""

from __future__ import annotations

import contextlib
import socket
import threading

from rackactor.system import threads

#: The most connections at the same time; further ones are closed.
_AT_ONCE = 16
_CHUNK = 64 << 10


class Porch:
    """Listens on a port, and forwards connections to an abstract UNIX socket.

    Args:
        address: where, with the `port` (0: any).
        name: of the UNIX socket, without the NUL at its beginning.
    """

    def __init__(self, address: str, port: int, name: str) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = socket.create_server((address, port), family=family, backlog=_AT_ONCE)
        self._name = name
        self._copies: list[threading.Thread] = []
        host, number = self._listener.getsockname()[:2]
        #: The address as ZeroMQ writes it.
        self.endpoint = f"tcp://{f'[{host}]' if ':' in host else host}:{number}"
        threads.start(threading.Thread(target=self._serve, name="porch", daemon=True))

    def leave(self) -> None:
        """Stop listening, so that the port is free. Connections stay open."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # this wakes a thread that waits for a connection there
        self._listener.close()

    def settle(self, timeout: float) -> None:
        """Wait until all data for connected clients has been sent; their other ends are closed by now."""
        for thread in self._copies:
            thread.join(timeout)

    def _serve(self) -> None:
        while True:
            try:
                outside, _ = self._listener.accept()
            except OSError:
                return
            self._copies = [thread for thread in self._copies if thread.is_alive()]
            inside = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                if len(self._copies) >= 2 * _AT_ONCE:
                    raise OSError("too many at once")
                inside.connect("\0" + self._name)
                outside.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                outside.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError:
                inside.close()
                outside.close()
                continue
            pair = _Pair(outside, inside)
            for source, target in ((outside, inside), (inside, outside)):
                thread = threading.Thread(target=pair.copy, args=(source, target), name="porch", daemon=True)
                try:
                    self._copies.append(threads.start(thread))
                except OSError:
                    pair.cut()
                    pair.copy(source, target)  # ends at once


class _Pair:
    """Two sockets, closed when both directions have ended."""

    def __init__(self, *sockets: socket.socket) -> None:
        self._sockets = sockets
        self._open = 2
        self._lock = threading.Lock()

    def copy(self, source: socket.socket, target: socket.socket) -> None:
        """Copy one direction to its end; the other one ends with it."""
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                target.sendall(data)
        self.cut()
        with self._lock:
            self._open -= 1
            if not self._open:
                for each in self._sockets:
                    each.close()

    def cut(self) -> None:
        """Have both directions end."""
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
