"""The standard files of a process, seen from another one."""

from __future__ import annotations

import io
from typing import Any

import msgpack

from rackactor.errors import NoSuchProcess, OutputLost, RackError
from rackactor.kernel.kernel import Kernel
from rackactor.wire.calls.logs import Logs
from rackactor.wire.stream import EntryKind

#: Bytes of standard input sent in one message.
_STDIN_CHUNK = 64 << 10


class Output(io.RawIOBase):
    """The output of a process, as a file. Once it is open, it holds the writer back, as a pipe does.

    Earlier output beyond the group's `log_limit` is lost: the first read raises `OutputLost`, and the next one goes on
    with what is left.
    """

    def __init__(self, kernel: Kernel, pid: int, stream: int) -> None:
        super().__init__()
        self._kernel = kernel
        self._pid = pid
        self._stream = stream
        self._offset = 0
        self._buffer = bytearray()
        self._eof = False
        self._received = 0
        self._lost = 0
        self._ask()

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read some bytes; 0 at the end.

        Raises:
            OutputLost: some were dropped before the file was opened.
        """
        while not self._buffer and not self._eof:
            self._fetch()
        if self._lost:
            lost, self._lost = self._lost, 0
            raise OutputLost(
                f"{lost} bytes that process {self._pid} printed here are gone: nobody read them in time, and no"
                " more is kept than the group's log_limit= (less where the disk is full); what follows can be read"
            )
        count = min(len(buffer), len(self._buffer))
        buffer[:count] = self._buffer[:count]
        del self._buffer[:count]
        return count

    def _ask(self) -> None:
        asked = Logs(self._pid, self._offset, follow=True, reader=self._stream)
        self._next, _ = self._kernel.begin_call(asked)

    def _fetch(self) -> None:
        self._kernel.wait(lambda: self._next.done, None)
        fields = self._next.get()
        self._offset, self._eof = fields["next"], fields["eof"]
        if fields["skipped"]:  # the count is for both streams together; the bytes dropped of this one are:
            self._lost = max(0, fields["dropped"][self._stream - 1] - self._received)
            self._received += self._lost
        for _, stream, _, data in msgpack.unpackb(self._next.blobs[0]):
            if stream == self._stream:
                self._buffer += data
                self._received += len(data)
        if not self._eof:
            self._ask()

    def close(self) -> None:
        """Stop reading; the writer is no longer held back."""
        if not self.closed and not self._kernel.closed and not self._kernel.ended:
            self._kernel.cast(Logs(self._pid, 0, reader=self._stream, leave=True))
        super().close()


class Stdin(io.RawIOBase):
    """The standard input of a process, as a file."""

    def __init__(self, kernel: Kernel, pid: int) -> None:
        super().__init__()
        self._kernel = kernel
        self._pid = pid

    def writable(self) -> bool:
        """Tell that it can be written."""
        return True

    def write(self, data: Any) -> int:
        """Send bytes; waits while the process does not read.

        Raises:
            BrokenPipeError: the process is gone.
        """
        chunk = bytes(memoryview(data)[:_STDIN_CHUNK])
        if not chunk:
            return 0
        try:
            self._kernel.post(self._pid, EntryKind.STDIN, chunk, timeout=None)
        except NoSuchProcess as error:
            raise BrokenPipeError(str(error)) from None
        return len(chunk)

    def close(self) -> None:
        """Send the end of file."""
        if not self.closed:
            super().close()
            try:
                self._kernel.post(self._pid, EntryKind.STDIN, b"", timeout=None)
            except (RackError, NoSuchProcess):
                pass  # the process is gone, and so is its input
