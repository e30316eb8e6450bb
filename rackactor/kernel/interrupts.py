"""What signal handlers raise in the loop: KeyboardInterrupt, and errors of our own, never tear what is half done.

Python runs signal handlers between any two bytecodes of the main thread, and the default one for SIGINT raises. While
the main thread does I/O at a point that must be finished, the interrupt is put off for these few
microseconds. Only Python's own default handler is replaced, for as long as a kernel lives. Handlers of this package
that raise do so by `raise_when_safe`.
"""

from __future__ import annotations

import signal
import sys
import threading
from _signal import getsignal as _getsignal  # type: ignore[import-not-found] # 50 times as fast: it makes no enums
from collections.abc import Callable
from types import FrameType

#: True while the main thread does what must be finished (set and read by that thread only).
busy = False
#: What was put off.
pending: BaseException | None = None
_users = 0


#: Modules (the first part of the name) whose handlers make no calls that wait, and raise only when that is safe.
HARMLESS = {"asyncio", "rackactor", "rackactor_runtime"}
#: What runs in the loop, beside the standard library.
_IN_THE_LOOP = {"msgpack", "rackactor", "rackactor_runtime", "zmq"}
_NUMBERS = range(1, int(signal.NSIG))


def handled() -> bool:
    """Tell whether the program has signal handlers of its own, written in Python (a few microseconds)."""
    for handler in set(map(_getsignal, _NUMBERS)):
        if callable(handler) and handler is not signal.default_int_handler:
            module = getattr(handler, "__module__", None) or ""
            if module.partition(".")[0] not in HARMLESS:
                return True
    return False


def install() -> None:
    """Guard the default handler; no effect outside the main thread, or when the program has a handler of its own."""
    global _users
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, guard)
    _users += 1


def uninstall() -> None:
    """Give the default handler back when nobody needs the guard any more."""
    global _users
    if threading.current_thread() is not threading.main_thread():
        return
    _users = max(0, _users - 1)
    if _users == 0 and signal.getsignal(signal.SIGINT) is guard:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def replace(handler: Callable[[int, FrameType | None], None]) -> bool:
    """Have another handler than the default one for a while; returns whether it is there."""
    if threading.current_thread() is not threading.main_thread():
        return False
    if _getsignal(signal.SIGINT) not in (guard, signal.default_int_handler):
        return False
    signal.signal(signal.SIGINT, handler)
    return True


def put_back(handler: Callable[[int, FrameType | None], None]) -> None:
    """Have the default handler again, unless the program has set one meanwhile."""
    if _getsignal(signal.SIGINT) == handler:
        signal.signal(signal.SIGINT, guard if _users else signal.default_int_handler)


def release() -> None:
    """Raise what was put off, if anything: what had to be finished is."""
    global pending
    if pending is not None:
        error, pending = pending, None
        raise error


def raise_when_safe(error: BaseException) -> None:
    """Raise, in a signal handler; in the middle of what must be finished, when that is done.

    Of several errors that are put off one is raised; a Ctrl-C is never lost for another.
    """
    global pending
    if not busy:
        raise error
    if not isinstance(pending, KeyboardInterrupt):
        pending = error


def withdraw(error: BaseException) -> None:
    """Do not raise an error any more that was put off."""
    global pending
    if pending is error:
        pending = None


def guard(number: int, frame: FrameType | None) -> None:
    """Take SIGINT as Python does, but not in the middle of what must be finished."""
    raise_when_safe(KeyboardInterrupt())


def comes_from_a_handler(error: BaseException) -> bool:
    """Tell whether the program's own code has raised an error in the loop, where only its signal handlers run.

    Until a program is seen to have handlers, one may interrupt the reading of a message: nobody's message is the cause.
    """
    trace = error.__traceback__
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__") or "").partition(".")[0]
        if module not in _IN_THE_LOOP and module not in sys.stdlib_module_names:
            return True
        trace = trace.tb_next
    return False
