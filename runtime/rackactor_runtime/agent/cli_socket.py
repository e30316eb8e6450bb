"""A door for commands that run inside this process, where they cannot reach the group's directory.

On the group's own host a command finds the group's card, which lets it in. In a VM, or behind a mount namespace, there
is none: there the agent listens on a socket of its own, and lets each command in with a token for one use, which it
asks of the supervisor. The socket is abstract (unix(7)): there is no file that could be left behind, and both sides
look whether the other one belongs to the same user.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import struct
import threading
import time
from typing import Any

from rackactor.errors import NotAllowed, RackError
from rackactor.launch import directories
from rackactor.syscalls.session import Session
from rackactor.wire.calls.operators import InviteGuest
from rackactor.wire.errors import pack_error

#: Where the socket's name stands for whoever runs inside this process, with "@" for the NUL that it begins with.
VARIABLE = "RACK_SOCKET"
#: Seconds that a command may take to listen to the answer, and the supervisor to give it.
PATIENCE = 5.0
_CREDENTIALS = struct.Struct("3i")


def open_if_needed(session: Session, birth: dict[str, Any]) -> None:
    """Open a door unless commands can come by the group's card; tell them by the environment.

    Args:
        session: this process's membership.
        birth: `endpoint` and `server_key`, by which it has joined itself.
    """
    os.environ.pop(VARIABLE, None)  # of the process that the group was made in, and not of this one
    if not birth["endpoint"].startswith("ipc:") and not directories.has_card(session.gid, birth["endpoint"]):
        _Door(session, birth["endpoint"], birth.get("server_key"))


class _Door:
    """Answer whoever of the same user connects with a card for one use, as a line of JSON."""

    def __init__(self, session: Session, endpoint: str, server_key: bytes | None) -> None:
        self._session = session
        self._reach = {"endpoint": endpoint, "server_key": server_key and server_key.decode()}
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        name = f"rackactor-{secrets.token_hex(16)}"
        self._listener.bind(f"\0{name}")
        self._listener.listen(64)
        os.environ[VARIABLE] = f"@{name}"
        threading.Thread(target=self._serve, name="rackactor-guests", daemon=True).start()

    def _serve(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are the main thread's
        while True:
            try:
                caller, _ = self._listener.accept()
            except ConnectionError:
                continue  # it has gone again
            except OSError:
                time.sleep(PATIENCE / 50)  # no descriptor is free at the moment
                continue
            with caller:
                caller.settimeout(PATIENCE)
                try:
                    caller.sendall(json.dumps(self._answer(caller)).encode() + b"\n")
                except OSError:
                    pass  # it has gone

    def _answer(self, caller: socket.socket) -> dict[str, Any]:
        _, uid, _ = _CREDENTIALS.unpack(
            caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size),
        )
        if uid != os.getuid():
            return {"error": pack_error(NotAllowed("this process belongs to another user"))}
        try:
            fields, _ = self._session.kernel.call(InviteGuest(), timeout=PATIENCE)
        except RackError as error:
            return {"error": pack_error(error)}
        return {**self._reach, "gid": fields["gid"], "name": fields["name"], "token": fields["token"].hex()}
