"""Children forked ahead of time, so that an order finds one that is up already.

Forking a child and starting what every child needs (ZeroMQ's threads, its own I/O thread) is most
of the cost of a process. A *warm* child has done that, and waits on its own socket for its birth. The pool
is filled only when there is nothing else to do, a few children at a time; if an order finds it empty, a
child is forked for it. The pool grows with use, by one for each birth. After a while without orders,
most of it is released.
"""

from __future__ import annotations

import os
import selectors
import socket
import time
from collections.abc import Callable

from rackactor.records import dataclass
from rackactor_runtime.providers.local import tree
from rackactor_runtime.providers.local.child import Birth, ForkContext, expectation, live, rehearsal

#: The longest birth that is handed over, bytes: less than any socket buffer holds, so that sending never blocks.
LONGEST = 64 << 10
#: Seconds for which a new process is thought to need the processors, unless the supervisor says that all are up:
#: nothing is forked ahead meanwhile.
COMING_UP = 0.002
#: Seconds that new processes have for their first messages once they are up.
FIRST_WORDS = 0.005
#: Seconds after a birth, without another one, until the next child is forked ahead, if a quarter of the pool is left.
NO_HURRY = 0.05
#: Warm children that come up, or rehearse, at the same time: enough to keep all processors busy.
AT_ONCE = 2 * (os.cpu_count() or 1)
#: The longest delay of that by many new processes, seconds.
MOST_PATIENCE = 0.1
#: Warm children that are kept after this many seconds without an order.
RESTING, REST_AFTER = 8, 30.0
#: Warm children that may die in a row, without a birth in between, before no more are made.
DEATHS = 3
#: Seconds from such a death until the next one is made.
MOURNING = 0.5


class Streams:
    """The pipes of a child's standard output and error.

    Raises:
        OSError: it says which pipe could not be made.
    """

    def __init__(self) -> None:
        self.reading: dict[int, int] = {}  # descriptor: stream
        self.writing: list[int] = []
        try:
            for stream in (1, 2):
                read, write = os.pipe()
                self.reading[read] = stream
                self.writing.append(write)
                os.set_blocking(read, False)
        except OSError as error:
            self.close()
            raise OSError(f"cannot make a pipe for the output: {error.strerror}") from None

    def close_writing(self) -> None:
        """Close the child's ends."""
        while self.writing:
            os.close(self.writing.pop())

    def close(self) -> None:
        """Close what is open."""
        self.close_writing()
        while self.reading:
            os.close(self.reading.popitem()[0])


@dataclass(frozen=True)
class Started:
    """A child that has got its birth."""

    ospid: int
    streams: Streams


@dataclass(eq=False)
class _Warm:
    """A child that waits for its birth."""

    ospid: int
    streams: Streams
    #: Our end of the socket on which it waits.
    fd: int
    ready: bool = False
    #: It has rehearsed, or is doing so.
    rehearsed: bool = False
    #: It is dying: it could not be given a birth, or
    spent: bool = False
    #: it was no longer needed, so its death is no failure.
    dismissed: bool = False


def fork(origin: ForkContext, birth: Birth) -> Started:
    """Fork a child that begins at once.

    Raises:
        OSError: nothing was started; the message says why.
    """
    streams = Streams()
    return Started(_fork(origin, streams, birth), streams)


def _fork(origin: ForkContext, streams: Streams, birth: Birth | int) -> int:
    try:
        ospid = os.fork()
    except OSError as error:
        streams.close()
        raise OSError(f"cannot fork: {error.strerror}") from None
    if ospid == 0:
        live(origin, streams.writing[0], streams.writing[1], birth)
    streams.close_writing()
    return ospid


