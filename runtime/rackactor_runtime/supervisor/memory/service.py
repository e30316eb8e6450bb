"""Shared memory in the supervisor: one transaction for all operations that came in a turn, then the answers.

What was requested in one turn of the loop is committed together, and reported in this order: to the replicas, to the
watchers, to the callers. So a caller that has its answer finds its own write, wherever it reads.
"""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgpack

from rackactor.errors import InvalidCall, RackError
from rackactor.ipc.memory import layout
from rackactor.launch import directories
from rackactor.wire.calls.memory import (
    Shm,
    ShmAck,
    ShmHolder,
    ShmLock,
    ShmOpen,
    ShmReplica,
    ShmRestore,
    ShmSync,
    ShmUnlock,
    ShmWatch,
)
from rackactor.wire.events import ShmEvent
from rackactor.wire.schema import Call
from rackactor_runtime import descriptors
from rackactor_runtime.supervisor.clock import Clock
from rackactor_runtime.supervisor.decisions.memory.locks import Asker, Grant, Locks
from rackactor_runtime.supervisor.decisions.memory.operations import Operations
from rackactor_runtime.supervisor.decisions.memory.subscribers import Replicas, Watchers
from rackactor_runtime.supervisor.decisions.settings import Settings
from rackactor_runtime.supervisor.faults import SYSTEM_ERRORS, in_words, refusal
from rackactor_runtime.supervisor.memory.restore import Replacement, Restoring
from rackactor_runtime.supervisor.memory.transactions import Asked, Transactions
from rackactor_runtime.supervisor.post import Post

#: Seconds of a turn that operations may take before everything else gets its turn.
TURN = 0.02
#: Bytes of records sent to a replica in one message.
MESSAGE = 4 << 20
#: Bytes that may be under way to a replica; a slower one starts again.
BEHIND = 64 << 20


