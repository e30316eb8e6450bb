"""The system call about services."""

from __future__ import annotations

from rackactor.wire.calls.services import FindService
from rackactor_runtime.supervisor.decisions import services
from rackactor_runtime.supervisor.decisions.messages import Called
from rackactor_runtime.supervisor.decisions.table import Process
from rackactor_runtime.supervisor.decisions.turn import Turn


def op_service(turn: Turn, caller: Process, call: Called, args: FindService) -> None:
    """Tell the pid of a service of the group, which is started if need be."""
    services.request(turn, caller.pid, call.rid, args.name)
