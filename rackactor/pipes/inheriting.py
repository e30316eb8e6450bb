"""Which ends of pipes a child inherits: those that are pickled with what it runs, and its arguments."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar

T = TypeVar("T")

_ends: ContextVar[list[tuple[int, str]] | None] = ContextVar("rackactor_pipe_ends", default=None)


def collected(pack: Callable[..., T], *args: Any) -> tuple[T, list[tuple[int, str]]]:
    """Have something pickled; return it, and the ends of pipes in it: (pipe, mode) of each."""
    ends: list[tuple[int, str]] = []
    token = _ends.set(ends)
    try:
        return pack(*args), ends
    finally:
        _ends.reset(token)


def note(pipe: int, mode: str) -> None:
    """Take note of an end that is pickled."""
    ends = _ends.get()
    if ends is not None:
        ends.append((pipe, mode))
