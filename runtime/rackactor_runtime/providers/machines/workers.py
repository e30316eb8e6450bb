"""Threads for blocking calls, with one descriptor that becomes readable for results and for timers."""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from rackactor.kernel.transport.wakeup import Waker
from rackactor.system import threads

#: The result of a job: called with the time, in the thread that owns the pool.
Answer = Callable[[float], Any]
Job = Callable[[], Answer]

_log = logging.getLogger(__name__)


class WorkerPool:
    """Does jobs in threads, which are made at their first use and do not delay the exit.

    Args:
        workers: number of threads, at most.

    Attributes:
        waker: rings when there are results, and when a timer is due.
    """

    def __init__(self, workers: int) -> None:
        self.waker = Waker()
        self._workers = workers
        self._threads: list[threading.Thread] = []
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._open = 0  # jobs that were begun and are not answered
        self._answers: deque[Answer] = deque()
        self._lock = threading.Lock()
        self._closed = False
        self._alarm = threading.Condition(self._lock)
        self._ring_at = math.inf

    def begin(self, job: Job) -> None:
        """Start a job, which must not raise."""
        if len(self._threads) < min(self._open + 1, self._workers):
            try:
                self._start(self._work)
            except OSError:
                if not any(thread.name == "worker" for thread in self._threads):
                    raise  # otherwise it waits for one of those that there are
        self._open += 1
        self._jobs.put(job)

    def answers(self) -> Iterator[Answer]:
        """Yield the results of jobs, and reset the waker."""
        self.waker.drain()
        while self._answers:
            self._open -= 1
            yield self._answers.popleft()

    def wake_at(self, when: float) -> None:
        """Ring the waker at a time (monotonic); the last call counts."""
        if when == self._ring_at:
            return
        with self._alarm:
            first = self._ring_at == math.inf and when < math.inf and not any(t.name == "clock" for t in self._threads)
            self._ring_at = when
            self._alarm.notify()
        if first:
            try:
                self._start(self._keep_time, "clock")
            except OSError:
                self._ring_at = math.inf
                raise

    def close(self) -> None:
        """End; running jobs go on within their own time limits, and their results are dropped."""
        with self._alarm:
            self._closed = True
            self._alarm.notify()
        for _ in self._threads:
            self._jobs.put(None)

    def _start(self, target: Callable[[], None], name: str = "worker") -> None:
        self._threads.append(threads.start(threading.Thread(target=target, name=name, daemon=True)))

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None and not self._closed:
            try:
                answer = job()
            except Exception:
                _log.exception("a job failed, which must not happen")
                continue
            self._answers.append(answer)
            self.waker.wake()

    def _keep_time(self) -> None:
        while True:
            with self._alarm:
                if self._closed:
                    return
                left = self._ring_at - time.monotonic()
                if left > 0:
                    self._alarm.wait(None if left == math.inf else left)
                    continue
                self._ring_at = math.inf
                self.waker.wake()
