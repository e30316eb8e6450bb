"""A reserve of memory: a process that has used up its limit can still report that.

The soft limit is set a little below the hard one, and is raised when the target has ended, or while a failure is
reported. The code that raises it allocates nothing, since there may be no memory left.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

#: Bytes: enough for a traceback, its pickle, and a message.
RESERVE = 16 << 20
#: The exit code of an agent that could not report its end for lack of memory.
NO_MEMORY = 71

_WORDS = b"MemoryError: no memory was left, not even to tell what happened\n"
#: The limits of this process, with and without its reserve; None: there is none.
_whole: tuple[int, int] | None = None
_usual: tuple[int, int] | None = None


def limit(memory: int) -> None:
    """Limit this process's memory, bytes; if possible, with the reserve on top."""
    global _whole, _usual
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = memory + RESERVE if hard == resource.RLIM_INFINITY else min(memory + RESERVE, hard)
    _usual, _whole = (min(memory, most), most), (most, most)
    resource.setrlimit(resource.RLIMIT_DATA, _usual)


def release() -> None:
    """Use the reserve, for good."""
    if _whole is not None:
        resource.setrlimit(resource.RLIMIT_DATA, _whole)


@contextmanager
def lent() -> Iterator[None]:
    """Use the reserve within the block."""
    release()
    try:
        yield
    finally:
        if _usual is not None:
            resource.setrlimit(resource.RLIMIT_DATA, _usual)


def give_up() -> NoReturn:
    """End this process, which has no memory to go on."""
    try:
        os.write(2, _WORDS)
    finally:
        os._exit(NO_MEMORY)
