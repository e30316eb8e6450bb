"""The system calls that begin processes."""

from __future__ import annotations

from types import NoneType
from typing import Any

from rackactor.errors import ForkError, InvalidCall, NotAllowed
from rackactor_runtime.supervisor.decisions import lifecycle, machines
from rackactor_runtime.supervisor.decisions.calls.checks import integer, one_of, seconds
from rackactor_runtime.supervisor.decisions.messages import Called
from rackactor_runtime.supervisor.decisions.table import Process
from rackactor_runtime.supervisor.decisions.turn import Turn

#: Children of one fork call at the most.
MAX_FORK = 10_000
_KINDS = ("actor", "function", "command")
#: What a process inherits beside its environment and directory, and of which type each is.
_INHERITED = {
    "bare": bool,
    "umask": int,
    "limits": list,
    "warnoptions": list,
    "faulthandler": bool,
    "unbuffered": bool,
}
_ORPHANS = ("kill", "adopt", "detach")


def op_fork(turn: Turn, caller: Process, call: Called) -> None:
    """Write down the intents of n processes; they begin at once."""
    state, args = turn.state, call.args
    if state.shutdown.reason:
        raise NotAllowed(f"the group is ending: {state.shutdown.reason}")
    n = integer(args["n"], "n", 1, MAX_FORK)
    kind, on_orphan = args["kind"], args.get("on_orphan", "kill")
    one_of(kind, "kind", _KINDS)
    one_of(on_orphan, "on_orphan", _ORPHANS)
    deadline = seconds(args.get("deadline"), "deadline")
    _check_surroundings(args)
    if on_orphan == "detach" and deadline is None:
        raise InvalidCall('on_orphan="detach" needs a deadline=: nothing else would ever end the process')
    if len(call.blobs) != 1 + n and len(call.blobs) != 2:
        raise InvalidCall(f"a fork of {n} carries the target and 1 or {n} sets of arguments")
    named = args.get("global_name")
    if named and named in state.names:
        turn.reply(call, {"pids": [state.names[named]], "existing": True})
        return
    placement = machines.place(caller, args.get("placement"))
    inherited = state.pipes.check(args.get("pipes"), n)
    _check_room(turn, n)
    state.intensity.admit(n, turn.now)
    pids = [state.table.next_pid() for _ in range(n)]
    pgid = pids[0] if caller.external else caller.pgid
    for index, pid in enumerate(pids):
        _fork_one(turn, caller, call, pid, pgid, index, deadline, placement)
        turn.emit(*state.pipes.reserve(pid, inherited[index % len(inherited)]))
    if named:
        lifecycle.give_name(turn, named, pids[0])
    turn.reply(call, {"pids": pids, "pgid": pgid})


def _check_room(turn: Turn, n: int) -> None:
    """Refuse a fork of more processes than may live at the same time.

    Raises:
        ForkError: says how many there are, and what may be changed.
    """
    state = turn.state
    most = state.settings.max_processes
    if len(state.table) + n <= most:
        return
    living = sum(record.alive and not record.external for record in state.table)
    if living + n > most:
        raise ForkError(
            f"{living + n} processes would live at the same time, and the group allows {most}:"
            " raise max_processes= of the group, or wait for some of them first"
        )


def _fork_one(
    turn: Turn,
    caller: Process,
    call: Called,
    pid: int,
    pgid: int,
    index: int,
    deadline: float | None,
    placement: dict[str, Any],
) -> None:
    state, args = turn.state, call.args
    name = args.get("name") or f"process-{pid}"
    record = Process(
        pid=pid,
        ppid=caller.pid,
        pgid=pgid,
        name=str(name),
        kind=args["kind"],
        what=str(args.get("what", "")),
        created=turn.wall,
        on_orphan=args.get("on_orphan", "kill"),
        placement=placement,
        memory=args.get("memory"),
    )
    if deadline is not None:
        record.deadline = turn.now + deadline
    arguments = call.blobs[1 + index] if len(call.blobs) > 2 else call.blobs[1]
    record.correspondents.add(caller.pid)
    welcome = {"kind": record.kind, "stdin": bool(args.get("stdin")), "words": args.get("words")}
    if args.get("streams"):
        welcome["streams"] = dict(args["streams"])
    if args.get("code"):
        welcome["code"] = [str(name) for name in args["code"]]
    around = ("env", "cwd", "memory", "args", "inherited")
    order = {"welcome": welcome, **{name: args.get(name) for name in around}}
    order["fork"] = pid - index  # the first of them
    machines.fork(turn, order, record, (call.blobs[0], arguments, *state.sources.content(args.get("source_hash"))))


def op_started(turn: Turn, caller: Process, call: Called) -> None:
    """Answer when k of these processes have come up, or cannot any more."""
    pids = tuple(integer(pid, "pid", 1, 1 << 32) for pid in call.args["pids"])
    count = integer(call.args["count"], "count", 1, len(pids))
    turn.state.starts.begin(call.pid, call.rid, pids, count)


def _check_surroundings(args: dict[str, Any]) -> None:
    """Refuse what no provider could make of an order."""
    cwd, memory = args.get("cwd"), args.get("memory")
    for name, kinds in (("env", (str, NoneType)), ("args", (str,))):
        texts = args.get(name)
        if texts is not None and not (
            isinstance(texts, dict) and all(isinstance(key, str) and isinstance(texts[key], kinds) for key in texts)
        ):
            raise InvalidCall(f"{name} is a map of strings, not {texts!r}")
    inherited = args.get("inherited")
    if inherited is not None and not (isinstance(inherited, dict) and inherited.keys() <= _INHERITED.keys()):
        raise InvalidCall(f"inherited is a map of {', '.join(_INHERITED)}, not {inherited!r}")
    for name, value in (inherited or {}).items():
        if type(value) is not _INHERITED[name]:
            raise InvalidCall(f"{name} is a value of the type {_INHERITED[name].__name__}, not {value!r}")
    if cwd is not None and not isinstance(cwd, str):
        raise InvalidCall(f"cwd is a path, not {cwd!r}")
    if memory is not None:
        integer(memory, "memory", 1, (1 << 63) - 1)
