"""Which ends of pipes a child inherits: those pickled with its target and its arguments."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar

from rackactor.errors import InvalidCall

T = TypeVar("T")

_ends: ContextVar[list[tuple[int, str]] | None] = ContextVar("rackactor_pipe_ends", default=None)


def collected(pack: Callable[..., T], *args: Any) -> tuple[T, list[tuple[int, str]]]:
    """Pickle something; return it, and the ends of pipes in it: (pipe, mode) of each."""
    ends: list[tuple[int, str]] = []
    token = _ends.set(ends)
    try:
        return pack(*args), ends
    finally:
        _ends.reset(token)


def note(pipe: int, mode: str) -> None:
    """Note an end that is being pickled."""
    ends = _ends.get()
    if ends is not None:
        ends.append((pipe, mode))


def streams(stdin: Any, stdout: Any, stderr: Any) -> tuple[dict[str, Any], list[tuple[int, str]]]:
    """Check the pipes that are to be a child's standard files.

    Returns: what the agent is told, by the name of the file; the ends that the child inherits.
    """
    given = {"stdin": (stdin, "r"), "stdout": (stdout, "w"), "stderr": (stderr, "w")}
    found: dict[str, Any] = {}
    ends: list[tuple[int, str]] = []
    for name, (end, mode) in given.items():
        if end is None or isinstance(end, bool):
            if end is not None and name != "stdin":
                raise InvalidCall(f"{name} is the writing end of a pipe, not {end!r}")
            continue
        what = getattr(end, "standard_file", None)
        if what is None:
            kind = "reading" if mode == "r" else "writing"
            raise InvalidCall(f"{name} is the {kind} end of a pipe, not {end!r}")
        found[name] = what(mode)
        if found[name]["id"] is not None:
            ends.append((found[name]["id"], mode))
    return found, ends
