"""Coroutines where plain functions are called: `async def` as handlers, targets, exit hooks, signal handlers.

Whoever calls something of the program's gives the result to `finish`, which runs a coroutine to its end. A process has
one event loop at the most, made when the first coroutine comes (importing asyncio takes longer than most processes
live). An actor keeps its loop as long as it lives, so that tasks which its handlers have begun go on between two
messages; otherwise a loop ends with the coroutine that it was made for, as by `asyncio.run`.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Coroutine
from functools import wraps
from types import CoroutineType, FrameType
from typing import TYPE_CHECKING, Any

from rackactor.kernel import interrupts

if TYPE_CHECKING:
    import asyncio


class CalledOff(SystemExit):
    """The coroutine was cancelled because its process is to end, by SIGTERM."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


def is_coroutine(value: Any) -> bool:
    """Tell whether a value is a coroutine that has to be run."""
    return type(value) is CoroutineType or isinstance(value, Coroutine)


def finish(value: Any) -> Any:
    """Return what a coroutine returns, or the value itself if it is none.

    Where the event loop of this thread runs already (in a signal handler), the coroutine becomes a task of it.

    Raises:
        CalledOff: see `Loop.call_off`.
        BaseException: what the coroutine raises.
    """
    if value is None or not is_coroutine(value):
        return value
    running = running_loop()
    if running is None:
        if kept is not None and threading.current_thread() is threading.main_thread():
            return kept.run(value, lasting=True)
        return Loop().run(value)
    running.call_soon_threadsafe(_begin, running, value)
    return None


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread."""
    if "asyncio" not in sys.modules:
        return None
    import asyncio

    return asyncio._get_running_loop()


def plain(function: Any) -> Any:
    """Return a function that may be called by who knows nothing of coroutines."""
    if not callable(function):
        return function

    @wraps(function, updated=())
    def call(*args: Any) -> Any:
        return finish(function(*args))

    return call


def run_target(coroutine: Any) -> Any:
    """Run what an `async def` target has returned: SIGTERM cancels it, unless the program has a handler for that.

    Raises:
        CalledOff: SIGTERM has ended it.
        BaseException: what the coroutine raises.
    """
    loop = Loop()
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return loop.run(coroutine)

    def terminate(*_: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one does not wait
        loop.call_off()

    signal.signal(signal.SIGTERM, terminate)
    try:
        return loop.run(coroutine)
    finally:
        if signal.getsignal(signal.SIGTERM) is terminate:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


class Loop:
    """An event loop that runs while there is a coroutine to run."""

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None
        self._task: asyncio.Task[Any] | None = None
        self._called_off = self._interrupted = False

    @property
    def begun(self) -> bool:
        """Tell whether it has run a coroutine, whose tasks may be waiting for it to run again."""
        return self._runner is not None

    def run(self, coroutine: Any, *, lasting: bool = False) -> Any:
        """Run a coroutine to its end; Ctrl-C cancels it, as under `asyncio.run`.

        Args:
            coroutine: it.
            lasting: keep the loop for the next one; `close` ends it.

        Raises:
            CalledOff: see `call_off`.
            BaseException: what the coroutine raises.
        """
        import asyncio

        if self._runner is None:
            self._runner = asyncio.Runner()
        self._interrupted = False
        guarded = interrupts.replace(self._interrupt)
        try:
            return self._runner.run(self._watched(coroutine))
        except asyncio.CancelledError:
            if self._interrupted:
                raise KeyboardInterrupt from None
            if self._called_off:
                raise CalledOff from None
            raise
        finally:
            if guarded:
                interrupts.put_back(self._interrupt)
            if not lasting:
                self.close()

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        """Take SIGINT: the first cancels the coroutine, the second is an interrupt like any other."""
        if self._interrupted or self._task is None:
            interrupts.guard(number, frame)
        else:
            self._interrupted = True
            self._cancel()

    def _cancel(self) -> None:
        if self._runner is not None and self._task is not None:
            self._runner.get_loop().call_soon_threadsafe(self._task.cancel)

    async def _watched(self, coroutine: Any) -> Any:
        import asyncio

        self._task = asyncio.current_task()
        if self._called_off:  # SIGTERM has come before there was a task to cancel
            coroutine.close()
            raise asyncio.CancelledError
        try:
            return await coroutine
        finally:
            self._task = None

    def wait(self, coroutine: Any) -> Any:
        """Run the loop until a coroutine of ours is done; `call_off` does not mean that one."""
        assert self._runner is not None
        return self._runner.run(coroutine)

    def call_off(self) -> None:
        """Cancel the coroutine that runs, if one does, and any that comes; for signal handlers."""
        self._called_off = True
        self._cancel()

    def go_on(self) -> None:
        """Forget `call_off`: coroutines that come now are run."""
        self._called_off = False

    def close(self) -> None:
        """Cancel the tasks that are left, close asynchronous generators, end the loop."""
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.close()


#: The loop that lasts as long as this process, an actor; None: each coroutine has its own.
kept: Loop | None = None
#: Tasks that nobody else refers to.
_tasks: set[Any] = set()


def keep() -> Loop:
    """Have one loop for all coroutines of this process from now on."""
    global kept
    kept = Loop()
    return kept


def forget() -> None:
    """End the loop of this process."""
    global kept
    loop, kept = kept, None
    if loop is not None:
        loop.close()


def _begin(loop: asyncio.AbstractEventLoop, coroutine: Any) -> None:
    task = loop.create_task(coroutine)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


def is_failure(error: BaseException) -> bool:
    """Tell whether what a handler raised is a failure of it, and not the end of the process."""
    return isinstance(error, Exception) or type(error).__module__ == "asyncio.exceptions"
