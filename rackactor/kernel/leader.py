"""Who runs the event loop: one thread at a time does the I/O of an agent.

Three rules (docs/internals/event-loop.md tells more):

1. One thread at a time runs the loop: the leader. The lead is a lock that is only ever tried, never waited for, since
   a signal handler may come at any moment, wait itself, and raise.
2. An application thread that has to wait (an idle mailbox, an ask, a wait) runs the loop itself. A message then reaches
   the thread that waits for it with no hand-over between threads.
3. While the application computes, a background thread looks in, and moves in if the application stays away. So
   heartbeats and signals go on whatever a handler does.

States of the lead:

- nobody has it; a timer descriptor is armed, and will wake the background thread
- an application thread has it
- the background thread has it
- the main thread stands aside: it never runs the loop again, and the background thread runs it for good
- closed

The timer. A thread that leaves the loop arms it, and the background thread looks in after `TAKEOVER_DELAY`. A thread
that comes back leaves it armed: to disarm it would be two system calls for each message, and it fires for nothing
instead. When that happens again and again, looks get rarer (`RARELY`). Only where a process waited for long the last
time is it disarmed, or each message to a process that rests would wake a second thread. An idle process wakes nobody.

Signal handlers run in the main thread, between any two of its bytecodes. In a turn's poll, and in what runs at its end,
they may make calls or raise (`unprotect`). Anywhere else in a turn a call that waits is refused, and what they raise
would leave things half done (`protect`). So as soon as a program is seen to have handlers of its own, its main thread
stands aside, and no handler interrupts a turn any more. The price is a hand-over between threads for each message.

What was tried and does not work: a background thread that always owns the sockets. It costs a queue and two wake-ups
each way.
"""

from __future__ import annotations

import select
import signal
import threading
import time
from collections.abc import Callable

from rackactor.errors import RackError
from rackactor.kernel import interrupts
from rackactor.kernel.timerfd import Timer
from rackactor.system import threads

#: How long the application may stay away from the loop before the background thread looks in, seconds.
TAKEOVER_DELAY = 0.005
#: The same for one that was found in the loop again and again, seconds: each look at it costs a wake-up.
RARELY = 0.02
#: How long whoever closes waits for the thread in the loop to leave it, seconds.
LEAVING = 5.0


