"""What the rounds found, and how it is kept as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import psutil

from .measures import Effort, median


@dataclass
class Cell:
    """One measure of one peer, over all rounds."""

    figures: list[float] = field(default_factory=list)
    #: Why there are no figures, or no more of them; "" when all went well.
    reason: str = ""
    #: The peer has no such thing (not a failure).
    unsupported: bool = False

    @property
    def median(self) -> float | None:
        """The median of the figures; None without any, or after a failure."""
        return median(self.figures) if self.figures and not self.reason else None


@dataclass
class PeerResult:
    """All of one peer."""

    cells: dict[str, Cell] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    note: str = ""
    #: The most workers that it is asked for.
    most: int = 100
    #: Why nothing of it could be measured.
    absent: str = ""
    #: What went wrong outside the measures (processes left behind, a stop that failed).
    remarks: list[str] = field(default_factory=list)

    def cell(self, measure: str) -> Cell:
        """Return the cell, made when it is the first time."""
        return self.cells.setdefault(measure, Cell())

    def remark(self, words: str) -> None:
        """Keep a remark once."""
        if words not in self.remarks:
            self.remarks.append(words)


@dataclass
class Results:
    """One suite of one run."""

    #: The suite's name.
    suite: str
    peers: dict[str, PeerResult]
    effort: Effort
    rounds: int
    facts: dict[str, Any] = field(default_factory=dict)

    def median(self, peer: str, measure: str) -> float | None:
        """Return a peer's median, None when it was not measured."""
        result = self.peers.get(peer)
        cell = result.cells.get(measure) if result else None
        return cell.median if cell else None


def as_json(run: Sequence[Results]) -> str:
    """Return everything of a run, raw figures included."""
    return json.dumps({results.suite: asdict(results) for results in run}, indent=1, sort_keys=True) + "\n"


def facts() -> dict[str, Any]:
    """Return what a reader must know of the machine; no names and no paths."""
    return {
        "cpus": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": platform.system(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "load_at_start": round(os.getloadavg()[0], 2),
    }
