"""Memory in reserve: a process that has used up its limit can still say so.

A limit is set a little below what the kernel would allow (the soft one below the hard one), and is raised when the
target has ended, or while a failure is told. What does that allocates nothing: there may be nothing left.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

#: Bytes: enough for a traceback, its pickle, and a message.
RESERVE = 16 << 20
#: The exit code of an agent that could not even report its end for want of memory.
NO_MEMORY = 71

_WORDS = b"MemoryError: no memory was left, not even to tell what happened\n"
#: The limits of this process, with and without its reserve; None: it has none.
_whole: tuple[int, int] | None = None
_usual: tuple[int, int] | None = None


def limit(memory: int) -> None:
    """Limit this process's memory, bytes; where it may, it has the reserve on top."""
    global _whole, _usual
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = memory + RESERVE if hard == resource.RLIM_INFINITY else min(memory + RESERVE, hard)
    _usual, _whole = (min(memory, most), most), (most, most)
    resource.setrlimit(resource.RLIMIT_DATA, _usual)


def release() -> None:
    """Have the reserve used, for good."""
    if _whole is not None:
        resource.setrlimit(resource.RLIMIT_DATA, _whole)


@contextmanager
def lent() -> Iterator[None]:
    """Have the reserve used by what is done meanwhile."""
    release()
    try:
        yield
    finally:
        if _usual is not None:
            resource.setrlimit(resource.RLIMIT_DATA, _usual)


def give_up() -> NoReturn:
    """End this process: it has no memory to go on with."""
    try:
        os.write(2, _WORDS)
    finally:
        os._exit(NO_MEMORY)