class Leader:
    """Give the loop to one thread at a time.

    Args:
        run_once: does one turn of I/O; its argument bounds the wait, seconds (None: until something comes).
            It is called by one thread at a time.
        flush: only sends what waits to be sent; called by one thread at a time, too.
        wake: ends a loop that waits in another thread.
        crashed: told what the loop raised in the background thread, which nobody would see otherwise.
    """

    def __init__(
        self,
        run_once: Callable[[float | None], None],
        flush: Callable[[], None],
        wake: Callable[[], None],
        crashed: Callable[[Exception], None],
    ) -> None:
        self._run_once = run_once
        self._flush = flush
        self._wake = wake
        # Whoever runs the loop holds the lock; it is only ever tried, never waited for: a signal handler may come at
        # any moment, wait itself, and raise. (With a threading.Condition it would hang, or break its lock.)
        self._lock = threading.RLock()
        self._held: Callable[[], bool] = self._lock._is_owned  # type: ignore[attr-defined]  # as threading.Condition asks
        self._owner: int | None = None  # its thread, from a moment after it was taken to a moment before it is given up
        self._waiting: list[threading.Lock] = []  # one for each thread that waits
        self._closed = False
        self._timer = Timer()
        self._visit = TAKEOVER_DELAY
        #: Whether the loop waited for long the last time, and so probably will the next.
        self.rests = False
        self._activity = 0
        self._safe = False
        #: What runs at the end of a turn may make calls: they are not a signal handler's.
        self.calling_back = False
        self._aside = False  # the main thread leaves the loop to others
        self._watching: list[threading.Lock] = []  # one for each wait of a main thread that stands aside
        self._main = False  # the main thread owns it
        self._main_ident = threading.main_thread().ident
        self._crashed = crashed
        self._thread = threading.Thread(target=self._background, name="rackactor-io", daemon=True)

    def prepare(self) -> None:
        """Have the background thread, which does nothing before `start`; idempotent."""
        if self._thread.ident is None:
            threads.start(self._thread)

    def start(self) -> None:
        """Begin: from now on somebody runs the loop when it must be turned."""
        self.prepare()
        self._look_for_handlers()
        self._timer.arm(TAKEOVER_DELAY)

    def wait(self, done: Callable[[], object], timeout: float | None) -> bool:
        """Run the loop, or let another thread turn it, until `done()`.

        Returns: whether it is done; False when `timeout` seconds have passed first.
        """
        self._activity += 1
        deadline = None if timeout is None else time.monotonic() + timeout
        if self._owner is not None and self._owner == threading.get_ident():
            return self._wait_nested(done, deadline)
        # In a signal handler that has interrupted this thread's coming or leaving: meanwhile nobody else can come.
        between = self._held()
        if between or not (self._aside and threading.get_ident() == self._main_ident):
            try:
                if not (self._take() or self._claim(done, deadline)):
                    return bool(done())
                if self.rests and self._timer.armed and not done():
                    self._timer.disarm()
                    self._look_for_handlers()
                while between or not (self._aside and self._main):
                    if done():
                        return True
                    left = None if deadline is None else deadline - time.monotonic()
                    if left is not None and left <= 0:
                        return False
                    if self._closed:
                        return bool(done())
                    self._turn_once(left)
                    if self._waiting or self._watching:
                        self._notify()
            finally:
                self._give_up()
        return self._wait_aside(done, deadline)

    def turn(self) -> None:
        """Send what waits to be sent; if somebody else runs the loop, have them do it."""
        self._activity += 1
        if self._owner is not None:
            if self._owner != threading.get_ident():
                self._wake()
            return
        if self._aside and threading.get_ident() == self._main_ident:
            self._timer.arm(0)
            return
        try:
            if self._take():
                self._flush()
        finally:
            self._give_up()

    @property
    def taken(self) -> bool:
        """Tell whether some thread runs the loop."""
        return self._owner is not None

    def soon(self, delay: float) -> None:
        """See to it that somebody runs the loop within `delay` seconds."""
        self._activity += 1
        if self._owner is None:
            self._timer.arm(delay)
        elif self._owner != threading.get_ident():
            self._wake()

    def unprotect(self) -> None:
        """Say that nothing is half done: a signal handler may raise here, or run the loop itself."""
        self._safe = True
        if self._main:
            interrupts.busy = False
            interrupts.release()

    def protect(self) -> None:
        """Say that what comes must be finished."""
        if self._main:
            interrupts.busy = True
        self._safe = False

    def close(self) -> None:
        """Have everybody else leave the loop, and stop the background thread; nobody turns it any more."""
        until = time.monotonic() + LEAVING
        self._closed = True
        self._notify()
        while not (free := self._lock.acquire(blocking=False)):
            if not self._pause(lambda: False, until - time.monotonic()):
                break
        if free:
            self._lock.release()
        self._timer.arm(0)
        if self._thread.ident is not None and threading.current_thread() is not self._thread:
            self._thread.join(LEAVING)
        self._timer.close()

    def stand_aside(self) -> None:
        """Have the main thread leave the loop to others from now on: its signal handlers may do anything."""
        self._aside = True

    def _look_for_handlers(self) -> None:
        if not self._aside and interrupts.handled():
            self._aside = True

    def _turn_once(self, timeout: float | None) -> None:
        self.protect()
        try:
            self._run_once(timeout)
        except Exception:
            if not self._closed:  # if it is, a signal handler has closed it in the midst of this turn
                raise
        finally:
            self._safe = True  # nothing is half done between two turns

    def _wait_nested(self, done: Callable[[], object], deadline: float | None) -> bool:
        """Wait in a signal handler that interrupted this very thread in the loop, or in what runs after a turn."""
        if not self.calling_back:
            self._aside = True  # from when this thread has left the loop on, its handlers interrupt nothing
        if not self._safe:
            raise RackError("a call that waits, in a signal handler that interrupted a send: wait outside the handler")
        try:
            while not done():
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    break
                if self._closed:
                    break
                self._turn_once(left)
        finally:
            self.unprotect()
            self._wake()  # the poll that was interrupted goes on, and does not know what has been sent since
        return bool(done())

    def _wait_aside(self, done: Callable[[], object], deadline: float | None) -> bool:
        """Wait while other threads run the loop; a signal handler that comes meanwhile may do the same."""
        told = False
        while not done():
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            if self._closed:
                return bool(done())
            turn = threading.Lock()
            turn.acquire()
            try:
                self._watching.append(turn)  # what happens from now on is told
                if done():
                    return True
                if self._owner is None:
                    self._timer.arm(0)
                elif not told:
                    self._wake()  # there may be something to send
                told = True
                turn.acquire(timeout=-1 if left is None else left)
            finally:
                try:
                    self._watching.remove(turn)
                except ValueError:
                    pass
        return True

    def _claim(self, done: Callable[[], object], deadline: float | None) -> bool:
        """Become the owner; False when `done()` or the deadline came first."""
        while not self._take():
            left = None if deadline is None else deadline - time.monotonic()
            if self._closed or not self._pause(done, left):
                return False
        return True

    def _pause(self, done: Callable[[], object], timeout: float | None) -> bool:
        """Wait until the thread in the loop leaves it, or has done a turn; False: it is done, or the time is over."""
        turn = threading.Lock()
        turn.acquire()
        try:
            self._waiting.append(turn)  # what happens from now on is told
            if done() or (timeout is not None and timeout <= 0):
                return False
            owner = self._owner
            if owner is None:
                time.sleep(0)  # somebody has just taken it, or is about to give it up
                return True
            if self._closed or owner == self._thread.ident:
                self._wake()
            turn.acquire(timeout=-1 if timeout is None else timeout)
            return True
        finally:
            try:
                self._waiting.remove(turn)
            except ValueError:
                pass

    def _take(self) -> bool:
        """Become the owner, if nobody is."""
        me = threading.get_ident()
        main = me == self._main_ident
        if not self._lock.acquire(blocking=False):
            return False
        if self._closed:
            self._lock.release()
            return False
        if main:
            interrupts.busy = True
        self._safe = False
        self._owner = me
        self._main = main
        if main:
            interrupts.busy = True  # a signal handler in between may have owned it, and given it up
        self._safe = False
        return True

    def _give_up(self) -> None:
        """Leave the loop if this thread has it, also if a signal handler raises on the way."""
        if self._held():
            try:
                self._leave()
            except BaseException:
                if self._held():
                    self._leave()
                raise

    def _leave(self) -> None:
        main, self._main = self._main, False
        self._owner = None
        self._lock.release()
        if self._waiting or self._watching:
            self._notify()
        if not self._timer.armed:
            self._timer.arm(self._visit)
        if main:
            interrupts.busy = False
            interrupts.release()

    def _release(self) -> None:
        self._owner = None
        self._lock.release()
        self._notify()

    def _notify(self) -> None:
        try:
            while self._waiting:
                self._waiting.pop().release()
        except IndexError:
            pass  # another thread was quicker
        self._tell()

    def _tell(self) -> None:
        """Have a main thread that stands aside look whether it has what it waits for."""
        try:
            while self._watching:
                self._watching.pop().release()
        except IndexError:
            pass

    def _background(self) -> None:
        # Signals belong to the main thread: it must be the one whose system call they interrupt.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        poller = select.poll()
        poller.register(self._timer.fd, select.POLLIN)
        seen = -1
        while not self._closed:
            poller.poll()
            self._timer.clear()
            self._look_for_handlers()
            if self._waiting or not self._take():
                self._notify()
                self._visit = min(2 * self._visit, RARELY)
                continue
            self._visit = TAKEOVER_DELAY
            stay = seen == self._activity
            seen = self._activity
            try:
                self._turn_once(0)
                self._tell()
                while (self._aside or (stay and seen == self._activity)) and not (self._waiting or self._closed):
                    self._turn_once(None)
                    self._tell()
            except Exception as error:
                self._crashed(error)
            finally:
                wanted = bool(self._waiting)
                self._release()
                if not wanted and not self._closed:
                    self._timer.arm(TAKEOVER_DELAY)
