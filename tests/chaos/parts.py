"""What every part of a run is told, and what it tells."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Orders:
    """How much a part is to do."""

    seed: int
    #: Messages, or operations.
    amount: int
    #: `time.monotonic()` by which it must be done; what is not done then is a violation.
    until: float
    #: An empty folder for its journals.
    folder: Path
    #: Called with a line for whoever waits.
    say: Callable[[str], None]
    #: Only what has this in its title.
    only: str = ""
    #: Arguments of the group.
    group: dict[str, Any] = field(default_factory=dict)
    #: The network in which its processes live, if they have one of their own (a `netlab.Lab`).
    lab: Any = None

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.until - time.monotonic()


@dataclass
class Outcome:
    """What a part has found."""

    title: str
    #: What was done, and what the judges counted.
    counts: dict[str, int] = field(default_factory=dict)
    #: What went wrong on purpose, and how often.
    faults: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, what: str, count: int) -> None:
        """Count something."""
        self.counts[what] = self.counts.get(what, 0) + count


@contextmanager
def recorded(outcome: Outcome) -> Iterator[None]:
    """Let an exception be a violation: the other parts go on."""
    try:
        yield
    except Exception as error:
        traceback.print_exc()
        outcome.violations.append(f"{type(error).__name__}: {error}")
