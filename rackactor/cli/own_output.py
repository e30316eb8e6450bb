"""This command's own standard output and error, on which the output of processes is shown.

It is written to the descriptors themselves: if a thread blocked inside one of Python's buffered files, Python's exit
would block.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from rackactor.system.readiness import writable


class OwnOutput:
    """Where a `rackactor.syscalls.output.OutputFollower` shows what it follows.

    Args:
        on_output: called before the first output is shown.

    Attributes:
        broken: standard output cannot be written to any more.
        fault: the reason, unless it is only that the reader is gone.
    """

    def __init__(self, on_output: Callable[[], None]) -> None:
        self._on_output: Callable[[], None] | None = on_output
        self.broken = False
        self.fault: OSError | None = None

    def show(self, pid: int, stream: int, data: bytes) -> None:
        """Show output of a process."""
        if self._on_output is not None:
            self._on_output()
            self._on_output = None
        if stream == 1 and self.broken:
            return
        try:
            write_all(stream, data)
        except OSError as error:
            if stream == 1:
                self.broken = True
                self.fault = None if isinstance(error, BrokenPipeError) else error

    def finish(self) -> None:
        """Do nothing: nothing is held back."""


def write_all(fd: int, data: bytes) -> None:
    """Write to a descriptor, which may be non-blocking."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            writable([fd])
