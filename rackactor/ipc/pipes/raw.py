"""An end of a pipe as a raw file."""

from __future__ import annotations

import io
from typing import Any


class RawPipe(io.RawIOBase):
    """An end as a raw file, for the buffers of the standard library.

    Args:
        end: a `PipeReader` or a `PipeWriter`; it is closed with the file.
        reads: it is a reader.
    """

    def __init__(self, end: Any, *, reads: bool) -> None:
        super().__init__()
        self._end = end
        self._reads = reads

    def readable(self) -> bool:
        """Tell whether it is a reader."""
        return self._reads

    def writable(self) -> bool:
        """Tell whether it is a writer."""
        return not self._reads

    def readinto(self, buffer: Any) -> int:
        """Read some bytes: how many, 0 at the end."""
        return int(self._end.readinto(buffer))

    def write(self, data: Any) -> int:
        """Write bytes: how many."""
        return int(self._end.write(bytes(data)))

    def close(self) -> None:
        """Close the end."""
        if not self.closed:
            super().close()
            self._end.close()
