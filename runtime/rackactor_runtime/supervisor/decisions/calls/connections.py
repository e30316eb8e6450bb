"""The system calls of processes that connect to each other."""

from __future__ import annotations

from rackactor.errors import InvalidCall
from rackactor_runtime.supervisor.decisions import lifecycle
from rackactor_runtime.supervisor.decisions.calls.checks import integer
from rackactor_runtime.supervisor.decisions.messages import Called
from rackactor_runtime.supervisor.decisions.table import Process
from rackactor_runtime.supervisor.decisions.turn import Turn


def op_introduce(turn: Turn, caller: Process, call: Called) -> None:
    """Introduce the caller to a process that it talks to a lot."""
    other = turn.state.table.get(call.args["pid"])
    if not turn.state.settings.direct or other is None or not other.alive or other.started is None:
        return
    other.correspondents.add(caller.pid)
    caller.correspondents.add(other.pid)
    fields = {"pid": caller.pid, "incarnation": caller.incarnation, "key": caller.key}
    turn.state.introductions += 1
    fields["number"] = turn.state.introductions
    turn.notify(other.pid, "listen", fields)


def op_listening(turn: Turn, caller: Process, call: Called) -> None:
    """Tell the other one of an introduction where to connect."""
    other = turn.state.table.get(call.args["pid"])
    if other is None or not other.alive:
        return
    endpoint = call.args["endpoint"]
    if type(endpoint) is not str or type(call.args["ticket"]) is not bytes:
        raise InvalidCall("a process listens at an endpoint, a string, for a ticket, bytes")
    if not endpoint.startswith(("ipc://", "tcp://")) or len(endpoint) > 300 or not endpoint.isprintable():
        raise InvalidCall(f"nobody can connect to {endpoint[:300]!r}")
    fields = {
        "pid": caller.pid,
        "incarnation": caller.incarnation,
        "key": caller.key,
        "endpoint": call.args["endpoint"],
        "ticket": call.args["ticket"],
        "number": integer(call.args["number"], "number", 1, 1 << 62),
    }
    turn.notify(other.pid, "meet", fields)


def op_malformed(turn: Turn, caller: Process, call: Called) -> None:
    """Hear that the caller has got bytes from another process that nobody of this wire sends.

    It costs the other one its membership. That is no more than a `kill` may do, and can be said of those only that
    have been in touch with the caller.
    """
    other = turn.state.table.get(integer(call.args["pid"], "pid", 1, 1 << 32))
    if other is not None and caller.pid in other.correspondents | {other.ppid}:
        words = str(call.args["words"])[:500]
        lifecycle.expel(turn, other, f"ProtocolError: what it sent to process {caller.pid} was {words}")
    turn.reply(call)


def op_part(turn: Turn, caller: Process, call: Called) -> None:
    """Tell the other one of introductions that nothing came of, or whose connections went dark."""
    other = turn.state.table.get(call.args["pid"])
    if other is None or not other.alive:
        return
    numbers = [integer(number, "number", 1, 1 << 62) for number in call.args["numbers"]]
    turn.notify(other.pid, "part", {"pid": caller.pid, "numbers": numbers})
