"""Shared memory for one process, below the API for programs: reads, calls, news of changes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from rackactor.errors import RackTimeout
from rackactor.ipc.memory import values
from rackactor.ipc.memory.backing import Backing
from rackactor.ipc.memory.operations import Batch, fault
from rackactor.kernel.kernel import Kernel
from rackactor.kernel.pending import Pending
from rackactor.wire.calls.memory import Shm, ShmWatch

if TYPE_CHECKING:
    from rackactor.ipc.memory.reader import Entry, Reader, Reading

#: Seconds after which a value that is used beyond its block is checked, and the longest time between checks.
SWEEP, LONGEST_SWEEP = 0.5, 30.0


class Client:
    """A group's shared memory, as one of its processes reads and changes it. Thread-safe."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.backing = Backing(kernel)

    def reading(self) -> Reading:
        """Begin several reads at one revision: see `Memory.reading`."""
        reader = self.backing.reader
        if reader.on_keep is None:
            reader.on_keep = partial(self._sweep_later, reader, SWEEP)
        return reader.reading()

    def entry(self, key: str) -> Entry | None:
        """Return (value, revision at which it was put, pid of its lease or 0), or None."""
        with self.reading() as reading:
            return reading.entry(key)

    def _sweep_later(self, reader: Reader, delay: float) -> None:
        """Schedule a sweep, so that values used beyond their block do not hold old revisions longer than necessary."""
        if not self.kernel.closed and not self.kernel.ended:
            self.kernel.call_later(delay, partial(self._sweep, reader, delay))

    def _sweep(self, reader: Reader, delay: float) -> None:
        if reader.sweep():
            self._sweep_later(reader, min(2 * delay, LONGEST_SWEEP))

    def batch(self) -> Batch:
        """Begin a batch of operations for one call."""
        return Batch(pid=self.kernel.pid, allow_pickle=self.kernel.allow_pickle)

    def decode(self, data: bytes, key: str) -> Any:
        """Decode the bytes of a value."""
        return values.decode(data, key, allow_pickle=self.kernel.allow_pickle)

    def perform(self, ops: list[Any], blobs: list[bytes], timeout: float | None) -> dict[str, Any]:
        """Perform operations; if any was refused, raise the first refusal."""
        fields, _ = self.kernel.call(Shm(ops), *blobs, timeout=timeout)
        error = fault(fields["results"][0])
        self.backing.reached(fields["revision"], timeout)
        if error is not None:
            raise error
        return fields

    def finish(self, pending: Pending, timeout: float | None) -> dict[str, Any]:
        """Wait for the answer to a call."""
        if not self.kernel.wait(lambda: pending.done, timeout):
            raise RackTimeout(f"no answer from the shared memory within {timeout:g} s")
        fields: dict[str, Any] = pending.get()
        return fields

    def begin_watch(self, prefix: bytes) -> int:
        """Subscribe to changes at the supervisor; return the revision after which they are reported."""
        if self.backing.is_replica:
            return self.backing.reader.revision()  # a replica is told of every change anyway
        fields, _ = self.kernel.call(ShmWatch(prefix))
        return int(fields["revision"])

    def end_watch(self, prefix: bytes) -> None:
        """Unsubscribe from changes."""
        if not self.kernel.closed and not self.kernel.ended and not self.backing.is_replica:
            self.kernel.cast(ShmWatch(prefix, on=False))

    def wake(self) -> None:
        """Wake threads that wait."""
        if not self.kernel.closed:
            self.kernel.wake()
