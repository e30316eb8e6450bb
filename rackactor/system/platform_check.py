"""Check for Linux, at the import of the package and not at the first missing system call."""

from __future__ import annotations

import os
import sys

#: Functions that only Linux has and that everything here needs; from Linux 5.3 and Python's own build.
_NEEDED = ("memfd_create", "pidfd_open")


def check(platform: str = sys.platform, functions: object = os) -> None:
    """Refuse a system that RackActor cannot run on.

    Raises:
        ImportError: it is not Linux, or an old one, with what to do.
    """
    if platform != "linux":
        raise ImportError(
            f"rackactor runs on Linux, and this is {platform}: use a virtual machine, a container, or WSL 2"
            " (groups are made of memfds, pidfds and abstract sockets, which only Linux has)"
        )
    missing = [f"os.{name}" for name in _NEEDED if not hasattr(functions, name)]
    if missing:
        raise ImportError(
            f"rackactor needs {' and '.join(missing)}, and this Python has been built without:"
            " take one that was built for Linux 5.3 or newer"
        )


check()
