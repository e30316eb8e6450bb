"""Descriptors in reserve: when a process has used all that it may have, what it needs itself can still be opened.

ZeroMQ takes descriptors in threads of its own, one for each connection that somebody makes. So the soft limit of a
process that must go on is kept a little below the hard one, and is raised for a single call that has failed. What that
opens has a number above the limit, so that nobody else gets it when it is closed.
"""

from __future__ import annotations

import errno
import os
import resource
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

#: Descriptors kept in reserve.
RESERVE = 64
_lock = threading.Lock()


def keep_reserve() -> None:
    """Raise the soft limit on open files of this process to the hard one, but for the reserve."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(hard // 2, hard - RESERVE), hard))


def spared(call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Make a call that opens something; should no descriptor be left for it, take it from the reserve.

    Raises:
        OSError: what the call raises; EMFILE when the reserve is used up too.
    """
    try:
        return call(*args, **kwargs)
    except Exception as error:
        if not _none_left(error):
            raise
    with _lock:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        try:
            for limit in range(
                soft + 1, min(hard, soft + RESERVE) + 1
            ):  # step by step: a thread of ZeroMQ's may be quicker
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
                try:
                    return call(*args, **kwargs)
                except Exception as error:
                    if not _none_left(error):
                        raise
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _none_left(error: Exception) -> bool:
    """Tell whether this is EMFILE: ZeroMQ says so as an OSError does, LMDB in words."""
    return getattr(error, "errno", None) == errno.EMFILE or os.strerror(errno.EMFILE) in str(error)
