"""How members are added to the table: their birth data, and the token with which they join."""

from __future__ import annotations

from typing import Any

from rackactor.wire.frames import SUPERVISOR
from rackactor_runtime.supervisor.decisions.table import Process
from rackactor_runtime.supervisor.decisions.turn import Turn


def external(turn: Turn, kind: str, *, name: str = "", token: bytes = b"") -> Process:
    """Add a member that was not forked.

    Args:
        turn: the decision under way.
        kind: "script" (the program that made the group), "operator" (a command line), "service" or "machine".
        name: of the process; its kind by default.
        token: the token with which it will join; none: it has presented another one already.
    """
    pid = turn.state.table.next_pid()
    record = Process(
        pid=pid, ppid=SUPERVISOR, pgid=pid, name=name or kind, kind=kind, what="", created=turn.wall, on_orphan="adopt"
    )
    record.joining.birth = birth_of(turn, record)
    turn.state.table.add(record)
    if token:
        expect(turn, record, token)
    return record


def expect(turn: Turn, record: Process, token: bytes) -> None:
    """Let the bearer of a token join as a process, once."""
    turn.state.tokens[token] = record.pid
    record.joining.token = token


def birth_of(turn: Turn, record: Process) -> dict[str, Any]:
    """Return what a member is told when it joins."""
    state, settings = turn.state, turn.state.settings
    birth: dict[str, Any] = {"python": list(state.python)}
    if state.machines:  # a wait for a remote process includes the wait for its machine
        birth["boot_timeout"] = settings.boot_timeout
    return {
        **birth,
        "gid": state.gid,
        "group": state.name,
        "pid": record.pid,
        "ppid": record.ppid,
        "pgid": record.pgid,
        "incarnation": record.incarnation,
        "name": record.name,
        "heartbeat": settings.idle_beat if state.sleeps(record) else settings.heartbeat,
        "lease": settings.lease,
        "pickle": settings.pickle,
        "remote": state.remote or state.machines,
    }
