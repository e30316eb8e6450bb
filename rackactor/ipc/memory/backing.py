"""Where a process reads shared memory: the supervisor's database itself on its host, a replica elsewhere."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rackactor.address import pack_boxes
from rackactor.errors import GroupEnded, MemoryFull, RackError, RackTimeout
from rackactor.ipc.service import Service
from rackactor.kernel.kernel import Kernel
from rackactor.system import threads
from rackactor.units import CALL_TIMEOUT
from rackactor.wire.calls.connections import Introduce
from rackactor.wire.calls.memory import ShmAck, ShmOpen, ShmReplica
from rackactor.wire.events import ShmEvent

if TYPE_CHECKING:
    from rackactor.ipc.memory.reader import Reader
    from rackactor.ipc.memory.replica import Replica

#: Bytes of changes after which a replica acknowledges them.
ACKNOWLEDGE = 4 << 20
#: Seconds between two checks of an idle replica for missing changes.
LOOK = 1.0
#: Bytes of changes kept while a snapshot is coming; with more, a new snapshot is begun.
HELD = 256 << 20
#: Credit for the parts of a snapshot, beyond a stream's own, bytes.
CREDIT = 8 << 20
#: Seconds without a part of a snapshot after which the snapshot is given up.
SILENCE = 60.0


class Lag(NamedTuple):
    """How far this process's reads are behind the group's memory."""

    #: Changes that it knows of and does not have yet.
    revisions: int
    #: Seconds since it last had all changes; 0 where it reads the memory itself.
    seconds: float


class Backing:
    """Open shared memory at its first use, and follow its changes.

    Attributes:
        heard: the newest revision that this process has been told of.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._service = Service(kernel, "snapshots")
        self._lock = threading.RLock()
        self._reader: Reader | None = None
        self._replica: Replica | None = None
        self._loading = False
        self._held: list[Any] = []
        self._held_size = 0
        self._got = self._told = 0
        self._fresh_at = time.monotonic()
        self._credited: set[int] = set()
        self._loader: threading.Thread | None = None
        self.heard = 0
        #: Called in the loop when something may have changed.
        self.listeners: list[Callable[[], None]] = []
        kernel.at_close.append(self.close)

    @property
    def reader(self) -> Reader:
        """The reader of the memory that this process has.

        Raises:
            GroupEnded: the group has ended, or this process has left it.
        """
        kernel = self._kernel
        if kernel.loop.ended or kernel.closed:
            raise GroupEnded(kernel.ended or None)
        replica = self._replica
        if replica is not None and replica.reader is not None:
            return replica.reader
        return self._reader or self._open()

    @property
    def is_replica(self) -> bool:
        """Tell whether this process has its own replica."""
        return self.reader is not self._reader

    # -- opening ---------------------------------------------------------------------------------------

    def _open(self) -> Reader:
        with self._lock:
            if self._reader is not None:
                return self._reader
            self._kernel.on(ShmEvent, self._event)
            fields, _ = self._kernel.call(ShmOpen())
            reader = None
            if fields["replica"] != "always":
                reader = _open_here(fields, self._kernel.allow_pickle)
            if reader is not None:
                self._reader = reader
                return reader
            return self._open_replica(fields)

    def _open_replica(self, fields: dict[str, Any]) -> Reader:
        from rackactor.ipc.memory.replica import Replica

        if self._replica is None:
            self._replica = Replica(fields["size"], fields["log"], allow_pickle=self._kernel.allow_pickle)
        if self._replica.reader is None:
            self._load()
            self._kernel.call_later(LOOK, self._look)
        assert self._replica.reader is not None
        return self._replica.reader

    # -- what the supervisor tells, in the loop ---------------------------------------------------------

    def _event(self, event: ShmEvent, blobs: Sequence[Any]) -> None:
        if blobs:
            self._take(blobs[0])
        if event.gap:
            self.renew()
        if (at := event.at) is not None:
            self.heard = max(self.heard, at)
            self._compare(at)
        self.heard = max(self.heard, event.revision)
        for listener in self.listeners:
            listener()

    def _take(self, body: bytes) -> None:
        self._got += len(body)
        if self._loading:
            self._held.append(body)
            self._held_size += len(body)
            if self._held_size > HELD:
                self._held.clear()
                self._held_size = 0  # the next change leaves a gap, which causes one more snapshot
        elif self._replica is not None and self._replica.reader is not None:
            self._apply(body)
        if self._got - self._told >= ACKNOWLEDGE:
            self._acknowledge()

    def _apply(self, body: bytes) -> None:
        from rackactor.ipc.memory.replica import Gap, parse

        assert self._replica is not None
        try:
            self._replica.apply(parse(body))
            self._fresh_at = time.monotonic()
        except Gap:
            self.renew()

    def _compare(self, at: int) -> None:
        """Check for missing changes: everything up to `at` was sent before this message."""
        if self._replica is None or self._loading:
            return
        if self._replica.revision < at:
            self.renew()
        else:
            self._fresh_at = time.monotonic()

    def _acknowledge(self, *, ask: bool = False) -> None:
        self._told = self._got
        self._kernel.request(ShmAck(self._got, ask=ask))

    def _look(self) -> None:
        if self._kernel.closed or self._kernel.ended or self._replica is None:
            return
        self._acknowledge(ask=not self._loading)
        self._kernel.call_later(LOOK, self._look)

    # -- snapshots -----------------------------------------------------------------------------------------

    def renew(self) -> None:
        """Start again from a snapshot, in a separate thread; the old state is read meanwhile."""
        if self._replica is None or self._loading or self._kernel.closed:
            return
        self._loading = True
        try:
            self._loader = threads.start(threading.Thread(target=self._reload, name="rackactor-replica", daemon=True))
        except OSError:
            self._loading = False
            self._kernel.call_later(LOOK, self.renew)

    def _reload(self) -> None:
        import signal

        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # signals belong to the main thread
        while not self._kernel.closed and not self._kernel.ended:
            try:
                self._load()
                return
            except GroupEnded:
                return
            except (RackError, OSError):
                time.sleep(0.2)  # the sender may be gone; another one sends the next snapshot

    def _load(self) -> None:
        """Subscribe, then get a snapshot, then apply the changes that have come meanwhile."""
        assert self._replica is not None
        kernel = self._kernel
        self._held.clear()
        self._held_size = 0
        self._loading = True
        try:
            # Changes after this are sent unasked, and wait in `_held`; the snapshot is of this revision or a later one.
            kernel.call(ShmReplica())
            self._got = self._told = 0
            self._replica.load(self._snapshot())
        except BaseException:
            if self._replica.reader is None:
                self._loading = False
            raise
        if kernel.closed:
            self._replica.close()
            raise GroupEnded()
        done = threading.Event()
        kernel.call_soon_threadsafe(lambda: self._catch_up(done))
        kernel.wait(done.is_set, CALL_TIMEOUT)

    def _catch_up(self, done: threading.Event) -> None:
        """Apply what has come while the snapshot was being sent (in the loop)."""
        done.set()
        held, self._held = self._held, []
        self._loading = False
        assert self._replica is not None
        self.heard = max(self.heard, self._replica.revision)
        self._fresh_at = time.monotonic()
        for body in held:
            if not self._loading:
                self._apply(body)
        for listener in self.listeners:
            listener()

    def _snapshot(self) -> Iterator[bytes | memoryview]:
        """Ask the process that makes snapshots for one; yield its parts."""
        kernel, service = self._kernel, self._service
        pid, number = service.pid, kernel.open_box()
        box = kernel.boxes[number]
        try:
            pending = service.begin(pid, "send", {"box": pack_boxes(number, 0)})
            if pid not in self._credited:
                self._credited.add(pid)
                kernel.consume(pid, CREDIT)  # in advance
                kernel.cast(Introduce(pid))  # a snapshot is worth a direct connection
            while kernel.wait(lambda: box or pending.done, SILENCE):
                if not box:
                    service.answer(pending, pid)
                    service.begin(pid, "done", {"box": pack_boxes(number, 0)})
                    return
                part = kernel.take(0, box)
                if part.pid == pid:  # anybody could send to this mailbox
                    yield part.entry.payload
            raise RackTimeout(f"no part of the snapshot came within {SILENCE:g} s")
        finally:
            kernel.boxes.pop(number, None)

    # -- how far ------------------------------------------------------------------------------------------

    def reached(self, revision: int, timeout: float | None = CALL_TIMEOUT) -> None:
        """Wait until this process reads at least this revision: at once, unless a snapshot is being sent.

        Raises:
            RackTimeout: the revision did not come within the time.
        """
        replica = self._replica
        if replica is None or (replica.revision >= revision and not self._loading):
            return
        if not self._loading:
            self._kernel.call_soon_threadsafe(lambda: self._compare(revision))
        if not self._kernel.wait(lambda: replica.revision >= revision and not self._loading, timeout):
            raise RackTimeout(f"this process's replica did not come to revision {revision} within {timeout:g} s")

    def lag(self) -> Lag:
        """Return how far this process's reads are behind, as far as it knows."""
        reader = self.reader
        if self._replica is None or reader is self._reader:
            return Lag(0, 0.0)
        behind = max(0, self.heard - self._replica.revision)
        age = time.monotonic() - self._fresh_at
        return Lag(behind, age if behind or self._loading or age > 3 * LOOK else 0.0)

    def close(self) -> None:
        """Close everything."""
        if self._replica is not None:
            self._replica.close()
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def _open_here(fields: dict[str, Any], allow_pickle: bool) -> Reader | None:
    """Open the supervisor's database; None if it is not on this host, or if another one is at that path.

    Raises:
        MemoryFull: this process may not map it. A replica, being as large, would not help.
    """
    if not os.path.exists(os.path.join(fields["path"], "lock.mdb")):
        return None
    import lmdb

    from rackactor.ipc.memory.reader import Reader, open_environment

    try:
        env = open_environment(fields["path"], fields["size"])
        reader = Reader(env, allow_pickle=allow_pickle)
        with env.begin() as txn:
            if txn.get(b"token", db=reader.dbs.meta) == fields["token"]:
                return reader
    except lmdb.MemoryError as error:
        raise MemoryFull(
            f"this process may not map the {fields['size']} bytes of the group's shared memory: raise its limit"
            " (memory=, `ulimit -v`), or make the group with a smaller shm_size="
        ) from error
    except (OSError, lmdb.Error):
        return None
    reader.close()
    return None
