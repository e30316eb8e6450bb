"""What a driver does: run one peer's measures of one round, and tell each outcome to the runner.

The runner kills the driver, with all it started, when a measure exceeds its bound: a peer that crashes
or hangs costs only its own cell of the table.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from functools import partial
from importlib import metadata
from typing import Any

from .measures import FULL, QUICK, Effort, Measure
from .peer import Entrant, Unsupported
from .suite import SUITES


class Teller:
    """Write events to the runner, a JSON line each."""

    def __init__(self, fd: int) -> None:
        os.set_inheritable(fd, False)
        self.fd = fd

    def __call__(self, event: str, **words: Any) -> None:
        os.write(self.fd, json.dumps({"event": event, **words}).encode() + b"\n")


def main(suite: str, name: str, fd: str, effort: str, *wanted: str) -> None:
    """Measure; every outcome is told to `fd`, so stdout is the peer's to spoil."""
    tell = Teller(int(fd))
    try:
        kind = SUITES[suite].load(name)
        tell("versions", versions={d: metadata.version(d) for d in kind.distributions}, note=kind.note, most=kind.most)
    except (ImportError, metadata.PackageNotFoundError) as error:
        tell("absent", reason=f"not installed: {error}")
        return
    amount = QUICK if effort == "quick" else FULL
    if wanted == ("many",):
        from . import many  # RackActor's alone: the other peers' drivers must not carry it

        _attempt(tell, "many", lambda: many.run(amount.many))
    else:
        _run_measures(kind, amount, [m for m in SUITES[suite].measures if m.name in wanted], tell)
    tell("end")


def _run_measures(kind: type[Entrant], effort: Effort, wanted: list[Measure], tell: Teller) -> None:
    tell("begin", measure="start")
    begin = time.perf_counter()
    with kind() as peer:
        tell("figures", measure="start", figures=[(time.perf_counter() - begin) * 1e3])
        for measure in wanted:
            _attempt(tell, measure.name, partial(measure.run, peer, effort))
            tell("begin", measure="end of workers")
            peer.end()
        tell("begin", measure="stop")


def _attempt(tell: Teller, name: str, action: Callable[[], list[float]]) -> None:
    tell("begin", measure=name)
    try:
        tell("figures", measure=name, figures=action())
    except Unsupported as error:
        tell("unsupported", measure=name, reason=str(error))
    except Exception as error:
        lines = f"{type(error).__name__}: {error}".splitlines()
        tell("failed", measure=name, reason=lines[0][:200])
