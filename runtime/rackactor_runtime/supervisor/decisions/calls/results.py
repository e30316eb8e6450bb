"""The system calls of results too large for one message."""

from __future__ import annotations

from rackactor.wire.calls.results import ResultDrop, ResultNext, ResultPart
from rackactor_runtime.supervisor.decisions.messages import Called
from rackactor_runtime.supervisor.decisions.table import Process
from rackactor_runtime.supervisor.decisions.turn import Turn


def op_result_part(turn: Turn, caller: Process, call: Called, args: ResultPart) -> None:
    """Take a part of the caller's own result, ahead of its exit."""
    if caller.report is None:
        caller.result = (*caller.result, *call.blobs)
    turn.reply(call)


def op_result_next(turn: Turn, caller: Process, call: Called, args: ResultNext) -> None:
    """Give the next part of the result of a process whose end the caller was told."""
    turn.reply(call, {}, (turn.state.shelf.take(caller.pid, args.pid),))


def op_result_drop(turn: Turn, caller: Process, call: Called, args: ResultDrop) -> None:
    """Forget what is left of such a result."""
    turn.state.shelf.drop(caller.pid, args.pid)
    turn.reply(call)
