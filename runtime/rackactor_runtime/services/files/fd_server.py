"""Where a process on the same host fetches the descriptor of its open file, by a ticket.

On one host (ipc) a process reads and writes a local file itself, which is fastest. It gets only the descriptor of that
one file, no name and no credential. The service still decides who may open what, and what becomes of it.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable

from rackactor.system import threads

#: Seconds within which a client must show its ticket.
_PATIENCE = 1.0
TICKET = 16


class Door:
    """A socket in the group's directory.

    Args:
        place: its path.
        redeem: returns a new descriptor for a ticket, or None.
    """

    def __init__(self, place: str, redeem: Callable[[bytes], int | None]) -> None:
        self.place = place
        self._redeem = redeem
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            os.unlink(place)  # left by a service that was killed
        except FileNotFoundError:
            pass
        self._socket.bind(place)
        os.chmod(place, 0o600)
        self._socket.listen(128)
        threads.start(threading.Thread(target=self._serve, name="door", daemon=True))

    def _serve(self) -> None:
        while True:
            try:
                caller, _ = self._socket.accept()
            except OSError:
                time.sleep(_PATIENCE / 10)  # no descriptor is free at the moment; clients use messages meanwhile
                continue
            with caller:
                caller.settimeout(_PATIENCE)
                try:
                    self._hand_out(caller)
                except OSError:
                    continue

    def _hand_out(self, caller: socket.socket) -> None:
        descriptor = self._redeem(caller.recv(TICKET))
        if descriptor is None:
            return
        try:
            socket.send_fds(caller, [b"!"], [descriptor])
        finally:
            os.close(descriptor)
