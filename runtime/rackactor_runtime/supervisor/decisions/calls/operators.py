"""Letting in commands that run inside a process, where the group's directory cannot be reached."""

from __future__ import annotations

import secrets

from rackactor.errors import NotAllowed
from rackactor_runtime.supervisor.decisions.lifecycle import Core
from rackactor_runtime.supervisor.decisions.messages import Called, Reply
from rackactor_runtime.supervisor.decisions.table import Process

#: Seconds that a guest has to come with its token.
COME_BY = 10.0
#: Guests of a group who have a token and have not come yet, at the most.
MAX_EXPECTED = 256


class GuestCalls:
    """Carry out this system call on a core."""

    _core: Core

    def op_guest(self, caller: Process, call: Called) -> None:
        """Give the caller a one-time token for a command that runs inside of it: a member as any command line is."""
        core = self._core
        if caller.external:
            raise NotAllowed("only a process of the group has guests; a program beside it finds the group's card")
        expected = [r for r in core.table if r.kind == "operator" and r.alive and r.started is None]
        if len(expected) >= MAX_EXPECTED:
            raise NotAllowed(f"{len(expected)} commands that asked to come in have not come yet: try again in a moment")
        token = secrets.token_bytes(24)
        guest = core.external("operator", token)
        guest.boot_by = core.now + COME_BY
        fields = {"token": token, "gid": core.gid, "name": core.name}
        core.effects.append(Reply(call.pid, call.rid, True, fields))
