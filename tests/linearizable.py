"""Whether a history of concurrent operations on one register can be put in an order that a single register allows.

Wing and Gong's search, with Lowe's memory of what has been tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple


class Op(NamedTuple):
    """One operation: from when to when, what, and what came back."""

    begun: int
    ended: int
    #: ("put", new), ("get",), ("cas", expected, new) or ("incr", by).
    what: tuple[Any, ...]
    result: Any


def step(state: Any, op: Op) -> tuple[bool, Any]:
    """Return whether the operation can give its result in this state, and the state after it."""
    kind = op.what[0]
    if kind == "get":
        return state == op.result, state
    if kind == "put":
        return True, op.what[1]
    if kind == "incr":
        new = (state or 0) + op.what[1]
        return op.result == new, new
    same = state == op.what[1]
    return bool(op.result) == same, op.what[2] if same else state


def linearizable(history: Sequence[Op], initial: Any = None) -> bool:
    """Search for an order."""
    ops = sorted(history)
    everything = (1 << len(ops)) - 1
    tried: set[tuple[int, Any]] = set()
    stack = [(0, initial)]
    while stack:
        done, state = stack.pop()
        if done == everything:
            return True
        if (done, state) in tried:
            continue
        tried.add((done, state))
        left = [index for index in range(len(ops)) if not done >> index & 1]
        first_end = min(ops[index].ended for index in left)
        for index in left:
            if ops[index].begun > first_end:
                break  # another one had ended before this one began
            good, after = step(state, ops[index])
            if good:
                stack.append((done | 1 << index, after))
    return False
