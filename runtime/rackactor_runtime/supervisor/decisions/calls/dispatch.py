"""The system calls by name, and how one is carried out."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from rackactor.errors import InvalidCall, RackError
from rackactor.wire import schema
from rackactor.wire.schema import Call
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

CarryOut = Callable[[Turn, Process, Called, Any], None]


def _calls_of(module: ModuleType) -> dict[str, CarryOut]:
    return {name.removeprefix(_PREFIX): it for name, it in vars(module).items() if name.startswith(_PREFIX)}


#: All system calls by name, with what each says: to add one is to say that in a module of `rackactor.wire.calls`, and
#: to add a function `op_<name>` to one of these modules.
CALLS: dict[str, tuple[type[Call], CarryOut]] = {
    name: (schema.CALLS[name], carry_out) for module in _MODULES for name, carry_out in _calls_of(module).items()
}


def handle(turn: Turn, call: Called) -> None:
    """Carry out a call; a refusal goes back to the caller by name."""
    caller = turn.state.table.get(call.pid)
    if caller is None or not caller.alive:
        return
    try:
        carry_out(turn, caller, call)
    except RackError as error:
        turn.refuse(call.pid, call.rid, error)
    except OSError:
        raise  # not the arguments' fault
    except Exception as error:  # whatever they are
        words = f"{call.op}: bad arguments ({type(error).__name__}: {error})"
        turn.refuse(call.pid, call.rid, InvalidCall(words))


def carry_out(turn: Turn, caller: Process, call: Called) -> None:
    """Look at what a call says, then carry it out.

    Raises:
        RackError: it is refused.
    """
    known = CALLS.get(call.op)
    if known is None:
        raise InvalidCall(f"there is no system call {call.op!r}")
    says, function = known
    function(turn, caller, call, says.from_wire(call.args))
