"""Join the group from inside a process that cannot reach the group's directory: its agent lets the command in."""

from __future__ import annotations

import json
import os
import socket
import struct
from typing import Any

from rackactor.errors import NoGroup
from rackactor.wire.errors import unpack_error

#: Seconds within which the agent must answer.
PATIENCE = 10.0
#: The longest answer, bytes.
_LONGEST = 64 << 10
_CREDENTIALS = struct.Struct("3i")


def card(wanted: str | None) -> dict[str, Any] | None:
    """Return a single-use card of the group that this command runs in; None if it has no such agent.

    Args:
        wanted: a name, a gid or the beginning of one; None: the group that the command runs in.

    Raises:
        NoGroup: the agent does not answer.
        RackError: the group's refusal, as its own class.
    """
    address = os.environ.get("RACK_SOCKET")
    if not address:
        return None
    if wanted is not None and not os.environ.get("RACK_GID", "").startswith(wanted):
        found = _ask(address)  # this may be a name; a token that is not used expires
        return found if found["name"] == wanted else None
    return _ask(address)


def _ask(address: str) -> dict[str, Any]:
    try:
        line = _converse(address)
        answer: dict[str, Any] = json.loads(line)
    except (OSError, ValueError) as error:
        raise NoGroup(f"the agent of this process does not answer (RACK_SOCKET is {address}): {error}") from error
    if "error" in answer:
        raise unpack_error(answer["error"])
    return answer


def _converse(address: str) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as agent:
        agent.settimeout(PATIENCE)
        agent.connect("\0" + address[1:] if address.startswith("@") else address)
        owner = _CREDENTIALS.unpack(agent.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))[1]
        if owner != os.getuid():
            raise PermissionError("it belongs to another user")
        data = b""
        while len(data) < _LONGEST and (more := agent.recv(_LONGEST)):
            data += more
        return data
