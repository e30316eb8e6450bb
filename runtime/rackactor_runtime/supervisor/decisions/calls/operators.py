"""The system calls that let command lines in, and those who watch over a group from outside."""

from __future__ import annotations

from rackactor.errors import NotAllowed
from rackactor.wire.calls.operators import InviteGuest, Keep
from rackactor_runtime.supervisor.decisions import births
from rackactor_runtime.supervisor.decisions.messages import Called
from rackactor_runtime.supervisor.decisions.table import Process
from rackactor_runtime.supervisor.decisions.turn import Turn

#: Seconds that a guest has to come with its token.
COME_BY = 10.0
#: Guests of a group who have a token and have not come yet, at the most.
MAX_EXPECTED = 256


def op_guest(turn: Turn, caller: Process, call: Called, args: InviteGuest) -> None:
    """Give the caller a one-time token for a command that runs inside of it: a member as any command line is."""
    state = turn.state
    if caller.external:
        raise NotAllowed("only a process of the group has guests; a program beside it finds the group's card")
    expected = [r for r in state.table if r.kind == "operator" and r.alive and r.started is None]
    if len(expected) >= MAX_EXPECTED:
        raise NotAllowed(f"{len(expected)} commands that asked to come in have not come yet: try again in a moment")
    token = turn.token()
    guest = births.external(turn, "operator", token=token)
    guest.timers.boot_by = turn.now + COME_BY
    fields = {"token": token, "gid": state.gid, "name": state.name}
    turn.reply(call, fields)


def op_keep(turn: Turn, caller: Process, call: Called, args: Keep) -> None:
    """Be the group's keeper: its presence neither holds a group up, nor is it given up for a short silence."""
    if caller.kind != "operator":
        raise NotAllowed("a keeper comes from outside, as a command line does")
    caller.keeper = True
    turn.reply(call)
