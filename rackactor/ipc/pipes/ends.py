"""The ends of a pipe that programs use: a reader and a writer."""

from __future__ import annotations

import io
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from rackactor import current, units
from rackactor.errors import InvalidCall, PipeClosed, PipeEnded
from rackactor.ipc.pipes.framing import BYTES, pack, unpack_message
from rackactor.ipc.pipes.handles import ReadEnd, WriteEnd
from rackactor.ipc.pipes.inheriting import note
from rackactor.ipc.pipes.raw import RawPipe
from rackactor.ipc.pipes.registry import table_of
from rackactor.kernel.kernel import Kernel
from rackactor.units import DEFAULT_TIMEOUT, Timeout

#: The most bytes written in one message; more is split.
CHUNK = 1 << 20


class _End:
    """What readers and writers have in common."""

    _mode = ""

    def __init__(self, kernel: Kernel, end: Any, name: str | None, options: dict[str, Any]) -> None:
        self._kernel = kernel
        self._end = end
        self._shut = False
        self._options = options
        self._text: bool = options["text"]
        self._encoding: str = options["encoding"]
        #: The name of the pipe, or None.
        self.name = name

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f"<{type(self).__name__} of pipe {self.name or self._end.pipe}: {state}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        try:
            self.close()
        except Exception:
            pass  # the program is ending, or the object was never complete

    def __reduce__(self) -> Any:
        if self._shut:
            raise PipeClosed("this end of the pipe has been closed here: it cannot be given to another process")
        self.note()
        return _open_here, (self._kernel.gid, self._end.pipe, self._mode, self.name, self._options)

    def note(self) -> None:
        """Note that this end is sent to another process; during a fork that packs its arguments: to a child."""
        note(self._end.pipe, self._mode)

    def standard_file(self, mode: str) -> dict[str, Any]:
        """Return what an agent needs to make this end a standard file of its process (for `fork`)."""
        self._ready()
        if mode != self._mode:
            raise InvalidCall(f"standard input reads, output and error write: {self!r} does the other")
        return {"id": self._end.pipe, "name": None}

    @property
    def closed(self) -> bool:
        """Tell whether this end has been closed here."""
        return self._shut

    def close(self) -> None:
        """Close this end. Never waits: what was sent is still delivered."""
        if not self._shut:
            self._shut = True
            if not self._kernel.closed:
                self._end.table.close(self._end)

    def fileno(self) -> int:
        """Refuse: a pipe of the group is no descriptor of the operating system."""
        raise io.UnsupportedOperation(
            "a pipe of the group has no file descriptor; fork([...], stdin=reader, stdout=writer) connects commands"
        )

    def _limit(self, timeout: Any) -> float | None:
        if timeout is DEFAULT_TIMEOUT:  # the end's own, which may be named as little
            return self._kernel.bound(self._options["timeout"])
        return units.timeout(timeout)

    def _ready(self) -> None:
        if self._shut:
            raise PipeClosed
        self._kernel.check()


