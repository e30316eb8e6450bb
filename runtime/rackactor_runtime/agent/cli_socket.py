"""Access for commands that run inside this process and cannot reach the group's directory.

On the group's own host a command finds the group's card, and joins with that. In a VM, or behind a mount namespace,
there is no card. There the agent listens on its own socket, and gives each command a single-use token, which it
requests from the supervisor. The socket is abstract (unix(7)), so no file can be left behind. Both sides check that
the other one belongs to the same user.
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
from rackactor.system import threads
from rackactor.wire.calls.operators import InviteGuest
from rackactor.wire.errors import pack_error

#: Environment variable with the socket's name; "@" stands for the NUL at its beginning.
VARIABLE = "RACK_SOCKET"
#: Seconds that a command has to read the answer, and the supervisor to give it.
PATIENCE = 5.0
_CREDENTIALS = struct.Struct("3i")


def open_if_needed(session: Session, birth: dict[str, Any]) -> None:
    """Open the socket unless commands can use the group's card; name it in the environment.

    Args:
        session: this process's membership.
        birth: `endpoint` and `server_key`, by which this process has joined itself.
    """
    os.environ.pop(VARIABLE, None)  # it belongs to the process in which the group was made
    if not birth["endpoint"].startswith("ipc:") and not directories.has_card(session.gid, birth["endpoint"]):
        _Door(session, birth["endpoint"], birth.get("server_key"))


class _Door:
    """Answers each connection of the same user with a single-use card, as a line of JSON."""

    def __init__(self, session: Session, endpoint: str, server_key: bytes | None) -> None:
        self._session = session
        self._reach = {"endpoint": endpoint, "server_key": server_key and server_key.decode()}
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        name = f"rackactor-{secrets.token_hex(16)}"
        self._listener.bind(f"\0{name}")
        self._listener.listen(64)
        os.environ[VARIABLE] = f"@{name}"
        threads.start(threading.Thread(target=self._serve, name="rackactor-guests", daemon=True))

    def _serve(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # signals belong to the main thread
        while True:
            try:
                caller, _ = self._listener.accept()
            except ConnectionError:
                continue  # the client is gone again
            except OSError:
                time.sleep(PATIENCE / 50)  # no descriptor is free at the moment
                continue
            with caller:
                caller.settimeout(PATIENCE)
                try:
                    caller.sendall(json.dumps(self._answer(caller)).encode() + b"\n")
                except OSError:
                    pass  # the client is gone

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
