"""The measures: what is asked of every peer, in which unit, and how often in a round."""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psutil

from . import processes
from .peer import Peer

Figures = list[float]


@dataclass(frozen=True)
class Effort:
    """How much work a round does."""

    #: Seconds that a repeated action (round trips, streams, broadcasts) is repeated for.
    seconds: float
    #: How often 10 workers are spawned.
    spawns: int
    #: Workers in the broadcast, for peers that can have as many.
    crowd: int
    #: Processes of the crowd that must start, answer and end.
    many: int
    #: Bytes of what is called 1 GB: a snapshot, a file.
    large: int
    #: Writes that each watcher must see.
    seen: int


FULL = Effort(seconds=1.0, spawns=3, crowd=100, many=500, large=1_000_000_000, seen=100)
QUICK = Effort(seconds=0.2, spawns=1, crowd=20, many=50, large=100_000_000, seen=20)


@dataclass(frozen=True)
class Measure:
    """One column of the table."""

    name: str
    title: str
    unit: str
    #: Called with an entrant of the suite that the measure belongs to.
    run: Callable[[Any, Effort], Figures]
    #: Seconds that it may take in one round, spawning included.
    bound: float
    #: Whether a larger figure is the better one.
    larger_is_better: bool = False


def spawn(peer: Peer, effort: Effort) -> Figures:
    """Spawn 10 workers until each has answered: milliseconds for each."""
    count = min(10, peer.most)
    found = []
    for _ in range(effort.spawns):
        begin = time.perf_counter()
        peer.spawn(count)
        found.append((time.perf_counter() - begin) * 1e3 / count)
        peer.end()
    return found


def spawn_on(peer: Peer, effort: Effort) -> Figures:
    """Do the same, without a pause, until nothing is left of what was prepared: milliseconds for each."""
    spawn(peer, effort)
    return spawn(peer, effort)


def repeat(action: Callable[[int], float], effort: Effort, most: int) -> Iterator[tuple[int, float]]:
    """Yield (count, seconds) of three runs, after a warm-up that finds how many fit into the time."""
    warm = min(10, most)
    seconds = action(warm)
    while seconds < effort.seconds / 5 and warm < most:  # too few to tell the rate: how it begins is in it
        warm = min(warm * 4, most)
        seconds = action(warm)
    count = max(1, min(most, math.ceil(warm * effort.seconds / 3 / seconds)))
    for _ in range(3):
        yield count, action(count)


def round_trip(peer: Peer, effort: Effort) -> Figures:
    """Ask from worker to worker: microseconds."""
    peer.spawn(2)
    return [s * 1e6 / n for n, s in repeat(lambda n: peer.round_trips(n, 1024), effort, 50_000)]


def round_trip_driver(peer: Peer, effort: Effort) -> Figures:
    """Ask a worker from the program that made it: microseconds."""
    peer.spawn(2)
    payload = bytes(1024)

    def action(count: int) -> float:
        begin = time.perf_counter()
        peer.ask(count, payload)
        return time.perf_counter() - begin

    return [s * 1e6 / n for n, s in repeat(action, effort, 50_000)]


@contextmanager
def busy(loops: int = 2) -> Iterator[None]:
    """Have as many busy loops beside what is measured; should they be left alone, they end by themselves."""
    program = "import time\nuntil = time.monotonic() + 120\nwhile time.monotonic() < until: sum(range(1000))"
    running = [subprocess.Popen([sys.executable, "-S", "-c", program]) for _ in range(loops)]
    try:
        time.sleep(0.2)  # until they are at it
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def round_trip_busy(peer: Peer, effort: Effort) -> Figures:
    """Ask from worker to worker, on a machine whose two processors others want, too: microseconds."""
    with busy():
        return round_trip(peer, effort)


def round_trip_driver_busy(peer: Peer, effort: Effort) -> Figures:
    """The same from the program that made the worker: microseconds."""
    with busy():
        return round_trip_driver(peer, effort)


