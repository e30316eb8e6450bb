"""Watches: changes without gaps. The supervisor reports that something has changed, the log says what."""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rackactor import units
from rackactor.errors import GroupEnded, InvalidCall, NoSuchProcess, RackError, RackTimeout, RevisionGone
from rackactor.kernel.peers import Delivery
from rackactor.units import DEFAULT_TIMEOUT, Timeout
from rackactor.wire.codec import encode
from rackactor.wire.stream import Entry, EntryKind

if TYPE_CHECKING:
    from rackactor.ipc.memory.client import Client

#: The most changes in an actor's mailbox: it gets more when it has taken some.
IN_MAILBOX = 1000
#: Seconds between checks whether it has.
AGAIN = 0.01


class Changed:
    """A change of a key.

    Attributes:
        revision: its number; several keys may have the same one (a transaction).
        key: the key that has changed.
        kind: "put", "delete", "append", "pop" or "remove".
        when: seconds since the epoch, by the supervisor's clock.
    """

    __slots__ = ("_client", "_data", "key", "kind", "revision", "when")

    def __init__(
        self, revision: int, key: str, kind: str, when: float, data: bytes | None, client: Client | None = None
    ) -> None:
        self.revision = revision
        self.key = key
        self.kind = kind
        self.when = when
        self._data = data
        self._client = client

    @property
    def value(self) -> Any:
        """The value that was put, appended, or taken away; None for a deletion.

        Raises:
            RevisionGone: the value was too large for the log, and has been overwritten meanwhile.
        """
        if self._data is not None:
            from rackactor.ipc.memory import values

            allow_pickle = True if self._client is None else self._client.kernel.allow_pickle
            return values.decode(self._data, self.key, allow_pickle=allow_pickle)
        if self.kind != "put":
            return None
        memory = self._client
        if memory is None:
            from rackactor import current

            memory = current.current().shm
        entry = memory.entry(self.key)
        if entry is None or entry.revision != self.revision:
            raise RevisionGone(f"the value that {self.key!r} had at revision {self.revision} is too large for the log")
        return entry.value

    def __repr__(self) -> str:
        return f"<Changed {self.revision}: {self.kind} {self.key!r}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Changed) and self.__reduce__() == other.__reduce__()

    def __hash__(self) -> int:
        return hash((self.revision, self.key))

    def __reduce__(self) -> tuple[Any, ...]:
        return Changed, (self.revision, self.key, self.kind, self.when, self._data)


class Watch:
    """The changes of keys with a prefix, in order and without gaps: an iterator, and a context that closes it.

    Attributes:
        revision: the last one that it has read.
    """

    def __init__(self, client: Client, prefix: str, from_revision: int | None, timeout: float | None) -> None:
        self._client = client
        self._prefix = prefix.encode()
        self._timeout = units.timeout(timeout)
        self._ready: deque[Changed] = deque()
        self._closed = False
        known = client.begin_watch(self._prefix)
        self._on = True
        self.revision = known if from_revision is None else from_revision - 1

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __iter__(self) -> Watch:
        return self

    def __next__(self) -> Changed:
        """Return the next change; the iteration ends when the watch's own timeout is over."""
        try:
            return self.next(self._timeout)
        except RackTimeout:
            raise StopIteration from None

    def next(self, timeout: Timeout = DEFAULT_TIMEOUT) -> Changed:
        """Return the next change.

        Raises:
            RackTimeout: none came within `timeout` seconds.
            RevisionGone: changes are missing, because the log does not reach back that far any more.
            StopIteration: the watch has been closed.
        """
        seconds = units.timeout(timeout)
        while not self._ready:
            if self._closed:
                raise StopIteration
            if self.look():
                continue
            if not self._client.kernel.wait(lambda: self._closed or self._news(), seconds):
                raise RackTimeout(f"no change within {seconds:g} s")
        return self._ready.popleft()

    def look(self) -> bool:
        """Read more of the log; returns whether there was anything."""
        from rackactor.ipc.memory import layout  # every program imports `Changed`, which does not need it

        found, reached, first = self._client.backing.reader.log(self.revision, self._prefix)
        if first > self.revision + 1:
            raise RevisionGone(
                f"revision {self.revision + 1} is not in the log any more, which begins at {first}:"
                " read what there is now, and watch from shm.revision + 1 on (or raise shm_log= of the group)"
            )
        if reached == self.revision:
            return False
        self.revision = reached
        self._ready += [
            Changed(each.revision, each.key, layout.WORDS[each.code], each.when, each.data, self._client)
            for each in found
        ]
        return True

    def take(self, limit: int) -> list[Changed]:
        """Return changes that have been read already."""
        while len(self._ready) < limit and self.look():
            pass
        return [self._ready.popleft() for _ in range(min(limit, len(self._ready)))]

    def _news(self) -> bool:
        return self._client.backing.heard > self.revision

    def close(self) -> None:
        """End the watch; idempotent. A waiting thread is woken."""
        self._closed = True
        if self._on:
            self._on = False
            self._client.end_watch(self._prefix)
        self._client.wake()


class Delivered:
    """A watch whose changes go to a mailbox, as `Changed` messages."""

    def __init__(self, client: Client, prefix: str, from_revision: int | None, pid: int) -> None:
        if not client.kernel.allow_pickle:
            raise InvalidCall("this group refuses pickle, and a change in a mailbox is pickled: use the iterator")
        self._client = client
        self._kernel = client.kernel
        self._pid = pid
        self._watch = Watch(client, prefix, from_revision, None)
        self._closed = False
        self._pumping = False
        client.backing.listeners.append(self._wake)
        client.kernel.call_soon_threadsafe(self._wake)

    def close(self) -> None:
        """End the watch; idempotent."""
        if not self._closed:
            self._closed = True
            self._client.backing.listeners.remove(self._wake)
            self._watch.close()

    def _wake(self) -> None:
        """Schedule that changes are passed on at the end of this turn (in the loop)."""
        if not self._pumping and not self._closed:
            self._pumping = True
            self._kernel.call_soon(self._pump)

    def _pump(self) -> None:
        self._pumping = False
        if self._closed or self._kernel.closed:
            return
        mine = self._pid == self._kernel.pid
        room = IN_MAILBOX - len(self._kernel.mailbox) if mine else IN_MAILBOX
        try:
            changes = self._watch.take(max(0, room))
            for change in changes:
                payload = encode(change, allow_pickle=True)
                if mine:
                    entry = Entry(EntryKind.TELL, 0, payload)
                    self._kernel.mailbox.append(Delivery(self._pid, self._kernel.incarnation, entry))
                else:
                    self._kernel.post(self._pid, EntryKind.TELL, payload)
        except RevisionGone as error:
            self._lost(error)
        except (NoSuchProcess, GroupEnded):
            self.close()
        else:
            if len(changes) >= room:
                self._kernel.call_later(AGAIN, self._wake)

    def _lost(self, error: RackError) -> None:
        """Send an error message in the place of missing changes."""
        payload = encode(error, allow_pickle=True)
        entry = Entry(EntryKind.TELL, 0, payload)
        if self._pid == self._kernel.pid:
            self._kernel.mailbox.append(Delivery(self._pid, self._kernel.incarnation, entry))
        else:
            self._kernel.post(self._pid, EntryKind.TELL, payload)
        self.close()
