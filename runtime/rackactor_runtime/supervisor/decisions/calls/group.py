"""The system calls about the group as a whole."""

from __future__ import annotations

from rackactor.errors import InvalidCall, NotAllowed
from rackactor.wire.calls.group import DescribeGroup, DetachGroup, EndGroup, Lookup
from rackactor_runtime.providers.base import InstanceExit
from rackactor_runtime.supervisor.decisions import lifecycle, shutdown
from rackactor_runtime.supervisor.decisions.messages import Called
from rackactor_runtime.supervisor.decisions.table import Process
from rackactor_runtime.supervisor.decisions.turn import Turn


def op_group(turn: Turn, caller: Process, call: Called, args: DescribeGroup) -> None:
    """Tell about the group itself."""
    state = turn.state
    living = sum(1 for record in state.table if record.alive and not record.external)
    fields = {"gid": state.gid, "name": state.name, "epoch": state.epoch, "processes": living}
    turn.reply(call, {**fields, "ending": state.shutdown.reason, "detached": state.shutdown.detached})


def op_lookup(turn: Turn, caller: Process, call: Called, args: Lookup) -> None:
    """Find the process that has a global name."""
    turn.reply(call, {"pid": turn.state.names.get(args.name, 0)})


def op_end(turn: Turn, caller: Process, call: Called, args: EndGroup) -> None:
    """End the group; the answer comes when everything is gone.

    With `hold` the supervisor itself stays, for its logs, until the same caller says `end` once more.
    """
    if caller.kind not in ("script", "operator"):
        raise NotAllowed("only the program that made the group, or its command line, may end it")
    if caller.kind == "script":
        turn.state.shutdown.held_by = caller.pid if args.hold else 0
    shutdown.ask(turn, call.pid, call.rid, args.reason or f"ended by process {call.pid}")


def op_detach(turn: Turn, caller: Process, call: Called, args: DetachGroup) -> None:
    """Let the group outlive the program that made it: its processes belong to the supervisor then."""
    if caller.kind != "script":
        raise NotAllowed("only the program that made the group may detach it")
    if turn.state.deadline_at is None:
        raise InvalidCall("a detached group needs a deadline: nothing else would ever end it")
    turn.state.shutdown.detached = True
    for child in turn.state.table.children(caller.pid):
        child.on_orphan = "adopt"
    turn.reply(call)
    caller.report = {"how": "exited", "code": 0}
    lifecycle.gone(turn, caller, InstanceExit(0, None))
    turn.state.table.reap(caller)
