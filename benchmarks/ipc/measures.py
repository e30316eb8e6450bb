"""What is asked of every way of inter-process communication."""

from __future__ import annotations

import statistics

from ..measures import Effort, Figures, Measure, repeat
from .peer import Ipc

#: The messages that are sent to a reader that takes none: 256 MB.
_BACKLOG = 256, 1_000_000


def stream(peer: Ipc, effort: Effort) -> Figures:
    """Send messages of 100 bytes one way: messages per second."""
    return [n / s for n, s in repeat(lambda n: peer.stream(n, 100), effort, 2_000_000)]


def bulk(peer: Ipc, effort: Effort) -> Figures:
    """Send messages of 1 MB one way: MB per second."""
    return [n / s for n, s in repeat(lambda n: peer.stream(n, 1_000_000), effort, 2_000)]


def lone(peer: Ipc, effort: Effort) -> Figures:
    """Send a message of 100 bytes only when the last one has come back, and take half of the way: microseconds."""
    return [s * 1e6 / n / 2 for n, s in repeat(lambda n: peer.echoes(n, 100), effort, 50_000)]


def backlog(peer: Ipc, effort: Effort) -> Figures:
    """Send 256 MB to a reader that takes nothing: MB that the processes have grown by."""
    return [peer.backlog(*_BACKLOG) / 1e6]


def read(peer: Ipc, effort: Effort) -> Figures:
    """Read keys of 1 KB: microseconds each."""
    return [s * 1e6 / n for n, s in repeat(peer.read, effort, 1_000_000)]


def write(peer: Ipc, effort: Effort) -> Figures:
    """Write keys of 1 KB: microseconds each."""
    return [s * 1e6 / n for n, s in repeat(peer.write, effort, 100_000)]


def pipelined(peer: Ipc, effort: Effort) -> Figures:
    """Write keys of 100 bytes, many under way at once: writes per second."""
    return [n / s for n, s in repeat(peer.pipelined, effort, 500_000)]


def watched(peer: Ipc, effort: Effort) -> Figures:
    """Write what 100 processes watch: the 99th percentile of the milliseconds until the last has seen it."""
    seconds = peer.watched(effort.seen, effort.crowd)
    return [statistics.quantiles(seconds, n=100, method="inclusive")[98] * 1e3]


def copied(peer: Ipc, effort: Effort) -> Figures:
    """Bring 1 GB to another process through one TCP connection under CURVE: MB per second."""
    return [effort.large / 1e6 / peer.copied(effort.large)]


def files(peer: Ipc, effort: Effort) -> Figures:
    """Write 1 GB to a file and read it back: MB per second, both ways counted."""
    return [2 * effort.large / 1e6 / peer.files(effort.large)]


MEASURES: tuple[Measure, ...] = (
    Measure("stream", "pipe, 100-byte messages", "msg/s", stream, 60, larger_is_better=True),
    Measure("bulk", "pipe, 1 MB messages", "MB/s", bulk, 60, larger_is_better=True),
    Measure("lone", "pipe, latency of a lone message", "µs", lone, 60),
    Measure("backlog", "pipe, memory grown by 256 MB sent to a reader that takes nothing", "MB", backlog, 60),
    Measure("read", "read of a key of 1 KB", "µs", read, 60),
    Measure("write", "write of a key of 1 KB, acknowledged", "µs", write, 60),
    Measure("pipelined", "pipelined writes of 100 bytes", "1/s", pipelined, 60, larger_is_better=True),
    Measure("watched", "one write seen by 100 watchers, 99th percentile", "ms", watched, 120),
    Measure("copied", "1 GB to a new replica, or as a plain copy", "MB/s", copied, 120, larger_is_better=True),
    Measure("files", "1 GB written to a file and read back", "MB/s", files, 120, larger_is_better=True),
)
