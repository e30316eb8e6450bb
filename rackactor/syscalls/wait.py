"""What this process has been told of the ends of others: a child is reaped once, and the answer must not get lost.

An interrupt may come between the answer and the return of `wait`. Several threads may ask for the same process, and
only one of them gets the answer. So the handles of a process (`Process`) keep the answer in a shared `Fate`. It goes
with the last handle: a program that starts a million processes in a row does not remember a million ends.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from rackactor import units
from rackactor.errors import InvalidCall, NoChild, RackTimeout
from rackactor.kernel.kernel import Kernel
from rackactor.kernel.pending import Pending
from rackactor.status import ExitStatus
from rackactor.units import CALL_TIMEOUT
from rackactor.wire.calls.processes import Wait
from rackactor.wire.calls.results import ResultDrop, ResultNext

#: The largest result that a handle keeps after it was returned, bytes.
RESULT_KEPT = 1 << 20


class Fate:
    """What this process knows of the end of another process.

    Attributes:
        status: how it ended; None: not known yet.
        result: the frames of what it returned or raised (see `rackactor.wire.outcomes`); None: there are none, or they
            have been returned.
        given: whether its result was returned and was too large to be kept.
    """

    __slots__ = ("__weakref__", "given", "pid", "result", "status")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.status: ExitStatus | None = None
        self.result: Any = None
        self.given = False

    def take(self) -> Any:
        """Return the frames of the result, or None; keep them only if they are small."""
        result = self.result
        if type(result) is Shelved:
            self.result, self.given = None, True
            return result.fetch()
        if result is not None and sum(map(len, result)) > RESULT_KEPT:
            self.result, self.given = None, True
        return result


class Shelved:
    """A large result that the supervisor keeps: fetched in parts when it is asked for."""

    def __init__(self, kernel: Kernel, pid: int, head: Any, parts: int) -> None:
        self._kernel = kernel
        self._pid = pid
        self._head = head
        self._parts = parts

    def fetch(self) -> list[Any]:
        """Return its frames."""
        frames = [self._head]
        while self._parts:
            _, blobs = self._kernel.call(ResultNext(self._pid))
            self._parts -= 1
            frames += blobs
        return frames

    def __del__(self) -> None:
        if self._parts and not self._kernel.closed and not self._kernel.ended:
            self._kernel.call_from_finalizer(ResultDrop(self._pid))


class _End(NamedTuple):
    """An end that was told, but not returned to any caller."""

    pid: int
    status: ExitStatus
    result: Any


class Waits:
    """Wait for processes. Thread-safe."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._fates: WeakValueDictionary[int, Fate] = WeakValueDictionary()
        self._lock = threading.RLock()  # a signal handler may interrupt the holder, and make a handle
        self._late: list[_End] = []  # ends not returned: the caller had left before the answer came
        self._open: list[Pending] = []  # requests under way, in any thread

    def fate(self, pid: int) -> Fate:
        """Return what is or will be known of a process's end; it is kept as long as anybody holds it."""
        with self._lock:
            fate = self._fates.get(pid)
            if fate is None:
                fate = self._fates[pid] = Fate(pid)
            return fate

    def wait(self, pid: int | Sequence[int], timeout: float | None) -> tuple[int, ExitStatus]:
        """Wait for the end of one of several processes: see `Session.wait`."""
        timeout = units.timeout(timeout)
        pids = _targets(pid)
        if (known := self._take_late(pids)) is not None:
            return known
        with self._asking(Wait(pids)) as (pending, rid):
            if not self._kernel.wait(lambda: pending.done or self._is_late(pids), timeout):
                raise RackTimeout(f"no end of {pid if pids else 'a child'} within {timeout:g} s")
            # The answer to an earlier, abandoned wait may come first, and be the reason why this one is refused.
            if (not pending.done or pending.error is not None) and (known := self._take_late(pids)) is not None:
                self._kernel.withdraw(pending, rid, self._keep)
                return known
            pending.get()
            return self._note(pending)[:2]

    def wait_for(self, fate: Fate, timeout: float | None) -> ExitStatus:
        """Wait for one process; further calls give the same answer."""
        timeout = units.timeout(timeout)
        try:
            if fate.status is None:
                self.wait(fate.pid, timeout)
        except NoChild:
            self._catch_up()
            if fate.status is None:
                raise
        return self._settled(fate)

    def poll(self, fate: Fate) -> ExitStatus | None:
        """Return how a process ended, or None while it lives."""
        try:
            if fate.status is None:
                with self._asking(Wait([fate.pid], hang=False)) as (pending, _):
                    if not self._kernel.wait(lambda: pending.done, CALL_TIMEOUT):
                        raise RackTimeout(f"no answer within {CALL_TIMEOUT:g} s whether {fate.pid} lives")
                    if pending.get()["pid"]:
                        self._note(pending)
        except NoChild:
            self._catch_up()
            if fate.status is None:
                raise
        return None if fate.status is None else self._settled(fate)

    def learn(self, pid: int, status: ExitStatus) -> None:
        """Record how a process ended that nobody has waited for: the processes that are left when the group ends."""
        fate = self._fates.get(pid)
        if fate is not None and fate.status is None:
            fate.status = status

    def _settled(self, fate: Fate) -> ExitStatus:
        """Return how a process ended; a wait for any child does not return it any more."""
        assert fate.status is not None
        if self._late:
            self._take_late([fate.pid])
        return fate.status

    @contextmanager
    def _asking(self, call: Wait) -> Iterator[tuple[Pending, int]]:
        pending, rid = self._kernel.begin_call(call)
        self._open.append(pending)
        try:
            yield pending, rid
        except BaseException:
            self._kernel.withdraw(pending, rid, self._keep)
            raise
        finally:
            self._open.remove(pending)

    def _note(self, answer: Pending) -> _End:
        status = ExitStatus.from_wire(answer.value["status"])
        end = _End(answer.value["pid"], status, self._result_of(answer))
        fate = self._fates.get(end.pid)
        if fate is not None and fate.status is None:
            # Another thread must not see the status without the result.
            fate.result, fate.status = end.result, end.status
        return end

    def _result_of(self, answer: Pending) -> Any:
        """Return the result in an answer: always the same object, since it frees what it stands for when it goes."""
        parts = answer.value.get("parts", 0)
        if not parts:
            return answer.blobs or None
        with self._lock:
            if len(answer.blobs) != 1 or type(answer.blobs[0]) is not Shelved:
                answer.blobs = [Shelved(self._kernel, answer.value["pid"], answer.blobs[0], parts)]
            return answer.blobs[0]

    def _keep(self, answer: Pending) -> None:
        """Keep an end that was told after its wait had been abandoned."""
        if answer.error is None and answer.value["pid"]:
            self._late.append(self._note(answer))

    def _catch_up(self) -> None:
        """Record what other threads have been told, and may not have looked at yet."""
        for answer in list(self._open):
            if answer.done and answer.error is None and answer.value["pid"]:
                self._note(answer)

    def _is_late(self, pids: Sequence[int]) -> bool:
        return any(not pids or end.pid in pids for end in self._late)

    def _take_late(self, pids: Sequence[int]) -> tuple[int, ExitStatus] | None:
        for end in [end for end in list(self._late) if not pids or end.pid in pids]:
            try:
                self._late.remove(end)
            except ValueError:
                continue  # another thread was faster
            fate = self._fates.get(end.pid)
            if fate is not None and fate.status is None:
                fate.result, fate.status = end.result, end.status
            return end.pid, end.status
        return None


def _targets(pid: int | Sequence[int]) -> list[int]:
    """Return the pids whose end is to be awaited; an empty list: any child's."""
    if pid == -1:
        return []
    try:
        pids = [pid] if isinstance(pid, int) else list(pid)
    except TypeError:
        pids = []
    if not pids or not all(isinstance(p, int) and p > 0 for p in pids):
        raise InvalidCall(f"wait takes a pid, -1 (any child) or a list of pids, not {pid!r}")
    return pids
