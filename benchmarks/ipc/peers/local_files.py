"""fsspec's local file system: what a file costs with no group around it."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

from ..peer import CHUNK, Ipc

Opener = Callable[[str, str], Any]


class LocalFiles(Ipc):
    """A file in the private folder, written and read by the driver."""

    title = "fsspec local files"
    distributions = ("fsspec",)

    def files(self, size: int) -> float:
        import fsspec

        system = fsspec.filesystem("file")
        with tempfile.TemporaryDirectory() as folder:
            return there_and_back(system.open, os.path.join(folder, "large"), size)


def there_and_back(opened: Opener, path: str, size: int) -> float:
    """Write a file in chunks, close it, and read it in chunks; return the seconds."""
    chunk = b"x" * CHUNK
    begin = time.perf_counter()
    with opened(path, "wb") as file:
        for first in range(0, size, CHUNK):
            file.write(chunk[: size - first])
    with opened(path, "rb") as file:
        while read := file.read(CHUNK):
            size -= len(read)
    seconds = time.perf_counter() - begin
    if size:
        raise RuntimeError(f"{size} bytes are missing")
    return seconds
