"""`rack.open`: opens files of the group as `builtins.open` opens local ones."""

from __future__ import annotations

import io
from typing import IO, Any

from rackactor.ipc.files.client import Files
from rackactor.ipc.files.paths import parse_mode
from rackactor.ipc.files.raw import CHUNK, FarReader, FarWriter, HereReader, HereWriter, Leaving, Unfinished

#: Buffer size of a file that is read or written here, bytes.
BUFFER = 128 << 10


class Reader(io.BufferedReader):
    """A binary file for reading: it shows the version that existed when it was opened."""

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return int(self.raw.size)  # type: ignore[attr-defined]


class Writer(Leaving, io.BufferedWriter):
    """A binary file for writing: it appears when it is closed, all at once."""

    def _end(self) -> Unfinished:
        return self.raw.end  # type: ignore[attr-defined, no-any-return]

    def discard(self) -> None:
        """Leave nothing of it."""
        self._end().discard()
        self.close()

    def commit(self) -> None:
        """Make it appear, if it was opened with `autocommit=False` and has been closed."""
        self._end().commit()


class Packer(Leaving, io.BufferedIOBase):
    """A binary file that is compressed while it is written.

    Args:
        packing: compresses, and writes to `file`, which it does not close.
        file: appears when everything has been closed.
    """

    def __init__(self, packing: Any, file: Writer) -> None:
        super().__init__()
        self._packing = packing
        self._file = file
        self.name = file.name

    def _end(self) -> Unfinished:
        return self._file._end()

    def writable(self) -> bool:
        """Tell that it can be written."""
        return True

    def write(self, data: Any) -> int:
        """Compress bytes."""
        return int(self._packing.write(data))

    def flush(self) -> None:
        """Pass on what has been compressed."""
        if not getattr(self._packing, "closed", False):
            self._packing.flush()

    def close(self) -> None:
        """Write the rest, and make the file appear."""
        if self.closed:
            return
        try:
            self._packing.close()
        except BaseException:
            self._end().failed = True
            raise
        finally:
            super().close()
            self._file.close()

    def discard(self) -> None:
        """Leave nothing of it."""
        self._end().discard()
        self.close()

    def commit(self) -> None:
        """Make it appear, if it was opened with `autocommit=False` and has been closed."""
        self._end().commit()


class Text(io.TextIOWrapper):
    """A text file for reading."""

    mode: str = "r"


class TextWriter(Leaving, io.TextIOWrapper):
    """A text file for writing: it appears when it is closed, all at once."""

    mode: str = "w"

    def _end(self) -> Unfinished:
        return self.buffer._end()  # type: ignore[attr-defined, no-any-return]

    def discard(self) -> None:
        """Leave nothing of it."""
        self._end().discard()
        self.close()


def open_raw(files: Files, path: Any, what: str, *, parents: bool, autocommit: bool = True) -> Any:
    """Open a file without a buffer."""
    opened, descriptor = files.open(path, what, parents=parents)
    if what == "r":
        return FarReader(opened) if descriptor is None else HereReader(opened, descriptor)
    end = Unfinished(opened, autocommit)
    if descriptor is None:
        return FarWriter(opened, end, appends=what == "a")
    return HereWriter(opened, descriptor, end, appends=what == "a")


def open_binary(
    files: Files, path: Any, what: str, buffering: int = -1, *, parents: bool = True, autocommit: bool = True
) -> Any:
    """Open a binary file."""
    raw = open_raw(files, path, what, parents=parents, autocommit=autocommit)
    if buffering == 0:
        return raw
    size = buffering if buffering > 1 else BUFFER if isinstance(raw, io.FileIO) else CHUNK
    return Reader(raw, size) if what == "r" else Writer(raw, size)


def open_file(
    files: Files,
    path: Any,
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> IO[Any]:
    """Open a file: see `rack.open`."""
    parsed = parse_mode(mode)
    if parsed.binary and (encoding is not None or errors is not None or newline is not None):
        raise ValueError("binary mode doesn't take an encoding, errors or newline argument")
    if not parsed.binary and buffering == 0:
        raise ValueError("can't have unbuffered text I/O")
    if isinstance(path, str) and not path:
        raise FileNotFoundError(2, "No such file or directory", path)
    binary = open_binary(files, path, parsed.what, -1 if buffering == 1 else buffering)
    if parsed.binary:
        made: IO[Any] = binary
        return made
    text: IO[Any] = wrap(binary, mode, encoding=encoding, errors=errors, newline=newline, line_buffering=buffering == 1)
    return text


def wrap(binary: Any, mode: str, **options: Any) -> Any:
    """Return the text file over a binary one."""
    try:
        text = (TextWriter if binary.writable() else Text)(binary, **options)
    except BaseException:
        if binary.writable():
            getattr(binary, "discard", binary.close)()
        binary.close()
        raise
    text.mode = mode
    return text
