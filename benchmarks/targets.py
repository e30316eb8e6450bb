"""What RackActor promises to reach, and whether this run shows it."""

from __future__ import annotations

from dataclasses import dataclass

from .results import Results

OURS = "rackactor"
#: MB that a pipe may hold of what its reader does not take.
BACKLOG = 64


@dataclass(frozen=True)
class Target:
    """A bound on one median, or on its ratio to a peer's, or to another of the same peer."""

    words: str
    measure: str
    #: The peer compared with; None: the bound is on RackActor's own median.
    peer: str | None
    bound: float
    #: How the bound is written.
    shown: str
    at_least: bool = False
    #: The peer's measure that this one is compared with; None: the same.
    beside: str | None = None

    def verdict(self, results: Results) -> tuple[str, str]:
        """Return (measured, verdict) as words."""
        ours = results.median(OURS, self.measure)
        theirs = results.median(self.peer, self.beside or self.measure) if self.peer else 1.0
        if ours is None or theirs is None:
            return "–", "not measured"
        found = ours / theirs
        reached = found >= self.bound if self.at_least else found <= self.bound
        return f"{found:.3g}", "reached" if reached else "**not reached**"


ACTOR_TARGETS = (
    Target("start of a group, ms", "start", None, 500, "≤ 500"),
    Target("spawn, beside multiprocessing fork", "spawn", "mp-fork", 1.0, "≤ 1"),
    Target("spawn, beside a Ray actor", "spawn", "ray", 1 / 20, "≤ 1/20 (0.05)"),
    Target("round trip of 1 KB, beside Ray", "round_trip", "ray", 1 / 3, "≤ 1/3 (0.333)"),
    Target("round trip of 1 KB, beside Thespian TCP", "round_trip", "thespian", 1 / 5, "≤ 1/5 (0.2)"),
    Target("round trip beside two busy loops, beside multiprocessing", "round_trip_busy", "mp-fork", 4, "≤ 4"),
    Target("the same, program to process", "round_trip_driver_busy", "mp-fork", 4, "≤ 4"),
    Target("spawn of 100, waited for, beside not", "crowd_waited", OURS, 1.5, "≤ 1.5", beside="crowd"),
    Target("100-byte tells one way, beside Ray", "tells", "ray", 20, "≥ 20", at_least=True),
    Target("broadcast, beside Ray", "broadcast", "ray", 1 / 3, "≤ 1/3 (0.333)"),
    Target("unique memory of an idle process, MB", "memory", None, 12, "≤ 12"),
)

IPC_TARGETS = (
    Target("pipe, 100-byte messages, beside multiprocessing Pipe", "stream", "mp-pipe", 1.5, "≥ 1.5", at_least=True),
    Target("pipe, 100-byte messages, beside Redis lists", "stream", "redis", 25, "≥ 25", at_least=True),
    Target("pipe, 1 MB messages, beside multiprocessing Pipe", "bulk", "mp-pipe", 2, "≥ 2", at_least=True),
    Target("pipe, 1 MB messages, beside Ray", "bulk", "ray", 4, "≥ 4", at_least=True),
    Target("pipe, latency of a lone message, beside bare pyzmq", "lone", "pyzmq", 2, "≤ 2"),
    Target("pipe, memory grown by 256 MB that nobody takes, MB", "backlog", None, BACKLOG, f"≤ {BACKLOG}"),
    Target("read of 1 KB, beside a Redis GET", "read", "redis", 1 / 10, "≤ 1/10 (0.1)"),
    Target("read of 1 KB, beside a Manager dict", "read", "mp-manager", 1 / 5, "≤ 1/5 (0.2)"),
    Target("pipelined writes, 1/s", "pipelined", None, 50_000, "≥ 50,000", at_least=True),
    Target("one write seen by 100 watchers, 99th percentile, ms", "watched", None, 50, "< 50"),
    Target("1 GB to a new replica, beside a plain copy", "copied", "pyzmq", 0.5, "≥ 0.5", at_least=True),
    Target("1 GB written and read, beside fsspec's local files", "files", "fsspec", 0.5, "≥ 0.5", at_least=True),
)

TARGETS = {"actors": ACTOR_TARGETS, "ipc": IPC_TARGETS}


def many_verdict(results: Results) -> tuple[str, str]:
    """Return (measured, verdict) of the crowd that must start, answer and end."""
    result = results.peers.get(OURS)
    cell = result.cells.get("many") if result else None
    if cell is None or not (cell.figures or cell.reason):
        return "–", "not measured"
    if cell.reason:
        return cell.reason, "**not reached**"
    rounds = len(cell.figures) // 3
    up, answer, end = (sorted(cell.figures[i::3])[rounds // 2] for i in range(3))
    return f"start {up:.2f} s, broadcast {answer:.2f} s, end {end:.2f} s, nothing left", "reached"
