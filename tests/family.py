"""Who is whose child, as the kernel tells it; a hundred times as fast as a look at every process of the machine."""

from __future__ import annotations

import os


def children(os_pid: int) -> set[int]:
    """Return the children of a process, zombies included."""
    found: set[int] = set()
    try:
        for thread in os.listdir(f"/proc/{os_pid}/task"):
            with open(f"/proc/{os_pid}/task/{thread}/children") as file:
                found.update(map(int, file.read().split()))
    except OSError:
        pass  # it, or one of its threads, has just ended
    return found


def descendants(os_pid: int) -> set[int]:
    """Return its children, and theirs."""
    found: set[int] = set()
    todo = [os_pid]
    while todo:
        new = children(todo.pop()) - found
        found |= new
        todo += new
    return found
