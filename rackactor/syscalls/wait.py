"""How processes ended, as this one is told: a child is reaped once, and what was told of it must not get lost.

An interrupt may come between the telling and the return; several threads may ask for the same process, and only one
of them is told. What was told is kept by the handles of the process (`Process`), which share one `Fate`, and goes with
the last of them: a program that starts a million processes one after the other does not remember a million ends.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from rackactor import units
from rackactor.errors import NoChild, RackTimeout
from rackactor.kernel.kernel import Kernel
from rackactor.kernel.pending import Pending
from rackactor.status import ExitStatus
from rackactor.syscalls import fork_options
from rackactor.units import CALL_TIMEOUT
from rackactor.wire.calls.processes import Wait
from rackactor.wire.calls.results import ResultDrop, ResultNext

#: Bytes of a result that a handle keeps after it has been asked for: small ones, for whoever asks again.
RESULT_KEPT = 1 << 20


class Fate:
    """What this process knows of the end of another one.

    Attributes:
        status: how it ended; None: nobody has been told yet.
        result: the frames of what it returned or raised (see `rackactor.wire.outcomes`); None: nothing, or it has been
            given away.
        given: that its result was too large to be kept for whoever asks again.
    """

    __slots__ = ("__weakref__", "given", "pid", "result", "status")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.status: ExitStatus | None = None
        self.result: Any = None
        self.given = False

    def take(self) -> Any:
        """Return the frames of the result, or None; keep it only if it is small."""
        result = self.result
        if type(result) is Shelved:
            self.result, self.given = None, True
            return result.fetch()
        if result is not None and sum(map(len, result)) > RESULT_KEPT:
            self.result, self.given = None, True
        return result


class Shelved:
    """A large result that the supervisor keeps for us: fetched in parts when somebody asks for it."""

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
    """An end that was told, and that nobody was given."""

    pid: int
    status: ExitStatus
    result: Any


class Reaping:
    """Wait for processes. Thread-safe."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._fates: WeakValueDictionary[int, Fate] = WeakValueDictionary()
        self._lock = threading.RLock()  # a signal handler may interrupt its holder, and make a handle
        self._late: list[_End] = []  # those that nobody was given: whoever had asked did not stay for the answer
        self._open: list[Pending] = []  # questions that are under way, in whichever threads

    def fate(self, pid: int) -> Fate:
        """Return what is known of a process's end, and will be: as long as somebody holds it."""
        with self._lock:
            fate = self._fates.get(pid)
            if fate is None:
                fate = self._fates[pid] = Fate(pid)
            return fate

    def wait(self, pid: int | Sequence[int], timeout: float | None) -> tuple[int, ExitStatus]:
        """Wait for the end of one of several processes: see `Session.wait`."""
        timeout = units.timeout(timeout)
        pids = fork_options.targets(pid)
        if (known := self._take_late(pids)) is not None:
            return known
        with self._asking(Wait(pids)) as (pending, rid):
            if not self._kernel.wait(lambda: pending.done or self._is_late(pids), timeout):
                raise RackTimeout(f"no end of {pid if pids else 'a child'} within {timeout:g} s")
            # What an earlier wait that had been given up was told may come first, and be why this one is refused.
            if (not pending.done or pending.error is not None) and (known := self._take_late(pids)) is not None:
                self._kernel.withdraw(pending, rid, self._keep)
                return known
            pending.get()
            return self._note(pending)[:2]

    def wait_for(self, fate: Fate, timeout: float | None) -> ExitStatus:
        """Wait for one process; asked again, answer the same."""
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
        """Take note of how a process ended that nobody has waited for: of all that are left when the group ends."""
        fate = self._fates.get(pid)
        if fate is not None and fate.status is None:
            fate.status = status

    def _settled(self, fate: Fate) -> ExitStatus:
        """Return how a process ended; whoever asks for any child is not told of it any more."""
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
            # Another thread must not find the status without the result.
            fate.result, fate.status = end.result, end.status
        return end

    def _result_of(self, answer: Pending) -> Any:
        """Return what an answer holds of a result: the same object whoever looks, for it ends what it stands for."""
        parts = answer.value.get("parts", 0)
        if not parts:
            return answer.blobs or None
        with self._lock:
            if len(answer.blobs) != 1 or type(answer.blobs[0]) is not Shelved:
                answer.blobs = [Shelved(self._kernel, answer.value["pid"], answer.blobs[0], parts)]
            return answer.blobs[0]

    def _keep(self, answer: Pending) -> None:
        """Keep an end that was told when its wait had been given up."""
        if answer.error is None and answer.value["pid"]:
            self._late.append(self._note(answer))

    def _catch_up(self) -> None:
        """Take note of what other threads have been told, and may not have looked at yet."""
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
                continue  # another thread was quicker
            fate = self._fates.get(end.pid)
            if fate is not None and fate.status is None:
                fate.result, fate.status = end.result, end.status
            return end.pid, end.status
        return None
