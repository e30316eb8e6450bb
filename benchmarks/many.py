"""500 local processes start, answer a broadcast and end, with nothing left: RackActor's own check."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import rackactor as rack

from . import processes
from .peer import PATIENCE
from .peers.rack import Echo

#: Seconds that processes may take to disappear after the group's end.
_SETTLE = 2.0


def run(count: int) -> list[float]:
    """Return seconds for: the start of all, the broadcast, the end of all.

    Raises:
        RuntimeError: something was left behind, or an answer was wrong.
    """
    begin = time.perf_counter()
    with rack.group("many") as group:
        crowd = group.fork(Echo, n=count)
        _answers(crowd, b"up")
        up = time.perf_counter()
        _answers(crowd, b"x" * 100)
        answered = time.perf_counter()
    end = time.perf_counter()
    _check_nothing_left()
    return [up - begin, answered - up, end - answered]


def _answers(crowd: list[rack.Process[Any]], payload: bytes) -> None:
    futures = [process.submit(payload) for process in crowd]
    if any(future.result(PATIENCE) != payload for future in futures):
        raise RuntimeError("a wrong answer")


def _check_nothing_left() -> None:
    until = time.perf_counter() + _SETTLE
    while (left := processes.of_this_run()) and time.perf_counter() < until:
        time.sleep(0.01)
    if left:
        raise RuntimeError(f"{len(left)} processes left behind, {left[0].name()} the first")
    home = Path(os.environ["XDG_RUNTIME_DIR"])  # the runner gave it to this run alone, empty
    paths = [path for path in home.rglob("*") if not (path.is_dir() and path.parent == home)]
    if paths:
        raise RuntimeError(f"{len(paths)} paths left behind, {paths[0].relative_to(home)} the first")
