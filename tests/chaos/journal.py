"""What a process writes down so that it is still there when the process is killed in the next instant.

Numbers go into a mapped file: no system call for each, and what has been stored belongs to the kernel. Records go
through write(2), one call each.
"""

from __future__ import annotations

import mmap
import os
import struct
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack

_WORD = struct.Struct("<Q")


class Numbers:
    """A file of numbers above 0, appended to by one process; sparse, so that its size costs nothing."""

    def __init__(self, path: Path, most: int) -> None:
        with open(path, "xb+") as file:
            file.truncate((most + 1) * _WORD.size)
            self._map = mmap.mmap(file.fileno(), 0)
        self._at = 0

    def append(self, number: int) -> None:
        """Write a number down."""
        _WORD.pack_into(self._map, self._at, number)
        self._at += _WORD.size

    def replace(self, number: int) -> None:
        """Write a number over the first one, for a journal of which only the last number matters."""
        _WORD.pack_into(self._map, 0, number)


def numbers(path: Path) -> array[int]:
    """Return the numbers in a file, up to the first 0."""
    found = array("Q")
    with open(path, "rb") as file:
        while data := file.read(1 << 20):
            block = array("Q", data)
            if block[-1]:
                found.extend(block)
                continue
            found.extend(block[: block.index(0)])
            break
    return found


class Records:
    """A file of records, appended to by one process."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._pack = msgpack.Packer().pack

    def append(self, *record: Any) -> None:
        """Write a record down."""
        os.write(self._fd, self._pack(record))

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def records(path: Path) -> Iterator[list[Any]]:
    """Yield the records of a file; one that a kill cut short is not one."""
    with open(path, "rb") as file:
        yield from msgpack.Unpacker(file, strict_map_key=False)