class MemoryService:
    """Serves a group's shared memory. The database is opened at the first request.

    Args:
        directory: the group's.
        settings: of the group.
        post: sends members their answers, and news.
        alive: tells whether a pid is that of a living process.
        clock: tells when something was changed, and how long a turn takes.
    """

    def __init__(
        self, directory: Path, settings: Settings, post: Post, alive: Callable[[int], bool], clock: Clock
    ) -> None:
        self._directory = directory
        self._settings = settings
        self._post = post
        self._alive = alive
        self._clock = clock
        self._opened: Any = None
        self._queue: deque[Asked | Replacement] = deque()
        self._watchers = Watchers()
        self._replicas = Replicas(BEHIND)
        self._transactions = Transactions(lambda: self._store, Operations(alive), self._watchers, self._replicas, clock)
        self._locks = Locks()
        self._restoring = Restoring(directory)
        self._readers_died = False
        handlers: dict[type[Call], Callable[[int, int, Any, Sequence[Any]], None]] = {
            Shm: self._ask,
            ShmOpen: self._open,
            ShmSync: self._sync,
            ShmWatch: self._watch,
            ShmReplica: self._replica,
            ShmAck: self._ack,
            ShmLock: self._lock,
            ShmUnlock: self._unlock,
            ShmHolder: self._holder,
            ShmRestore: self._restore,
        }
        self._calls = {call.op: (call, handler) for call, handler in handlers.items()}

    @property
    def _store(self) -> Any:
        if self._opened is None:
            settings = self._settings
            try:
                # This imports LMDB, which not every group needs.
                store = descriptors.spared(importlib.import_module, "rackactor_runtime.stores.memory")
                directory = directories.memory_dir(self._directory, settings.shm_size + layout.RESERVE)
            except (OSError, ImportError) as error:
                raise RackError(f"the group's shared memory cannot be opened: {in_words(error)}") from error
            self._opened = store.Store(directory, settings.shm_size, settings.shm_log)
        return self._opened

    @property
    def path(self) -> str:
        """The directory of the memory; "": there is none yet."""
        return str(self._opened.path) if self._opened is not None else ""

    def move(self, directory: Path) -> None:
        """Use another directory of the group from now on."""
        self._directory = self._restoring.directory = directory

    # -- from outside ------------------------------------------------------------------------------------

    def call(self, pid: int, rid: int, op: str, args: dict[str, Any], blobs: Sequence[Any]) -> None:
        """Accept a system call whose name begins with `shm`."""
        if not self._alive(pid):
            return
        try:
            known = self._calls.get(op)
            if known is None:
                raise InvalidCall(f"there is no system call {op!r}")
            says, handler = known
            handler(pid, rid, says.from_wire(args), blobs)
        except (RackError, *SYSTEM_ERRORS) as error:
            self._post.reply(pid, rid, refusal(error, op), ok=False)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            refused = InvalidCall(f"{op}: bad arguments ({type(error).__name__}: {error})")
            self._post.reply(pid, rid, refusal(refused), ok=False)

    def cancel(self, pid: int, rid: object) -> None:
        """Withdraw a call that waits for a lock."""
        if isinstance(rid, int):
            self._locks.cancel(pid, rid)

    def gone(self, pid: int) -> None:
        """Note that a process is gone: its leased keys are deleted, and its locks are passed on."""
        self._watchers.gone(pid)
        self._replicas.gone(pid)
        self._restoring.gone(pid)
        if pid in self._transactions.leased:
            self._queue.append(Asked(0, 0, [["expire", pid]], ()))
        for grant in self._locks.gone(pid):
            self._tell(grant)
        self._readers_died = self._opened is not None

    def turn(self) -> bool:
        """Carry out what has been requested; returns whether there is more to do at once."""
        if not self._queue:
            return False
        if self._readers_died and self._opened is not None:
            self._readers_died = False
            self._opened.sweep()
        if isinstance(first := self._queue[0], Replacement):
            self._go_on(first)
            return bool(self._queue)
        batch: list[Asked] = []
        try:
            answers = self._transactions.together(self._queue, batch, TURN)
        except Exception:  # the memory is full; or any other error of the database
            if not batch and isinstance(first, Asked):  # not even a transaction could begin
                batch.append(first)
                self._queue.popleft()
            answers = [(asked, [self._transactions.alone(op, asked) for op in asked.ops]) for asked in batch]
        self._publish()
        revision = self._opened.revision if self._opened is not None else 0
        for asked, results in answers:
            self._post.reply(asked.pid, asked.rid, {"results": results, "revision": revision})
        return bool(self._queue)

    def close(self) -> None:
        """Close everything."""
        for asked in self._queue:
            if isinstance(asked, Replacement):
                asked.work.close()
        self._restoring.close()
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    # -- operations ----------------------------------------------------------------------------------------

    def _ask(self, pid: int, rid: int, call: Shm, blobs: Sequence[Any]) -> None:
        self._queue.append(Asked(pid, rid, call.ops, blobs))

    def _publish(self) -> None:
        """Report what has been committed to the subscribers."""
        records, keys = self._transactions.committed()
        message: list[tuple[int, bytes]] = []
        size = 0
        for index, (revision, record) in enumerate(records):
            message.append((revision, record))
            size += len(record)
            if size >= MESSAGE or index == len(records) - 1:
                self._replicate(message)
                message, size = [], 0
        if keys:
            self._tell_watchers(self._watchers.concerned(keys))

    def _replicate(self, records: list[tuple[int, bytes]]) -> None:
        body = msgpack.packb(records)
        good, slow = self._replicas.send(len(body))
        for pid in good:
            self._post.notify(pid, ShmEvent(records[-1][0]), [body])
        for pid in slow:
            self._post.notify(pid, ShmEvent(gap=True))

    def _tell_watchers(self, pids: Any) -> None:
        revision = self._store.revision
        for pid in pids:
            self._post.notify(pid, ShmEvent(revision))

    # -- those who want to know ------------------------------------------------------------------------------

    def _open(self, pid: int, rid: int, call: ShmOpen, blobs: Sequence[Any]) -> None:
        store = self._store
        fields = {
            "path": store.path,
            "token": store.token,
            "size": store.map_size,
            "log": self._settings.shm_log,
            "revision": store.revision,
            "replica": self._settings.shm_replica,
        }
        self._post.reply(pid, rid, fields)

    def _sync(self, pid: int, rid: int, call: ShmSync, blobs: Sequence[Any]) -> None:
        self._post.reply(pid, rid, {"revision": self._store.revision})

    def _watch(self, pid: int, rid: int, call: ShmWatch, blobs: Sequence[Any]) -> None:
        if call.on:
            self._watchers.add(pid, call.prefix)
        else:
            self._watchers.remove(pid, call.prefix)
        self._post.reply(pid, rid, {"revision": self._store.revision})

    def _replica(self, pid: int, rid: int, call: ShmReplica, blobs: Sequence[Any]) -> None:
        self._replicas.add(pid)
        self._post.reply(pid, rid, {"revision": self._store.revision})

    def _ack(self, pid: int, rid: int, call: ShmAck, blobs: Sequence[Any]) -> None:
        """Process a replica's acknowledgement. If it asks, it is told the newest revision, to notice a gap."""
        known = self._replicas.acknowledged(pid, call.got)
        if call.ask:
            self._post.notify(pid, ShmEvent(at=self._store.revision) if known else ShmEvent(gap=True))

    # -- locks -----------------------------------------------------------------------------------------------

    def _lock(self, pid: int, rid: int, call: ShmLock, blobs: Sequence[Any]) -> None:
        grant = self._locks.acquire(call.name, Asker(pid, rid), wait=call.wait)
        if grant is not None:
            self._tell(grant)
        elif not call.wait:
            self._post.reply(pid, rid, {"token": 0})

    def _unlock(self, pid: int, rid: int, call: ShmUnlock, blobs: Sequence[Any]) -> None:
        grant = self._locks.release(call.name, pid, call.token)
        self._post.reply(pid, rid, {})
        if grant is not None:
            self._tell(grant)

    def _holder(self, pid: int, rid: int, call: ShmHolder, blobs: Sequence[Any]) -> None:
        holder, token = self._locks.holder(call.name)
        self._post.reply(pid, rid, {"pid": holder, "token": token})

    def _tell(self, grant: Grant) -> None:
        self._post.reply(grant.pid, grant.rid, {"token": grant.token})

    # -- the whole ---------------------------------------------------------------------------------------------

    def _restore(self, pid: int, rid: int, call: ShmRestore, blobs: Sequence[Any]) -> None:
        """Receive a snapshot in parts; with the last part it replaces the contents."""
        if not call.last:
            self._restoring.take(pid, call.offset, blobs[0])
            self._post.reply(pid, rid, {})
            return
        self._queue.append(Replacement(pid, rid, self._restoring.replace(pid, self._store, self._alive)))

    def _go_on(self, restore: Replacement) -> None:
        """Copy a piece of a snapshot; after the last one, tell everybody."""
        try:
            if not restore.go_on(TURN, self._clock):
                return
            self._replaced(restore)
        except (RackError, *SYSTEM_ERRORS) as error:
            self._post.reply(restore.pid, restore.rid, refusal(error), ok=False)
        self._queue.popleft()

    def _replaced(self, restore: Replacement) -> None:
        self._transactions.leased.clear()
        for owner, key in self._store.leases():
            self._transactions.leased.setdefault(owner, set()).add(key)
        for replica in self._replicas.forget_all():
            self._post.notify(replica, ShmEvent(gap=True))
        self._tell_watchers(self._watchers.everybody())
        self._post.reply(restore.pid, restore.rid, {"revision": self._store.revision})
