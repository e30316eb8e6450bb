"""Checks of what a call says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rackactor.errors import InvalidCall


def integer(value: Any, name: str, low: int, high: int) -> int:
    """Return an integer within bounds."""
    if type(value) is not int or not low <= value <= high:
        raise InvalidCall(f"{name} is an integer from {low} to {high}, not {value!r}")
    return value


def seconds(value: Any, name: str) -> float | None:
    """Return a positive number of seconds, or None for none."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise InvalidCall(f"{name} is a positive number of seconds, not {value!r}")
    return float(value)


def one_of(value: Any, name: str, allowed: Sequence[str]) -> None:
    """Check a word."""
    if value not in allowed:
        raise InvalidCall(f"{name} is one of {', '.join(allowed)}, not {value!r}")
