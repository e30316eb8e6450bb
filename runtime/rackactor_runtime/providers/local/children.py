"""The fork server's children: forking them, reading their output, and reporting their ends.

A child's end is reported when three things are done, in this order: it has been reaped, no process that it
started is left, and its last output is read. Its descendants are found as orphans (see
`tree`); orphans are listed once for each batch of deaths, however many there are.
"""

from __future__ import annotations

import itertools
import os
import selectors
import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rackactor.records import dataclass
from rackactor.strings import to_bytes
from rackactor_runtime.providers.base import NO_DIRECTORY, Created, CreateFailed, Ended, Event, Key, Output
from rackactor_runtime.providers.local import tree, warm_pool
from rackactor_runtime.providers.local.cgroup import MemoryGroup, MemoryGroups
from rackactor_runtime.providers.local.child import Birth, ForkContext
from rackactor_runtime.providers.local.output import Pipes
from rackactor_runtime.providers.local.warm_pool import Pool, Started

#: Seconds that the descendants of a dead child have to die before its end is reported anyway.
PATIENCE = 5.0
#: Seconds between two checks while a killed process is not gone.
_LOOK_AGAIN = 0.1
#: Births handed to warm children in one step.
_TOGETHER = 32
#: Checks for new orphans in one go, before other work: this bounds the race with a chain of forks.
_CHASES = 64


class DirectoryError(OSError):
    """A working directory that cannot be entered."""


class Request(NamedTuple):
    """An order as it reaches the fork server, with the birth still packed."""

    key: Key
    birth: bytes
    env: dict[str, str | None]
    cwd: str | None
    memory: int | None
    inherited: dict[str, Any]


@dataclass(eq=False)
class Child:
    """One process that this server has forked."""

    key: Key
    ospid: int
    pipes: Pipes
    group: MemoryGroup | None
    deleted: bool = False
    #: Wait status, once it has ended.
    status: int = 0
    #: When its end is reported even if something of it is left.
    overdue: float = 0.0


