"""Threads for calls that block, one descriptor that tells when there is an answer, and a clock that rings it."""

from __future__ import annotations

import logging
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from rackactor.kernel.wakeup import Waker

#: What a job comes to: called with the time, in the thread that owns the workshop.
Answer = Callable[[float], Any]
Job = Callable[[], Answer]

_log = logging.getLogger(__name__)


class WorkerPool:
    """Do jobs in threads, which are made when they are first needed, and hold up nobody's end.

    Args:
        workers: threads at the most.

    Attributes:
        waker: it rings when there are answers, and when it is time.
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
        """Have a job done; it never raises."""
        self._open += 1
        if len(self._threads) < min(self._open, self._workers):
            self._start(self._work)
        self._jobs.put(job)

    def answers(self) -> Iterator[Answer]:
        """Yield what the jobs have come to, and take the waker for heard."""
        self.waker.drain()
        while self._answers:
            self._open -= 1
            yield self._answers.popleft()

    def wake_at(self, when: float) -> None:
        """Have the waker rung at a time (monotonic); the last call counts."""
        if when == self._ring_at:
            return
        with self._alarm:
            first = self._ring_at == math.inf and when < math.inf and not any(t.name == "clock" for t in self._threads)
            self._ring_at = when
            self._alarm.notify()
        if first:
            self._start(self._keep_time, "clock")

    def close(self) -> None:
        """End; a job that is under way goes on for as long as its bounds say, and nobody hears of it."""
        with self._alarm:
            self._closed = True
            self._alarm.notify()
        for _ in self._threads:
            self._jobs.put(None)

    def _start(self, target: Callable[[], None], name: str = "worker") -> None:
        thread = threading.Thread(target=target, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

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
