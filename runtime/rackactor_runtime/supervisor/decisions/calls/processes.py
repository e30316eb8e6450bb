"""The system calls: what a member may ask of its supervisor, each a small method named after it."""

from __future__ import annotations

import itertools
import math
import signal
from collections.abc import Callable, Sequence
from types import NoneType
from typing import Any

from rackactor.errors import ForkError, InvalidCall, NoChild, NoSuchProcess, NotAllowed, RackError
from rackactor.signals import parse_signal
from rackactor.status import State, signal_name
from rackactor_runtime.supervisor.decisions.calls.actor_system import ActorSystemCalls
from rackactor_runtime.supervisor.decisions.calls.operators import GuestCalls
from rackactor_runtime.supervisor.decisions.calls.pipes import PipeCalls
from rackactor_runtime.supervisor.decisions.exit_status import Ending
from rackactor_runtime.supervisor.decisions.lifecycle import Core
from rackactor_runtime.supervisor.decisions.machines import KeeperCalls, place
from rackactor_runtime.supervisor.decisions.messages import Called, Notify, Reply
from rackactor_runtime.supervisor.decisions.results import ResultCalls
from rackactor_runtime.supervisor.decisions.services import ServiceCalls
from rackactor_runtime.supervisor.decisions.table import Process
from rackactor_runtime.supervisor.decisions.waits import Waiter

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


