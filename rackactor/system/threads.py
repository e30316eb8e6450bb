"""Threads: that none can be started is an error of the operating system, as for anything else that it refuses."""

from __future__ import annotations

import errno
import threading


def start(thread: threading.Thread) -> threading.Thread:
    """Start a thread, and return it.

    Raises:
        OSError: EAGAIN; Python itself raises a RuntimeError, which nobody expects of a call.
    """
    try:
        thread.start()
    except RuntimeError as error:
        words = "no thread can be started: there are too many (`ulimit -u`, pids.max), or there is no memory"
        raise OSError(errno.EAGAIN, words) from error
    return thread
