"""Threads must be real ones: libraries that put green ones in their place (gevent, eventlet) take epoll away, too.

A process of a group has a thread that does its I/O while the program computes or blocks. As a greenlet it would stop
with the program, and the program with it.
"""

from __future__ import annotations

import _queue
import _thread
import queue
import select
import sys
import threading
from types import BuiltinFunctionType

from rackactor.errors import InvalidCall

#: How to patch all but that, by the module that patches.
_MENDS = {
    "gevent.monkey": "gevent: call gevent.monkey.patch_all(thread=False, select=False, queue=False)",
    "eventlet.patcher": "eventlet: call eventlet.monkey_patch(thread=False, select=False)",
}


def check() -> None:
    """Raise if this program has had its threads replaced. (Debuggers replace what starts them: that does no harm.)

    Raises:
        InvalidCall: says by whom, and what to do.
    """
    real = all(isinstance(each, BuiltinFunctionType) for each in (_thread.allocate_lock, threading.get_ident))
    if real and hasattr(select, "epoll") and queue.SimpleQueue is _queue.SimpleQueue:
        return
    mends = [mend for name, mend in _MENDS.items() if name in sys.modules]
    by = " or ".join(mends) or "some library: have it leave the modules `threading`, `queue` and `select` alone"
    raise InvalidCall(
        f"a group needs real threads, queues and select.epoll, which were replaced in this program by {by}"
    )
