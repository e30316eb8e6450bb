"""A FIFO as programs use it: it becomes a reader or a writer at its first use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

from rackactor.errors import PipeClosed
from rackactor.ipc.pipes.ends import PipeReader, PipeWriter, kernel_of, open_named
from rackactor.kernel.kernel import Kernel
from rackactor.units import DEFAULT_TIMEOUT, Timeout


class Pipe:
    """A FIFO by its name, whose end is opened at first use: written to, it is a writer; read from, a reader."""

    def __init__(self, kernel: Kernel, name: str, options: dict[str, Any]) -> None:
        self._kernel = kernel
        self._options = options
        self._reader: PipeReader | None = None
        self._writer: PipeWriter | None = None
        self._closed = False
        #: The name of the pipe.
        self.name = name

    def __repr__(self) -> str:
        return f"<Pipe {self.name!r}>"

    @property
    def reader(self) -> PipeReader:
        """Its reader, opened at first use."""
        if self._reader is None:
            self._check()
            self._reader = open_named(self._kernel, self.name, "r", self._options)
        return self._reader

    @property
    def writer(self) -> PipeWriter:
        """Its writer, opened at first use."""
        if self._writer is None:
            self._check()
            self._writer = open_named(self._kernel, self.name, "w", self._options)
        return self._writer

    def _check(self) -> None:
        if self._closed:
            raise PipeClosed

    def standard_file(self, mode: str) -> dict[str, Any]:
        """Return what an agent needs to make this FIFO a standard file of its process (for `fork`)."""
        self._check()
        return {"id": None, "name": self.name}

    def recv(self, timeout: Timeout = DEFAULT_TIMEOUT) -> Any:
        """Take the next message: see `PipeReader.recv`."""
        return self.reader.recv(timeout)

    def poll(self, timeout: float | None = 0.0) -> bool:
        """Wait for a message: see `PipeReader.poll`."""
        return self.reader.poll(timeout)

    def read(self, size: int | None = -1, timeout: Timeout = DEFAULT_TIMEOUT) -> Any:
        """Read bytes or text: see `PipeReader.read`."""
        return self.reader.read(size, timeout)

    def readline(self, size: int = -1, timeout: Timeout = DEFAULT_TIMEOUT) -> Any:
        """Read a line: see `PipeReader.readline`."""
        return self.reader.readline(size, timeout)

    def readinto(self, buffer: Any, timeout: Timeout = DEFAULT_TIMEOUT) -> int:
        """Read some bytes into a buffer: see `PipeReader.readinto`."""
        return self.reader.readinto(buffer, timeout)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.reader)

    def send(self, message: Any, timeout: Timeout = DEFAULT_TIMEOUT) -> None:
        """Send a message: see `PipeWriter.send`."""
        self.writer.send(message, timeout)

    def write(self, data: Any, timeout: Timeout = DEFAULT_TIMEOUT) -> int:
        """Write bytes or text: see `PipeWriter.write`."""
        return self.writer.write(data, timeout)

    def flush(self, timeout: Timeout = DEFAULT_TIMEOUT) -> None:
        """Wait until readers have taken everything: see `PipeWriter.flush`."""
        self.writer.flush(timeout)

    def file(self, mode: str = "r") -> Any:
        """Return a file object of the standard library: `r`, `rb`, `w` or `wb`."""
        return (self.writer if mode.startswith("w") else self.reader).file(mode)

    def statistics(self) -> dict[str, dict[str, int]]:
        """Return the statistics of the ends that are open here."""
        ends = {"reader": self._reader, "writer": self._writer}
        return {name: end.statistics() for name, end in ends.items() if end is not None}

    @property
    def closed(self) -> bool:
        """Tell whether it has been closed here."""
        return self._closed

    def close(self) -> None:
        """Close the ends that are open here."""
        self._closed = True
        for end in (self._reader, self._writer):
            if end is not None:
                end.close()

    def fileno(self) -> int:
        """Refuse: see `PipeReader.fileno`."""
        return self.reader.fileno()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> Any:
        for end in (self._reader, self._writer):
            if end is not None:
                end.note()
        return _fifo_here, (self._kernel.gid, self.name, self._options)


def _fifo_here(gid: str, name: str, options: dict[str, Any]) -> Pipe:
    return Pipe(kernel_of(gid), name, options)