def crowd(peer: Peer, effort: Effort) -> Figures:
    """Start 100 workers at once until each has answered: milliseconds for each."""
    return _crowd(peer, effort, wait=False)


def crowd_waited(peer: Peer, effort: Effort) -> Figures:
    """Do the same, and have the call return when all have come up: milliseconds for each."""
    return _crowd(peer, effort, wait=True)


def _crowd(peer: Peer, effort: Effort, *, wait: bool) -> Figures:
    found = []
    for _ in range(effort.spawns):
        begin = time.perf_counter()
        peer.gather(effort.crowd, wait=wait)
        found.append((time.perf_counter() - begin) * 1e3 / effort.crowd)
        peer.end()
    return found


def tells(peer: Peer, effort: Effort) -> Figures:
    """Send messages of 100 bytes one way: messages per second."""
    peer.spawn(2)
    return [n / s for n, s in repeat(lambda n: peer.stream(n, 100), effort, 500_000)]


def bulk(peer: Peer, effort: Effort) -> Figures:
    """Send messages of 1 MB one way: MB per second."""
    peer.spawn(2)
    return [n / s for n, s in repeat(lambda n: peer.stream(n, 1_000_000), effort, 1_000)]


def broadcast(peer: Peer, effort: Effort) -> Figures:
    """Send to 100 workers and have all answers: milliseconds."""
    peer.spawn(min(effort.crowd, peer.most))

    def action(count: int) -> float:
        begin = time.perf_counter()
        for _ in range(count):
            peer.broadcast(b"x" * 100)
        return time.perf_counter() - begin

    return [s * 1e3 / n for n, s in repeat(action, effort, 200)]


def memory(peer: Peer, effort: Effort) -> Figures:
    """Unique memory (USS) of each of 10 idle workers: MB."""
    peer.spawn(min(10, peer.most))
    time.sleep(1.0)  # idle means idle: let start-up's own work end
    return [psutil.Process(pid).memory_full_info().uss / 1e6 for pid in dict.fromkeys(peer.pids())]


def overhead(peer: Peer, effort: Effort) -> Figures:
    """Unique memory of all that must run beside the workers (supervisors, daemons): MB."""
    peer.spawn(2)
    workers = set(peer.pids())
    beside = [p for p in processes.of_this_run() if p.pid not in workers]
    return [sum(processes.unique_memory(p) for p in beside) / 1e6]


def median(figures: Figures) -> float:
    """Return the median of all rounds' figures."""
    return statistics.median(figures)


MEASURES: tuple[Measure, ...] = (
    Measure("spawn", "spawn until answered, each", "ms", spawn, 120),
    Measure("spawn_on", "the same, going on without a pause", "ms", spawn_on, 120),
    Measure("round_trip", "round trip of 1 KB between two processes", "µs", round_trip, 60),
    Measure("round_trip_driver", "round trip of 1 KB, program to process", "µs", round_trip_driver, 60),
    Measure("round_trip_busy", "between two processes, beside two busy loops", "µs", round_trip_busy, 90),
    Measure("round_trip_driver_busy", "program to process, beside two busy loops", "µs", round_trip_driver_busy, 90),
    Measure("crowd", "spawn 100, until answered, each", "ms", crowd, 120),
    Measure("crowd_waited", "spawn 100, and wait until all are up, each", "ms", crowd_waited, 120),
    Measure("tells", "100-byte tells, one way", "msg/s", tells, 60, larger_is_better=True),
    Measure("bulk", "1 MB messages, one way", "MB/s", bulk, 60, larger_is_better=True),
    Measure("broadcast", "broadcast to 100, all answers back", "ms", broadcast, 180),
    Measure("memory", "unique memory of an idle process", "MB", memory, 60),
    Measure("overhead", "unique memory of what runs beside them", "MB", overhead, 60),
)
