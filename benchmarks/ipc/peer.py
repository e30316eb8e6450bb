"""The small interface that every way of inter-process communication offers to the measures.

No way offers all of it: what one does not override, it does not have.
"""

from __future__ import annotations

from ..peer import LACKING, Entrant, Unsupported

#: Bytes of a key's value in `read` and `write`, and in `pipelined`.
VALUE, SMALL_VALUE = 1024, 100
#: Writes that go together in `pipelined`.
BATCH = 1000
#: Bytes of each message of a copy, and of each read and write of a file.
CHUNK = 1 << 20


class Ipc(Entrant):
    """Pipes between two processes, keys, and copies."""

    def stream(self, count: int, size: int) -> float:
        """Send `count` messages of `size` bytes from one process to another, one way.

        Returns:
            Seconds, on the sender's clock, from the first send until it knows that the receiver has seen them all.
        """
        raise Unsupported(LACKING)

    def echoes(self, count: int, size: int) -> float:
        """Send a message to another process, which sends it back, `count` times; return the sender's seconds."""
        raise Unsupported(LACKING)

    def backlog(self, count: int, size: int) -> float:
        """Send `count` messages to a process that takes none, as far as that goes.

        Returns:
            Bytes by which the unique memory of all processes of the run has grown.
        """
        raise Unsupported(LACKING)

    def read(self, count: int) -> float:
        """Read keys of `VALUE` bytes, one after the other; return the seconds."""
        raise Unsupported(LACKING)

    def write(self, count: int) -> float:
        """Write keys of `VALUE` bytes, each acknowledged before the next; return the seconds."""
        raise Unsupported(LACKING)

    def pipelined(self, count: int) -> float:
        """Write keys of `SMALL_VALUE` bytes, `BATCH` together; return the seconds until the last is acknowledged."""
        raise Unsupported(LACKING)

    def watched(self, count: int, watchers: int) -> list[float]:
        """Write `count` times what `watchers` processes watch.

        Returns:
            For each write, the seconds from before it until the last watcher has seen it.
        """
        raise Unsupported(LACKING)

    def copied(self, size: int) -> float:
        """Bring `size` bytes to another process through one encrypted TCP connection; return the seconds."""
        raise Unsupported(LACKING)

    def files(self, size: int) -> float:
        """Write a file of `size` bytes and read it back; return the seconds."""
        raise Unsupported(LACKING)
