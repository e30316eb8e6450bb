"""Waiting for a message while an event loop runs: a separate thread waits instead of the main one."""

from __future__ import annotations

import queue
import signal
import threading
from typing import TYPE_CHECKING, Any

from rackactor.kernel.kernel import Kernel
from rackactor.system import threads

if TYPE_CHECKING:
    import asyncio


class Fetcher:
    """Takes items out of this process's mailbox for coroutines."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._wanted: queue.SimpleQueue[tuple[asyncio.AbstractEventLoop, asyncio.Future[Any]]] = queue.SimpleQueue()
        threads.start(threading.Thread(target=self._serve, name="rackactor-mailbox", daemon=True))

    async def take(self) -> Any:
        """Return the next item of the mailbox; None: there will be no more."""
        import asyncio

        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._wanted.put((loop, future))
        return await future

    def _serve(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # signals belong to the main thread
        while True:
            loop, future = self._wanted.get()
            try:
                item = self._kernel.take(None)
                while item is None and not self._kernel.ended:
                    item = self._kernel.take(None)  # another thread was faster
                loop.call_soon_threadsafe(_give, future, item)
            except Exception:
                return  # the group has ended, or the loop was closed: so this process ends, too


def _give(future: asyncio.Future[Any], item: Any) -> None:
    if not future.done():
        future.set_result(item)
