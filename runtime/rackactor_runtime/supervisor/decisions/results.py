"""Results too large for one message: they come in parts, and whoever was told of an end fetches them in parts.

Between two parts there is room for heartbeats. A message of a gigabyte would hold them up, and its receiver would be
taken for dead, or take the supervisor for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rackactor.errors import InvalidCall
from rackactor_runtime.supervisor.decisions.messages import Called, Reply
from rackactor_runtime.supervisor.decisions.table import Process

if TYPE_CHECKING:
    from rackactor_runtime.supervisor.decisions.lifecycle import Core

#: Bytes of a result that goes with the end itself.
AT_ONCE = 32 << 20


class Shelf:
    """Large results, by who was told of them. Pure."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, int], list[Any]] = {}

    def put(self, waiter: int, pid: int, frames: Sequence[Any]) -> Sequence[Any]:
        """Keep the result of a process for a waiter if it is large; return the frames that go to it at once."""
        if sum(map(len, frames)) <= AT_ONCE:
            return frames
        self._kept[waiter, pid] = list(frames[1:])
        return frames[:1]

    def count(self, waiter: int, pid: int) -> int:
        """Return how many parts wait."""
        return len(self._kept.get((waiter, pid), ()))

    def take(self, waiter: int, pid: int) -> Any:
        """Return the next part; with the last one nothing is left.

        Raises:
            InvalidCall: there is none.
        """
        parts = self._kept.get((waiter, pid))
        if not parts:
            raise InvalidCall(f"there is no part of the result of process {pid} for process {waiter}")
        part = parts.pop(0)
        if not parts:
            del self._kept[waiter, pid]
        return part

    def drop(self, waiter: int, pid: int) -> None:
        """Forget a result that nobody wants any more."""
        self._kept.pop((waiter, pid), None)

    def gone(self, waiter: int) -> None:
        """Forget what a process that has ended has not fetched."""
        self._kept = {key: parts for key, parts in self._kept.items() if key[0] != waiter}


class ResultCalls:
    """Carry out these system calls on a core."""

    _core: Core

    def op_result_part(self, caller: Process, call: Called) -> None:
        """Take a part of the caller's own result, ahead of its exit."""
        if caller.report is None:
            caller.result = (*caller.result, *call.blobs)
        self._core.effects.append(Reply(call.pid, call.rid, True))

    def op_result_next(self, caller: Process, call: Called) -> None:
        """Give the next part of the result of a process whose end the caller was told."""
        part = self._core.shelf.take(caller.pid, int(call.args["pid"]))
        self._core.effects.append(Reply(call.pid, call.rid, True, {}, (part,)))

    def op_result_drop(self, caller: Process, call: Called) -> None:
        """Forget what is left of such a result."""
        self._core.shelf.drop(caller.pid, int(call.args["pid"]))
        self._core.effects.append(Reply(call.pid, call.rid, True))