class Calls(ActorSystemCalls, ServiceCalls, PipeCalls, GuestCalls, KeeperCalls, ResultCalls):
    """Carry out system calls on a core."""

    def __init__(self, core: Core) -> None:
        ActorSystemCalls.__init__(self, core)
        ServiceCalls.__init__(self, core)
        self._introductions = itertools.count(1)
        self._ops: dict[str, Callable[[Process, Called], None]] = {
            name.removeprefix("op_"): getattr(self, name) for name in dir(self) if name.startswith("op_")
        }

    def handle(self, call: Called) -> None:
        """Carry out a call; a refusal goes back to the caller by name."""
        caller = self._core.table.get(call.pid)
        if caller is None or not caller.alive:
            return
        try:
            op = self._ops.get(call.op)
            if op is None:
                raise InvalidCall(f"there is no system call {call.op!r}")
            op(caller, call)
        except RackError as error:
            self._refuse(call, type(error).__name__, str(error))
        except OSError:
            raise  # not the arguments' fault
        except Exception as error:  # whatever they are
            self._refuse(call, "InvalidCall", f"{call.op}: bad arguments ({type(error).__name__}: {error})")

    def _refuse(self, call: Called, name: str, message: str) -> None:
        self._core.effects.append(Reply(call.pid, call.rid, False, {"type": name, "message": message}))

    # -- fork ------------------------------------------------------------------------------------------

    def op_fork(self, caller: Process, call: Called) -> None:
        """Write down the intents of n processes; they begin at once."""
        core, args = self._core, call.args
        if core.shutdown.reason:
            raise NotAllowed(f"the group is ending: {core.shutdown.reason}")
        n = _integer(args["n"], "n", 1, MAX_FORK)
        kind, on_orphan = args["kind"], args.get("on_orphan", "kill")
        _one_of(kind, "kind", _KINDS)
        _one_of(on_orphan, "on_orphan", _ORPHANS)
        deadline = _seconds(args.get("deadline"), "deadline")
        _check_surroundings(args)
        if on_orphan == "detach" and deadline is None:
            raise InvalidCall('on_orphan="detach" needs a deadline=: nothing else would ever end the process')
        if len(call.blobs) != 1 + n and len(call.blobs) != 2:
            raise InvalidCall(f"a fork of {n} carries the target and 1 or {n} sets of arguments")
        named = args.get("global_name")
        if named and named in core.names:
            self._reply(call, {"pids": [core.names[named]], "existing": True})
            return
        placement = place(caller, args.get("placement"))
        inherited = core.pipes.check(args.get("pipes"), n)
        self._check_room(n)
        core.intensity.admit(n, core.now)
        pids = [core.table.next_pid() for _ in range(n)]
        pgid = pids[0] if caller.external else caller.pgid
        for index, pid in enumerate(pids):
            self._fork_one(caller, call, pid, pgid, index, deadline, placement)
            core.effects.extend(core.pipes.reserve(pid, inherited[index % len(inherited)]))
        if named:
            core.give_name(named, pids[0])
        self._reply(call, {"pids": pids, "pgid": pgid})

    def _check_room(self, n: int) -> None:
        """Refuse a fork of more processes than may live at the same time.

        Raises:
            ForkError: says how many there are, and what may be changed.
        """
        core = self._core
        most = core.settings.max_processes
        if len(core.table) + n <= most:
            return
        living = sum(record.alive and not record.external for record in core.table)
        if living + n > most:
            raise ForkError(
                f"{living + n} processes would live at the same time, and the group allows {most}:"
                " raise max_processes= of the group, or wait for some of them first"
            )

    def _fork_one(
        self,
        caller: Process,
        call: Called,
        pid: int,
        pgid: int,
        index: int,
        deadline: float | None,
        placement: dict[str, Any],
    ) -> None:
        core, args = self._core, call.args
        name = args.get("name") or f"process-{pid}"
        record = Process(
            pid=pid,
            ppid=caller.pid,
            pgid=pgid,
            name=str(name),
            kind=args["kind"],
            what=str(args.get("what", "")),
            created=core.wall,
            on_orphan=args.get("on_orphan", "kill"),
            placement=placement,
            memory=args.get("memory"),
        )
        if deadline is not None:
            record.deadline = core.now + deadline
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
        core.fork(order, record, (call.blobs[0], arguments, *core.sources.content(args.get("source_hash"))))

    def op_started(self, caller: Process, call: Called) -> None:
        """Answer when k of these processes have come up, or cannot any more."""
        pids = tuple(_integer(pid, "pid", 1, 1 << 32) for pid in call.args["pids"])
        count = _integer(call.args["count"], "count", 1, len(pids))
        self._core.starts.begin(call.pid, call.rid, pids, count)

    def answer_starts(self) -> None:
        """Answer the `started` calls whose time has come."""
        for start in self._core.starts.decided():
            self._core.effects.append(Reply(start.pid, start.rid, True, {"up": start.up_pids()}))

    # -- wait --------------------------------------------------------------------------------------------

    def op_wait(self, caller: Process, call: Called) -> None:
        """Wait for the end of a process, of one of several, or of any child (no pids)."""
        targets = tuple(_integer(pid, "pid", 1, 1 << 32) for pid in call.args.get("pids", ()))
        hang = bool(call.args.get("hang", True))
        if targets == (caller.pid,):
            raise NoChild(f"process {caller.pid} cannot wait for its own end")
        if caller.kind == "operator" and targets:
            past = self._core.table.past(targets[0])
            if past is not None and past.status is not None:
                self._core.answer_wait(call.pid, call.rid, past, reap=False)
                return
        found = self._core.waits.begin(Waiter(call.pid, call.rid, targets), hang=hang)
        if found is not None:
            # A command line only looks: whoever asks next, within a detached group's `linger`, is told the same.
            self._core.answer_wait(call.pid, call.rid, found, reap=True)
        elif not hang:
            self._reply(call, {"pid": 0})

    def op_cancel(self, caller: Process, call: Called) -> None:
        """Withdraw a call that timed out."""
        rid = _integer(call.args["rid"], "rid", 1, 1 << 62)
        self._core.waits.cancel(call.pid, rid)
        self._core.services.cancel(call.pid, rid)
        self._core.starts.cancel(call.pid, rid)
        # Answered in any case, so that the caller may forget the call; if the result has crossed this, it came first.
        self._core.effects.append(Reply(call.pid, rid, False, {"type": "RackTimeout", "message": "withdrawn"}))

    # -- kill ------------------------------------------------------------------------------------------

    def op_kill(self, caller: Process, call: Called) -> None:
        """Send a signal to processes: pids, 0 (the whole group), -pgid (a process group)."""
        sig = parse_signal(call.args["signal"])
        targets: list[Process] = []
        missing: list[int] = []
        for pid in call.args["pids"]:
            found = self._targets(_integer(pid, "pid", -(1 << 32), 1 << 32))
            targets.extend(found)
            if not found:
                missing.append(pid)
        if sig != 0:
            for record in targets:
                self._may_signal(record, sig, len(targets) == 1)
            for record in targets:
                if not (record.external and sig == signal.SIGKILL):
                    self._core.signal(record, sig, call.pid)
        if missing:
            names = ", ".join(str(pid) for pid in missing)
            raise NoSuchProcess(f"no living process {names} in this group")
        self._reply(call)

    def _targets(self, pid: int) -> list[Process]:
        table = self._core.table
        if pid == 0:
            return [record for record in table if record.alive and not record.hidden]
        if pid < 0:
            return [record for record in table.members(-pid) if record.alive and not record.hidden]
        record = table.get(pid)
        return [record] if record is not None and record.alive else []

    def _may_signal(self, record: Process, sig: int | str, alone: bool) -> None:
        if sig in (signal.SIGSTOP, signal.SIGTSTP) and record.kind != "command":
            raise InvalidCall(
                f"{signal_name(sig)} would stop the agent of process {record.pid} together with its {record.kind};"
                " only a command can be stopped"
            )
        if record.kind == "machine":
            raise NotAllowed(f"process {record.pid} is the machine of process {record.machine}: it ends with that")
        if record.kind == "service":
            raise NotAllowed(f"process {record.pid} is the group's service {record.name!r}: it ends with the group")
        if alone and record.external and sig == signal.SIGKILL:
            raise NotAllowed(f"process {record.pid} was not started by the group; end it, or the group, instead")

    # -- ends --------------------------------------------------------------------------------------------

    def op_exit(self, caller: Process, call: Called) -> None:
        """Say how the target ended; the instance ends next."""
        caller.report = _report(call.args)
        caller.result = (*caller.result, *call.blobs)
        if caller.state is State.RUNNING:
            caller.state = State.STOPPING
        if caller.kill_at is None and not caller.external:
            caller.kill_at = self._core.now + self._core.settings.grace
        self._reply(call)
        self._core.leaving(caller)
        if caller.external:
            self._core.gone(caller, Ending(call.args.get("code", 0), None))

    def op_bye(self, caller: Process, call: Called) -> None:
        """Part from the group: a command line's end; the script's own is known by its death, or by the group's end."""
        if caller.kind == "operator":
            self._core.gone(caller, Ending(0, None))

    def op_spare_children(self, caller: Process, call: Called) -> None:
        """Let the caller's children outlive it (Thespian's exit request that is not recursive)."""
        for child in self._core.table.children(caller.pid):
            if child.on_orphan == "kill":
                child.on_orphan = "adopt"
        self._reply(call)

    def op_end(self, caller: Process, call: Called) -> None:
        """End the group; the answer comes when everything is gone.

        With `hold` the supervisor itself stays, for its logs, until the same caller says `end` once more.
        """
        if caller.kind not in ("script", "operator"):
            raise NotAllowed("only the program that made the group, or its command line, may end it")
        if caller.kind == "script":
            self._core.shutdown.hold(caller.pid if call.args.get("hold") else 0)
        self._core.shutdown.ask(call.pid, call.rid, str(call.args.get("reason") or f"ended by process {call.pid}"))

    # -- looking ------------------------------------------------------------------------------------------

    def op_ps(self, caller: Process, call: Called) -> None:
        """List the processes."""
        table, wanted = self._core.table, call.args.get("pids")
        asked = [table.get(pid) for pid in sorted({*wanted})] if wanted else table
        rows = [record.row() for record in asked if record is not None and not record.hidden]
        self._reply(call, {"processes": rows})

    def op_why(self, caller: Process, call: Called) -> None:
        """Tell everything that is known of a process, living or ended."""
        pid = _integer(call.args["pid"], "pid", 1, 1 << 32)
        record = self._core.table.get(pid) or self._core.table.past(pid)
        if record is None:
            raise NoSuchProcess(f"this group never had a process {pid}, or has forgotten it")
        signals = [[sent.at, sent.sender, sent.signal] for sent in record.sent]
        self._reply(call, {"process": record.row(), "signals": signals})

    def op_group(self, caller: Process, call: Called) -> None:
        """Tell about the group itself."""
        core = self._core
        living = sum(1 for record in core.table if record.alive and not record.external)
        fields = {"gid": core.gid, "name": core.name, "epoch": core.epoch, "processes": living}
        self._reply(call, {**fields, "ending": core.shutdown.reason, "detached": core.shutdown.detached})

    def op_lookup(self, caller: Process, call: Called) -> None:
        """Find the process that has a global name."""
        self._reply(call, {"pid": self._core.names.get(call.args["name"], 0)})

    def op_detach(self, caller: Process, call: Called) -> None:
        """Let the group outlive the program that made it: its processes belong to the supervisor then."""
        if caller.kind != "script":
            raise NotAllowed("only the program that made the group may detach it")
        if self._core.deadline_at is None:
            raise InvalidCall("a detached group needs a deadline: nothing else would ever end it")
        self._core.shutdown.detached = True
        for child in self._core.table.children(caller.pid):
            child.on_orphan = "adopt"
        self._reply(call)
        caller.report = {"how": "exited", "code": 0}
        self._core.gone(caller, Ending(0, None))
        self._core.table.reap(caller)

    # -- direct connections ---------------------------------------------------------------------------

    def op_introduce(self, caller: Process, call: Called) -> None:
        """Introduce the caller to a process that it talks to a lot."""
        other = self._core.table.get(call.args["pid"])
        if not self._core.settings.direct or other is None or not other.alive or other.started is None:
            return
        other.correspondents.add(caller.pid)
        caller.correspondents.add(other.pid)
        fields = {"pid": caller.pid, "incarnation": caller.incarnation, "key": caller.key}
        fields["number"] = next(self._introductions)
        self._core.effects.append(Notify(other.pid, "listen", fields))

    def op_listening(self, caller: Process, call: Called) -> None:
        """Tell the other one of an introduction where to connect."""
        other = self._core.table.get(call.args["pid"])
        if other is None or not other.alive:
            return
        endpoint = call.args["endpoint"]
        if type(endpoint) is not str or type(call.args["ticket"]) is not bytes:
            raise InvalidCall("a process listens at an endpoint, a text, for a ticket, bytes")
        if not endpoint.startswith(("ipc://", "tcp://")) or len(endpoint) > 300 or not endpoint.isprintable():
            raise InvalidCall(f"nobody can connect to {endpoint[:300]!r}")
        fields = {
            "pid": caller.pid,
            "incarnation": caller.incarnation,
            "key": caller.key,
            "endpoint": call.args["endpoint"],
            "ticket": call.args["ticket"],
            "number": _integer(call.args["number"], "number", 1, 1 << 62),
        }
        self._core.effects.append(Notify(other.pid, "meet", fields))

    def op_malformed(self, caller: Process, call: Called) -> None:
        """Hear that the caller has got bytes from another process that nobody of this wire sends.

        It costs the other one its membership. That is no more than a `kill` may do, and can be said of those only that
        have been in touch with the caller.
        """
        other = self._core.table.get(_integer(call.args["pid"], "pid", 1, 1 << 32))
        if other is not None and caller.pid in other.correspondents | {other.ppid}:
            words = str(call.args["words"])[:500]
            self._core.expel(other, f"ProtocolError: what it sent to process {caller.pid} was {words}")
        self._reply(call)

    def op_part(self, caller: Process, call: Called) -> None:
        """Tell the other one of introductions that nothing came of, or whose connections went dark."""
        other = self._core.table.get(call.args["pid"])
        if other is None or not other.alive:
            return
        numbers = [_integer(number, "number", 1, 1 << 62) for number in call.args["numbers"]]
        self._core.effects.append(Notify(other.pid, "part", {"pid": caller.pid, "numbers": numbers}))


