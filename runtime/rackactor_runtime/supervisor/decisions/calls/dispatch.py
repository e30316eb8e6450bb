"""The system calls by name, and how one is carried out."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

from rackactor.errors import InvalidCall, RackError
from rackactor_runtime.supervisor.decisions.calls import (
    actor_system,
    connections,
    fork,
    group,
    operators,
    pipes,
    processes,
    results,
    services,
)
from rackactor_runtime.supervisor.decisions.messages import Called
from rackactor_runtime.supervisor.decisions.table import Process
from rackactor_runtime.supervisor.decisions.turn import Turn

_PREFIX = "op_"
_MODULES = (actor_system, connections, fork, group, operators, pipes, processes, results, services)


def _calls_of(module: ModuleType) -> dict[str, Callable[[Turn, Process, Called], None]]:
    return {name.removeprefix(_PREFIX): it for name, it in vars(module).items() if name.startswith(_PREFIX)}


#: All system calls by name: to add one is to add a function `op_<name>` to one of these modules.
CALLS = {name: call for module in _MODULES for name, call in _calls_of(module).items()}


def handle(turn: Turn, call: Called) -> None:
    """Carry out a call; a refusal goes back to the caller by name."""
    caller = turn.state.table.get(call.pid)
    if caller is None or not caller.alive:
        return
    try:
        carry_out = CALLS.get(call.op)
        if carry_out is None:
            raise InvalidCall(f"there is no system call {call.op!r}")
        carry_out(turn, caller, call)
    except RackError as error:
        turn.refuse(call.pid, call.rid, error)
    except OSError:
        raise  # not the arguments' fault
    except Exception as error:  # whatever they are
        words = f"{call.op}: bad arguments ({type(error).__name__}: {error})"
        turn.refuse(call.pid, call.rid, InvalidCall(words))