class Children:
    """All children of one fork server.

    Args:
        emit: called with each event, in order.
        selector: where the children's pipes are registered, with `hear` as the data of each key.
        groups: makes memory control groups.
        origin: what all children share, or why none can be made.
        warm: the pool of children that were forked ahead of time.
        networks: network namespaces for children, used in turns; none: they stay in this one.
        hidden: directories that are hidden from those.
    """

    def __init__(
        self,
        emit: Callable[[Event], None],
        selector: selectors.BaseSelector,
        groups: MemoryGroups,
        origin: ForkContext | str,
        warm: Pool | None = None,
        networks: Sequence[str] = (),
        hidden: Sequence[str] = (),
    ) -> None:
        self._emit = emit
        self._selector = selector
        self._groups = groups
        self._origin = origin
        self._warm = warm
        self._hidden = list(hidden)
        self._networks = itertools.cycle(networks or (None,))
        self._queue: deque[Request] = deque()
        self._alive: dict[int, Child] = {}  # by OS pid; exactly the children with a birth that are not reaped
        self._by_key: dict[Key, Child] = {}
        self._dead: list[Child] = []  # reaped; some of their descendants may be left
        self._orphans = False  # the last check has found some
        self._unheard = False  # the kernel had no room to watch some output
        # Only the descriptor is certain: the directory may be moved.
        self._home = os.open(".", os.O_PATH | os.O_DIRECTORY)

    @property
    def has_pending(self) -> bool:
        """Whether `step` has work."""
        return bool(self._queue)

    @property
    def empty(self) -> bool:
        """Whether nothing is left of any child."""
        warm = self._warm is not None and self._warm.ospids
        return not (self._queue or self._alive or self._dead or self._orphans or warm)

    @property
    def warmed(self) -> bool:
        """Whether all work ahead of time is done."""
        return self._warm is None or self._warm.complete

    def patience(self) -> float | None:
        """Return the seconds after which `reap` or `rest` should be called unasked, or None."""
        if self._dead or self._orphans or self._groups.tidy() or self._unheard:
            return _LOOK_AGAIN
        return None if self._warm is None else self._warm.patience()

    def hide(self, directory: str) -> None:
        """Hide one more directory from children in other networks."""
        if directory not in self._hidden:
            self._hidden.append(directory)

    def expect(self, common: bytes) -> None:
        """Tell waiting children the common part of all births, packed."""
        if self._warm is not None:
            self._warm.expect(common)

    def settled(self) -> None:
        """Note that no requested child is still coming up."""
        if self._warm is not None:
            self._warm.settled()

    def add(self, request: Request) -> None:
        """Queue a child to be made."""
        self._queue.append(request)

    def step(self) -> None:
        """Make the next children of the queue: one by a fork, or several warm ones."""
        for _ in range(_TOGETHER):
            if not self._queue or not self._make(self._queue.popleft()):
                return

    def _make(self, request: Request) -> bool:
        """Make a child; tell whether it was a warm one."""
        try:
            return self._start(request)
        except (OSError, ValueError, TypeError) as error:
            kind = NO_DIRECTORY if isinstance(error, DirectoryError) else ""
            self._emit(CreateFailed(request.key, str(error), kind))
            return False

    def rest(self) -> None:
        """Do the work for idle times."""
        if self._warm is not None:
            self._warm.refill()

    def delete(self, key: Key) -> None:
        """Kill a child; its descendants are killed when it has died."""
        child = self._by_key.get(key)
        if child is not None:
            child.deleted = True
            if child.ospid in self._alive:
                tree.kill_all([child.ospid])
            return
        for request in self._queue:
            if request.key == key:
                self._queue.remove(request)
                self._withdraw(request)
                return

    def grant(self, key: Key, count: int) -> None:
        """Allow `count` more bytes of a child's output to be read."""
        child = self._by_key.get(key)
        if child is not None:
            child.pipes.grant(count)

    def end_all(self) -> None:
        """Withdraw what is queued and kill what is alive."""
        while self._queue:
            self._withdraw(self._queue.popleft())
        for child in self._alive.values():
            child.deleted = True
        tree.kill_all(self._alive)
        if self._warm is not None:
            self._warm.close()

    def close(self) -> None:
        """Close the descriptors that belong to no child."""
        os.close(self._home)

    def reap(self) -> None:
        """Reap the dead, kill what they left behind, and report the ends that are complete."""
        if self._unheard:
            self._unheard = False
            for child in self._alive.values():
                child.pipes.attend()
        if self._collect() or self._dead or self._orphans:
            self._chase()
            now = time.monotonic()
            settled = [child for child in self._dead if not self._orphans or now >= child.overdue]
            for child in settled:
                self._dead.remove(child)
                self._bury(child)

    def _withdraw(self, request: Request) -> None:
        self._emit(Ended(request.key, None, signal.SIGKILL, note="deleted before it was started"))

    def _collect(self) -> bool:
        """Reap; tell whether anything was dead."""
        found = False
        while (dead := tree.reap()) is not None:
            found = True
            child = self._alive.pop(dead[0], None)
            if child is not None:
                child.status = dead[1]
                child.overdue = time.monotonic() + PATIENCE
                self._dead.append(child)
            elif self._warm is not None:
                self._warm.bury(dead[0])
        return found

    def _find_orphans(self) -> set[int]:
        warm = () if self._warm is None else self._warm.ospids
        return tree.find_orphans(tree.list_children(), self._alive.keys() | warm)

    def _chase(self) -> None:
        """Kill orphans until none is left, or until all of them are dying."""
        killed: set[int] = set()
        for _ in range(_CHASES):
            orphans = self._find_orphans()
            self._orphans = bool(orphans)
            if orphans <= killed:
                return
            tree.kill_all(orphans)
            killed |= orphans
            self._collect()

    def _bury(self, child: Child) -> None:
        for stream, data in child.pipes.drain():
            self._emit(Output(child.key, stream, data))
        oom, note = self._close_group(child)
        if child.pipes.unread:
            note = note or f"the last of what it has printed could not be read: {child.pipes.unread}"
        if self._orphans:
            note = f"killed, but not gone after {PATIENCE:g} s: OS processes {sorted(self._find_orphans())}"
        del self._by_key[child.key]
        code = os.waitstatus_to_exitcode(child.status)
        self._emit(Ended(child.key, code if code >= 0 else None, -code if code < 0 else None, oom, note))

    def _close_group(self, child: Child) -> tuple[bool, str]:
        """Remove a child's control group; return whether its limit ended anything, and a note on that."""
        if child.group is None:
            return False, ""
        kills = child.group.count_oom_kills()
        self._groups.discard(child.group)
        if not kills:
            return False, ""
        if os.WIFSIGNALED(child.status) and os.WTERMSIG(child.status) == signal.SIGKILL and not child.deleted:
            return True, "the memory limit was reached"
        return not child.deleted, f"the memory limit ended {kills} of the processes that it had started"

    def _start(self, request: Request) -> bool:
        """Start one child: a warm one if there is one; return whether it was.

        Raises:
            OSError, ValueError, TypeError: nothing was started; the message says why.
        """
        if isinstance(self._origin, str):
            raise ValueError(self._origin)
        check_environment(request.env)
        self._check_directory(request.cwd)
        name = f"{request.key.pid}.{request.key.incarnation}"
        group = None if request.memory is None else self._groups.make(name, request.memory)
        path = next(self._networks)
        network = None if path is None else (path, self._hidden)
        birth = Birth(
            f"rack:{name}", request.birth, request.env, request.cwd, request.memory, group, network, request.inherited
        )
        try:
            born = self._warm and self._warm.hand_over(birth)
            self._adopt(request.key, born or warm_pool.fork(self._origin, birth), group)
            return born is not None
        except BaseException:
            if group is not None:
                self._groups.discard(group)
            raise

    def _adopt(self, key: Key, born: Started, group: MemoryGroup | None) -> None:
        pipes = Pipes(
            born.streams.reading,
            lambda fd: self._watch(fd, lambda: self._hear(child, fd)),
            self._selector.unregister,
        )
        child = Child(key, born.ospid, pipes, group)
        self._alive[born.ospid] = self._by_key[key] = child
        self._emit(Created(key, str(born.ospid)))

    def _watch(self, fd: int, hear: Callable[[], None]) -> None:
        try:
            self._selector.register(fd, selectors.EVENT_READ, hear)
        except OSError:
            self._unheard = True
            raise

    def _check_directory(self, cwd: str | None) -> None:
        """Enter a child's directory and return, so that the kernel itself decides on the path.

        Raises:
            DirectoryError: it says why the directory cannot be entered.
        """
        if cwd is None:
            return
        try:
            os.chdir(to_bytes(cwd))
        except OSError as error:
            raise DirectoryError(f"cannot enter directory {cwd!r}: {error.strerror}") from None
        finally:
            os.fchdir(self._home)

    def _hear(self, child: Child, fd: int) -> None:
        said = child.pipes.read(fd)
        if said is not None:
            self._emit(Output(child.key, *said))


def check_environment(env: dict[str, str | None]) -> None:
    """Raise ValueError for what cannot be an environment variable."""
    for name, value in env.items():
        if not name or "=" in name or "\0" in name:
            raise ValueError(f"not a name of an environment variable: {name!r}")
        if value is not None and "\0" in value:
            raise ValueError(f"the environment variable {name} holds a null character")