def _check_surroundings(args: dict[str, Any]) -> None:
    """Refuse what no provider could make of an order."""
    cwd, memory = args.get("cwd"), args.get("memory")
    for name, kinds in (("env", (str, NoneType)), ("args", (str,))):
        texts = args.get(name)
        if texts is not None and not (
            isinstance(texts, dict) and all(isinstance(key, str) and isinstance(texts[key], kinds) for key in texts)
        ):
            raise InvalidCall(f"{name} is a map of texts, not {texts!r}")
    inherited = args.get("inherited")
    if inherited is not None and not (isinstance(inherited, dict) and inherited.keys() <= _INHERITED.keys()):
        raise InvalidCall(f"inherited is a map of {', '.join(_INHERITED)}, not {inherited!r}")
    for name, value in (inherited or {}).items():
        if type(value) is not _INHERITED[name]:
            raise InvalidCall(f"{name} is a value of the type {_INHERITED[name].__name__}, not {value!r}")
    if cwd is not None and not isinstance(cwd, str):
        raise InvalidCall(f"cwd is a path, not {cwd!r}")
    if memory is not None:
        _integer(memory, "memory", 1, (1 << 63) - 1)


def _report(args: dict[str, Any]) -> dict[str, Any]:
    """Return what an agent says of its target's end, checked: the verdict is built on it."""
    report: dict[str, Any] = {"how": str(args.get("how", "exited"))}
    if args.get("code") is not None:
        report["code"] = _integer(args["code"], "code", -(1 << 31), 1 << 32)
    if args.get("signal") is not None:
        report["signal"] = _integer(args["signal"], "signal", 1, 127)
    if args.get("evidence") is not None:
        report["evidence"] = str(args["evidence"])
    return report


def _integer(value: Any, name: str, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise InvalidCall(f"{name} is an integer from {low} to {high}, not {value!r}")
    return value


def _seconds(value: Any, name: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise InvalidCall(f"{name} is a positive number of seconds, not {value!r}")
    return float(value)


def _one_of(value: Any, name: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise InvalidCall(f"{name} is one of {', '.join(allowed)}, not {value!r}")
