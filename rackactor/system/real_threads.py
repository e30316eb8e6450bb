"""Check that threads are real ones: libraries that replace them by green ones (gevent, eventlet) remove epoll, too.

A thread of each process of a group does its I/O while the program computes or blocks. As a greenlet that thread would
stop whenever the program does, and both would hang.
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

#: How to patch everything but threads, for each library that patches.
_MENDS = {
    "gevent.monkey": "gevent: call gevent.monkey.patch_all(thread=False, select=False, queue=False)",
    "eventlet.patcher": "eventlet: call eventlet.monkey_patch(thread=False, select=False)",
}


def check() -> None:
    """Raise if this program's threads have been replaced. (Debuggers only replace the function that starts threads.)

    Raises:
        InvalidCall: it names the library, and a remedy.
    """
    real = all(isinstance(each, BuiltinFunctionType) for each in (_thread.allocate_lock, threading.get_ident))
    if real and hasattr(select, "epoll") and queue.SimpleQueue is _queue.SimpleQueue:
        return
    mends = [mend for name, mend in _MENDS.items() if name in sys.modules]
    by = " or ".join(mends) or "some library: have it leave the modules `threading`, `queue` and `select` alone"
    raise InvalidCall(
        f"a group needs real threads, queues and select.epoll, which were replaced in this program by {by}"
    )