class PipeReader(_End):
    """The end of a pipe from which messages, or bytes, are read."""

    _mode = "r"
    _end: ReadEnd

    def __init__(self, kernel: Kernel, end: ReadEnd, name: str | None, options: dict[str, Any]) -> None:
        super().__init__(kernel, end, name, options)
        self._rest = b""
        self._binary: bool = options["binary"]
        self._pickle: bool = kernel.allow_pickle

    def recv(self, timeout: Timeout = DEFAULT_TIMEOUT) -> Any:
        """Take the next message.

        Args:
            timeout: seconds to wait for it; None: no bound. The pipe's own by default (60 s).

        Raises:
            PipeEnded: (an EOFError) the last writer has closed its end, and everything was taken.
            PipeBroken: a writer died before it had closed its end, and all that arrived was taken.
            RackTimeout: no message within `timeout` seconds.
        """
        if self._rest:
            rest, self._rest = self._rest, b""
            return rest
        if self._shut:
            raise PipeClosed
        message = self._end.take(self._limit(timeout))
        if type(message) is bytes and message[0] == BYTES:
            return message[1:]
        return unpack_message(message, self, allow_pickle=self._pickle)

    def poll(self, timeout: float | None = 0.0) -> bool:
        """Wait for a message, or the end; tell whether `recv` would return, or raise, at once."""
        self._ready()
        return bool(self._rest) or self._end.wait(units.timeout(timeout))

    # -- bytes ------------------------------------------------------------------------------------------

    def read(self, size: int | None = -1, timeout: Timeout = DEFAULT_TIMEOUT) -> Any:
        """Read bytes (text, with `text=True`): `size` of them, or fewer at the end of the pipe; -1: all until the end.

        Raises:
            PipeBroken: a writer died before it had closed its end.
            RackTimeout: nothing came for `timeout` seconds; what had come before is not lost.
        """
        if self._text and size is not None and size >= 0:
            raise InvalidCall("a pipe of text is read by lines, or whole: read(), readline()")
        wanted = -1 if size is None else size
        parts, have = [self._rest], len(self._rest)
        self._rest = b""
        try:
            while wanted < 0 or have < wanted:
                chunk = self._chunk(timeout)
                if not chunk:
                    break
                parts.append(chunk)
                have += len(chunk)
        except BaseException:
            self._rest = b"".join(parts)
            raise
        data = b"".join(parts)
        if 0 <= wanted < len(data):
            data, self._rest = data[:wanted], data[wanted:]
        return self._decode(data)

    def readline(self, size: int = -1, timeout: Timeout = DEFAULT_TIMEOUT) -> Any:
        """Read a line with its line end. The last one may lack a line end; an empty result is the end of the pipe."""
        parts = [self._rest]
        self._rest = b""
        have = 0
        try:
            while b"\n" not in parts[-1] and not 0 <= size <= (have := have + len(parts[-1])):
                chunk = self._chunk(timeout)
                if not chunk:
                    break
                parts.append(chunk)
        except BaseException:
            self._rest = b"".join(parts)
            raise
        data = b"".join(parts)
        end = data.find(b"\n") + 1 or len(data)
        end = min(end, size) if size >= 0 else end
        self._rest = data[end:]
        return self._decode(data[:end])

    def readinto(self, buffer: Any, timeout: Timeout = DEFAULT_TIMEOUT) -> int:
        """Read some bytes into a buffer: how many, 0 at the end of the pipe."""
        view = memoryview(buffer).cast("B")
        data = self._rest or self._chunk(timeout)
        count = min(len(view), len(data))
        view[:count] = data[:count]
        self._rest = data[count:]
        return count

    def read_some(self) -> bytes:
        """Wait for bytes, without a time limit; b"" at the end."""
        return self._chunk(None)

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the messages until the end (over the lines, with `text=True` or `binary=True`).

        Waiting for the next one has no time limit, unless the pipe was given a `timeout=`: the end, or the death, of
        the writers is always noticed.
        """
        timeout = self._options["timeout"]
        timeout = None if timeout is DEFAULT_TIMEOUT else timeout
        if self._text or self._binary:
            while line := self.readline(timeout=timeout):
                yield line
            return
        end, allow_pickle = self._end, self._pickle
        while True:
            run = end.reader.run
            while run and not self._shut:  # the fast path: messages that are here already
                try:
                    message = run.pop()
                except IndexError:
                    break  # another thread was faster
                if not run:
                    end.drained()
                if type(message) is bytes and message[0] == BYTES:
                    yield message[1:]
                else:
                    yield unpack_message(message, self, allow_pickle=allow_pickle)
            try:
                value = self.recv(timeout)
            except PipeEnded:
                return
            yield value

    def _chunk(self, timeout: Any) -> bytes:
        """Return the next bytes; b"" at the end."""
        while True:
            try:
                data = self.recv(timeout)
            except PipeEnded:
                return b""
            if not isinstance(data, (bytes, memoryview, bytearray)):
                raise InvalidCall(
                    f"a message of this pipe is a {type(data).__name__}, and was taken: messages are read by recv()"
                )
            if len(data):
                return bytes(data)

    def _decode(self, data: bytes) -> Any:
        return data.decode(self._encoding) if self._text else data

    def file(self, mode: str = "r") -> Any:
        """Return a file object of the standard library: `rb`, or `r` for text. Closing it closes this end."""
        if mode not in ("r", "rb"):
            raise InvalidCall(f"a reader's file is opened with 'r' or 'rb', not {mode!r}")
        raw = io.BufferedReader(RawPipe(self, reads=True), CHUNK)
        return raw if mode == "rb" else io.TextIOWrapper(raw, self._encoding)

    def statistics(self) -> dict[str, int]:
        """Return what has passed through this end, in this process: counts, and bytes that wait here."""
        reader = self._end.reader
        with self._end.lock:
            reader.sync()
        return {
            "messages": reader.messages,
            "waiting_bytes": reader.waiting,
            "window_bytes": reader.pace.window,
            "writers": sum(1 for lane in list(reader.lanes.values()) if not lane.dead),
            "doubles_dropped": reader.doubles,
        }


class PipeWriter(_End):
    """The end of a pipe into which messages, or bytes, are written."""

    _mode = "w"
    _end: WriteEnd

    def __init__(self, kernel: Kernel, end: WriteEnd, name: str | None, options: dict[str, Any]) -> None:
        super().__init__(kernel, end, name, options)
        self._pickle: bool = kernel.allow_pickle

    def send(self, message: Any, timeout: Timeout = DEFAULT_TIMEOUT) -> None:
        """Send a message: it goes to one of the readers, the first that has room for it.

        Large bytes, memoryviews and NumPy arrays are not copied: leave them unchanged until `flush` has returned,
        or send a copy.

        Args:
            message: any value that can be sent to actors.
            timeout: seconds to wait while readers are slow; None: no bound. The pipe's own by default (60 s).

        Raises:
            NoReader: (a BrokenPipeError) there were readers, and the last one is gone.
            RackTimeout: no room within `timeout` seconds; the message was not sent.
            InvalidCall: the message cannot be sent.
        """
        if self._shut:
            raise PipeClosed
        self._end.put(pack(message, allow_pickle=self._pickle), self._limit(timeout))

    def write(self, data: Any, timeout: Timeout = DEFAULT_TIMEOUT) -> int:
        """Write bytes (text, with `text=True`); returns how many. Up to 1 MiB goes to one reader, as a whole."""
        if isinstance(data, str):
            if not self._text:
                raise InvalidCall("this pipe carries bytes: open it with text=True to write text")
            view = memoryview(data.encode(self._encoding))
        elif self._text:
            raise InvalidCall(f"this pipe was opened with text=True: it takes text, not {type(data).__name__}")
        else:
            view = memoryview(data).cast("B")
        for start in range(0, len(view), CHUNK):
            self.send(bytes(view[start : start + CHUNK]), timeout)
        return len(data) if isinstance(data, str) else len(view)

    def flush(self, timeout: Timeout = DEFAULT_TIMEOUT) -> None:
        """Wait until readers have taken everything that was sent.

        Raises:
            RackTimeout: they have not within `timeout` seconds.
            NoReader: no reader is left.
        """
        self._ready()
        self._end.flush(self._limit(timeout))

    def file(self, mode: str = "w") -> Any:
        """Return a file object of the standard library: `wb`, or `w` for text. Closing it closes this end."""
        if mode not in ("w", "wb"):
            raise InvalidCall(f"a writer's file is opened with 'w' or 'wb', not {mode!r}")
        raw = io.BufferedWriter(RawPipe(self, reads=False), 64 << 10)
        return raw if mode == "wb" else io.TextIOWrapper(raw, self._encoding)

    def statistics(self) -> dict[str, int]:
        """Return what has passed through this end, in this process: counts, and bytes that wait for readers."""
        writer = self._end.writer
        return {
            "messages": writer.messages,
            "taken": writer.confirmed,
            "redelivered": writer.redelivered,
            "waiting_bytes": writer.waiting,
            "unconfirmed_bytes": writer.unconfirmed_cost,
            "readers": len(writer.lanes),
        }


def open_pair(kernel: Kernel, options: dict[str, Any]) -> tuple[PipeReader, PipeWriter]:
    """Make a pipe without a name."""
    reading, writing = table_of(kernel).open("rw")
    assert isinstance(reading, ReadEnd)
    assert isinstance(writing, WriteEnd)
    return PipeReader(kernel, reading, None, options), PipeWriter(kernel, writing, None, options)


def open_named(kernel: Kernel, name: str, mode: str, options: dict[str, Any]) -> Any:
    """Open an end of a FIFO."""
    (end,) = table_of(kernel).open(mode, name=name)
    return (
        PipeReader(kernel, end, name, options) if isinstance(end, ReadEnd) else PipeWriter(kernel, end, name, options)
    )


def open_standard(kernel: Kernel, pipe: int | None, name: str | None, mode: str) -> Any:
    """Open the end of a pipe that is to be a standard file."""
    options = {"text": False, "binary": True, "encoding": "utf-8", "timeout": None}
    if pipe is None:
        assert name is not None
        return open_named(kernel, name, mode, options)
    return _open_here(kernel.gid, pipe, mode, name, options)


def _open_here(gid: str, pipe: int, mode: str, name: str | None, options: dict[str, Any]) -> Any:
    """Open an end that has come from another process."""
    kernel = kernel_of(gid)
    (end,) = table_of(kernel).open(mode, pipe=pipe)
    return (
        PipeReader(kernel, end, name, options) if isinstance(end, ReadEnd) else PipeWriter(kernel, end, name, options)
    )


def kernel_of(gid: str) -> Kernel:
    """Return this program's kernel in a group; a pipe of the group can only be opened in that."""
    kernel: Kernel = current.member_of(gid, "this pipe").kernel
    return kernel
