"""Handlers of signals, and of the ends of children."""

from __future__ import annotations

import signal as _signal
import threading
from collections import deque
from collections.abc import Callable, Sequence
from inspect import iscoroutinefunction
from typing import Any

from rackactor.kernel import coroutines
from rackactor.kernel.inbox import EventHandler
from rackactor.kernel.kernel import Kernel
from rackactor.signals import parse_signal
from rackactor.status import Signal
from rackactor.wire.events import ChildEvent, SignalEvent

#: Handlers of free-string signals and of SIGCHLD: (signal, pid of the sender or of the child).
RackHandler = Callable[[Signal, int], Any]


class SignalHandlers:
    """The signal handlers of one process, and the listeners to the ends of its children.

    Args:
        kernel: of this process.
        on_signal: handles signals instead of this object; None: it handles them itself.
    """

    def __init__(self, kernel: Kernel, on_signal: EventHandler | None = None) -> None:
        self._kernel = kernel
        self._handlers: dict[Signal, RackHandler | None] = {}
        #: Handles free strings that have no handler of their own (an actor's `receiveSignal`); None: nothing does.
        self._on_free_signal: Callable[[str, int], None] | None = None
        #: Free strings that came before the first handler, the last thousand of them.
        self._unclaimed: deque[tuple[Signal, int]] = deque(maxlen=1000)
        self._arrived: deque[tuple[str, int]] = deque()
        self._child_listeners: tuple[Callable[[int], None], ...] = ()
        self._lock = threading.RLock()
        self._free: list[tuple[Signal, int]] = []
        kernel.on(SignalEvent, on_signal or self._on_signal)
        kernel.on(ChildEvent, self._on_child)

    def set(self, sig: int | str, handler: Any) -> Any:
        """Set the handler of a signal; return the previous one: see `Session.signal`."""
        number = parse_signal(sig)
        if isinstance(number, int) and number != _signal.SIGCHLD:
            given = coroutines.plain(handler) if iscoroutinefunction(handler) else handler
            return _signal.signal(number, _signal.SIG_DFL if given is None else given)
        self._kernel.stand_aside()  # whatever the handler does
        # Python runs handlers of real signals in the main thread; SIGURG has no other use.
        _signal.signal(_signal.SIGURG, lambda *_: self._run_free())
        with self._lock:
            before = self._handlers.get(number)
            self._handlers[number] = handler
            early = [known for known in self._unclaimed if known[0] == number]
            for known in early:
                self._unclaimed.remove(known)
            self._free.extend(early)
        if early:
            self._run_free()
        return before

    def drop(self) -> None:
        """Remove all handlers, since the program that they belong to has ended."""
        with self._lock:
            self._handlers.clear()
            self._free.clear()

    def take_free(self, handler: Callable[[str, int], None]) -> None:
        """Use this handler for free strings without one of their own, beginning with those that have come already."""
        with self._lock:
            for sig, sender in self._unclaimed:
                handler(str(sig), sender)
            self._unclaimed.clear()
            self._on_free_signal = handler

    def _on_signal(self, event: SignalEvent, _: Sequence[Any]) -> None:
        sig, sender = event.signal, event.sender
        if isinstance(sig, int):
            self._kernel.call_soon(lambda: raise_signal(sig))
            return
        self._arrived.append((sig, sender))
        self._give_out()

    def _give_out(self) -> None:
        """Pass free strings that have arrived to their handlers, in order; called in the loop."""
        if not self._kernel.take_briefly(self._lock, self._give_out):
            return
        try:
            while self._arrived:
                self._give(*self._arrived.popleft())
        finally:
            self._lock.release()

    def _give(self, sig: str, sender: int) -> None:
        if self._handlers.get(sig) is not None:
            self._free.append((sig, sender))
            self._kernel.call_soon(lambda: raise_signal(_signal.SIGURG))
        elif self._on_free_signal is not None:
            self._on_free_signal(sig, sender)
        elif sig not in self._handlers:
            self._unclaimed.append((sig, sender))

    def add_child_listener(self, listener: Callable[[int], None]) -> None:
        """Have a function called, in the loop, with the pid of each child that has ended; it must be quick."""
        with self._lock:
            self._child_listeners = (*self._child_listeners, listener)

    def remove_child_listener(self, listener: Callable[[int], None]) -> None:
        """Have it called no more."""
        with self._lock:
            self._child_listeners = tuple(each for each in self._child_listeners if each != listener)

    def _on_child(self, event: ChildEvent, _: Sequence[Any]) -> None:
        for listener in self._child_listeners:
            listener(event.pid)
        if self._handlers.get(_signal.SIGCHLD) is not None:
            self._free.append((int(_signal.SIGCHLD), event.pid))
            self._kernel.call_soon(lambda: raise_signal(_signal.SIGURG))

    def _run_free(self) -> None:
        while self._free:
            sig, sender = self._free.pop(0)
            handler = self._handlers.get(sig)
            if handler is not None:
                coroutines.finish(handler(sig, sender))


def raise_signal(sig: int) -> None:
    """Raise a real signal in the main thread, so that it interrupts a blocking call there."""
    ident = threading.main_thread().ident
    assert ident is not None
    _signal.pthread_kill(ident, sig)
