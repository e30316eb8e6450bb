"""Starting processes: a request, with what the processes inherit and the code they need, becomes a system call."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from rackactor import units
from rackactor.errors import ForkFailed, RackTimeout
from rackactor.kernel.kernel import Kernel
from rackactor.launch import process_context
from rackactor.program import shipping
from rackactor.program.shipping import Shipping
from rackactor.status import ExitStatus
from rackactor.syscalls.fork_call import Forked
from rackactor.syscalls.fork_request import ForkRequest
from rackactor.syscalls.process import Process
from rackactor.syscalls.wait import Waits
from rackactor.wire.calls.fork import Fork, Started
from rackactor.wire.calls.processes import Ps


class Forks:
    """Start the children of one process.

    Args:
        kernel: of this process.
        waits: what it knows of the ends of others.
        code: the program's code, where the children cannot see this program's disk.
        base: the context that children have by default; None: not known.
    """

    def __init__(self, kernel: Kernel, waits: Waits, code: Shipping, base: process_context.Base | None) -> None:
        self._kernel = kernel
        self._waits = waits
        self._code = code
        self._base = base

    def start(self, request: ForkRequest) -> Process[Any] | Forked[Any]:
        """Start processes: see `Session.fork`."""
        if not request.call.n:
            return Forked()
        kernel, call = self._kernel, request.call
        pids = self._send(request)["pids"]
        forked: Forked[Any] = Forked(
            Process(kernel, self._waits, pid, ppid=kernel.pid, name=call.name or f"process-{pid}", kind=call.kind)
            for pid in pids
        )
        forked.outcomes = {}
        if request.min_ok is not None:
            self._await_start(forked, request.min_ok, request.timeout)
        return forked if request.many else forked[0]

    def create_actor(self, request: ForkRequest) -> tuple[int, bool]:
        """Start an actor: see `Session.fork_actor`."""
        fields = self._send(request)
        return fields["pids"][0], bool(fields.get("existing"))

    def _send(self, request: ForkRequest) -> dict[str, Any]:
        call, blobs = request.call, request.blobs
        more = self._inherited(call.env or {}, call.cwd)
        if self._code.needed:
            more["code"] = self._code.for_fork(call.kind, call.words, blobs, placed=call.cwd is not None)
        else:
            shipping.check_python(self._kernel.welcome.python, blobs)
        fields, _ = self._kernel.call(Fork(**vars(call) | more), *blobs)
        return fields

    def _inherited(self, env: Mapping[str, str | None], cwd: str | None) -> dict[str, Any]:
        """Return the context that a child on this host inherits from this process; what was given takes precedence."""
        if self._kernel.welcome.remote:
            return {}
        found = process_context.differences(self._base)
        directory = found["cwd"] if cwd is None else os.path.join(found["cwd"], cwd)
        return {"env": {**found["env"], **env}, "cwd": directory, "inherited": found["inherited"]}

    def _await_start(self, forked: Forked[Any], min_ok: int, timeout: float | None) -> None:
        pids = [process.pid for process in forked]
        up = self._those_up(pids, min_ok, timeout)
        enough = len(up) >= min_ok
        rest = [process for process in forked if not enough or process.pid not in up]
        for process in rest:
            if process.is_alive():
                process.kill("KILL")
        outcomes: dict[int, str | ExitStatus] = dict.fromkeys(pids, "running")
        outcomes.update({process.pid: process.wait(units.CALL_TIMEOUT) for process in rest})
        forked.outcomes = outcomes
        if not enough:
            told = "; ".join(f"{pid}: {outcome}" for pid, outcome in outcomes.items())
            raise ForkFailed(f"{len(up)} of {len(pids)} processes came up, {min_ok} were wanted ({told})", outcomes)
        forked[:] = [process for process in forked if process.pid in up]

    def _those_up(self, pids: list[int], wanted: int, timeout: float | None) -> list[int]:
        """Wait until as many as are wanted have come up, or cannot any more; return those that have."""
        try:
            fields, _ = self._kernel.call(Started(pids, wanted), timeout=timeout)
            up: list[int] = fields["up"]
            return up
        except RackTimeout:
            fields, _ = self._kernel.call(Ps())
            started = {row["pid"] for row in fields["processes"] if row["started"] is not None}
            return [pid for pid in pids if pid in started]
