"""Notice that the reader of standard output has gone, even while there is nothing to write."""

from __future__ import annotations

import os
import select
import signal
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rackactor.kernel import interrupts
from rackactor.system import threads


@contextmanager
def while_read() -> Iterator[None]:
    """Raise BrokenPipeError in the block once the reader of standard output has gone; main thread only.

    Without this, a command that waits for something to show would wait on in `rack ... | head -1`.
    """
    mode = os.fstat(1).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        yield
        return
    error = BrokenPipeError("nobody reads the output any more")
    before = signal.signal(signal.SIGPIPE, lambda *_: interrupts.raise_when_safe(error))
    watch = _Watch()
    try:
        yield
    finally:
        watch.end()
        signal.signal(signal.SIGPIPE, before)
        interrupts.withdraw(error)


class _Watch:
    """A daemon thread that waits for the error of standard output."""

    def __init__(self) -> None:
        self._on = True
        self._lock = threading.Lock()
        threads.start(threading.Thread(target=self._wait, name="rack-outlet", daemon=True))

    def end(self) -> None:
        """Stop interrupting."""
        with self._lock:
            self._on = False

    def _wait(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # signals belong to the main thread
        poll = select.poll()
        poll.register(1, 0)  # poll always reports errors
        poll.poll()
        with self._lock:
            if self._on:
                ident = threading.main_thread().ident
                assert ident is not None
                signal.pthread_kill(ident, signal.SIGPIPE)