class Pool:
    """The warm children of one fork server.

    Args:
        origin: what children share.
        size: the most children; 0: none.
        first: how many to keep before the first order.
        selector: where their sockets are registered, with a function to call as the data of each key.
        note: called with messages for people.
    """

    def __init__(
        self,
        origin: ForkContext,
        size: int,
        first: int,
        selector: selectors.BaseSelector,
        note: Callable[[str], None],
    ) -> None:
        self._origin = origin
        self._size = size
        #: How many to keep now.
        self._wanted = first
        self._selector = selector
        self._note = note
        self._children: dict[int, _Warm] = {}  # by OS pid, the oldest first; exactly those that are not reaped
        #: The common part of births, which each child gets before its birth.
        self._expectation = b""
        self._deaths = 0
        self._not_before = 0.0
        self._rest_at = time.monotonic() + REST_AFTER

    @property
    def complete(self) -> bool:
        """Tell whether all wanted children are there."""
        return len(self._list_kept()) >= self._wanted and not self._count_unready() and self._find_raw() is None

    @property
    def ospids(self) -> frozenset[int]:
        """Return the OS pids of all warm children that are not reaped."""
        return frozenset(self._children)

    def patience(self) -> float | None:
        """Return the seconds after which `refill` has work, or None."""
        step = self._plan()
        return None if step is None else step[0]

    def refill(self) -> None:
        """Make one more, let one rehearse, or release one, if it is time for that."""
        step = self._plan()
        if step is None or step[0] > 0.0:
            return
        try:
            step[1]()
        except OSError as error:  # this is no fault of the child: it is tried again, for as long as it takes
            if not self._deaths:
                self._note(f"a process could not be made ahead of time: {error}")
            self._deaths = max(1, self._deaths)
            self._not_before = time.monotonic() + MOURNING

    def _plan(self) -> tuple[float, Callable[[], None]] | None:
        """Return the next action, and the seconds until then; None: there is none."""
        now = time.monotonic()
        if now >= self._rest_at:
            self._wanted = min(self._wanted, RESTING)
        kept = len(self._list_kept())
        if kept > self._wanted:
            return 0.0, self._dismiss
        if self._count_unready() >= AT_ONCE:
            return None
        if kept < self._wanted:
            return max(0.0, self._not_before - now), self._add
        if self._find_raw() is not None:
            return max(0.0, self._not_before - now), self._rehearse
        return (self._rest_at - now, self._dismiss) if kept > RESTING else None

    def _dismiss(self) -> None:
        child = self._list_kept()[-1]
        child.spent = child.dismissed = True
        tree.kill_all([child.ospid])

    def _rehearse(self) -> None:
        child = self._find_raw()
        if child is not None:
            child.rehearsed, child.ready = True, not _send(child.fd, rehearsal())

    def _find_raw(self) -> _Warm | None:
        if self._origin.program.rehearse is None or not self._size:
            return None
        return next((child for child in self._list_kept() if child.ready and not child.rehearsed), None)

    def _count_unready(self) -> int:
        return sum(not child.ready for child in self._children.values())

    def _is_well_stocked(self) -> bool:
        return 4 * len(self._list_kept()) > self._wanted

    def _list_kept(self) -> list[_Warm]:
        return [child for child in self._children.values() if not child.spent]

    def expect(self, common: bytes) -> None:
        """Tell all children, including later ones, the common part of their births, packed."""
        self._expectation = expectation(common)
        for child in self._children.values():
            _send(child.fd, self._expectation)

    def settled(self) -> None:
        """Note that no new process is still coming up."""
        if not self._deaths and not self._is_well_stocked():
            self._not_before = min(self._not_before, time.monotonic() + FIRST_WORDS)

    def hand_over(self, birth: Birth) -> Started | None:
        """Give a birth to a warm child; None: there is none, or the birth is too long."""
        now = time.monotonic()
        self._rest_at = now + REST_AFTER
        self._wanted = min(self._size, self._wanted + 1)
        self._not_before = min(max(now, self._not_before) + COMING_UP, now + MOST_PATIENCE)
        if self._is_well_stocked():
            self._not_before = max(self._not_before, now + NO_HURRY)
        # If the last ones died by themselves, those that are not ready yet may do the same.
        waiting = [child for child in self._list_kept() if child.ready or not self._deaths]
        waiting.sort(key=lambda child: (not child.ready, not child.rehearsed))
        data = birth.pack() if waiting else b""
        for child in waiting if len(data) <= LONGEST else ():
            if _send(child.fd, data):
                del self._children[child.ospid]
                self._leave(child)
                self._deaths = 0
                return Started(child.ospid, child.streams)
            child.spent = True
            tree.kill_all([child.ospid])
        return None

    def bury(self, ospid: int) -> bool:
        """Remove a child that was reaped; tell whether it was a warm one."""
        child = self._children.pop(ospid, None)
        if child is None:
            return False
        self._leave(child)
        words = _last_line(child.streams)
        child.streams.close()
        if child.dismissed:
            return True
        self._fail(f"it died before it had anything to do{words and f' ({words})'}")
        return True

    def close(self) -> None:
        """Make no more children, and kill those that there are."""
        self._size = self._wanted = 0
        tree.kill_all(self._children)

    def _add(self) -> None:
        streams = Streams()
        try:
            ours, theirs = (sock.detach() for sock in socket.socketpair())
        except OSError:
            streams.close()
            raise
        try:
            os.set_blocking(ours, False)
            _send(ours, self._expectation)
            ospid = _fork(self._origin, streams, theirs)
        except OSError:
            streams.close()
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        child = self._children[ospid] = _Warm(ospid, streams, ours)
        try:
            self._selector.register(ours, selectors.EVENT_READ, lambda: self._hear(child))
        except OSError:  # nobody would notice it
            child.spent = child.dismissed = True
            tree.kill_all([ospid])
            raise

    def _hear(self, child: _Warm) -> None:
        """Process a warm child's message that it is ready. If it has died, that is handled when it is reaped."""
        try:
            said = os.read(child.fd, 64)
        except OSError:
            said = b""  # it died before it had read all messages
        child.ready = bool(said)
        if not said:
            self._selector.unregister(child.fd)

    def _leave(self, child: _Warm) -> None:
        if child.fd in self._selector.get_map():
            self._selector.unregister(child.fd)
        os.close(child.fd)

    def _fail(self, words: str) -> None:
        self._deaths += 1
        self._not_before = time.monotonic() + MOURNING
        if self._deaths >= DEATHS and self._size:
            self._size = self._wanted = 0
            self._note(f"no more processes are made ahead of time: {self._deaths} failures in a row, the last: {words}")


def _send(fd: int, data: bytes) -> bool:
    """Send all of it, or report that this failed: then the receiver has died."""
    try:
        return os.write(fd, data) == len(data)
    except OSError:
        return False


def _last_line(streams: Streams) -> str:
    """Return the last line of a child's standard error."""
    try:
        said = os.read(next(fd for fd, stream in streams.reading.items() if stream == 2), 1 << 16)
    except OSError:
        return ""
    return said.decode("utf-8", "replace").rstrip().rpartition("\n")[2]
