"""A backend that takes its time, for the file service of a test: `{"url": ..., "class": "slowfs:SlowFileSystem"}`."""

from __future__ import annotations

import time
from typing import Any

from fsspec.implementations.memory import MemoryFileSystem

#: Seconds that a path with "slow" in it takes.
SLOW = 1.5


class SlowFileSystem(MemoryFileSystem):  # type: ignore[misc]
    """Files in memory; those whose name says so are slow."""

    cachable = False

    def info(self, path: str, **kwargs: Any) -> Any:
        """Look at a file."""
        if "slow" in path:
            time.sleep(SLOW)
        return super().info(path, **kwargs)
