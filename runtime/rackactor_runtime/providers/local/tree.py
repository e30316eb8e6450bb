"""Who is whose child, and who was left behind.

A process started by a child may fork twice, call setsid, close everything and look like nobody's: the
kernel still gives it to the nearest living *subreaper* above when its parent ends. The fork server is
one, so whatever its children leave behind becomes its own child, and is told apart from those it made
by one rule: it did not fork it.

Only direct children are ever signalled. Their number cannot have passed to a stranger, since nobody
but their parent can reap them, while the number of a grandchild can between the look and the kill;
killing level by level reaches the same end, because each death hands its own children over.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Container, Iterable

from rackactor.system import procfs
from rackactor_runtime import descriptors
from rackactor_runtime.providers.local.linux import read_entry


def find_orphans(children: Iterable[int], known: Container[int]) -> set[int]:
    """Return the children that nobody here has made."""
    return {ospid for ospid in children if ospid not in known}


def list_children() -> list[int]:
    """Return the pids of this process's children, zombies among them.

    The kernel's own list is exact here: an entry leaves it only when this process reaps.
    """
    found: list[int] = []
    for task in descriptors.spared(os.listdir, "/proc/self/task"):
        try:
            with descriptors.spared(open, f"/proc/self/task/{task}/children", "rb") as file:
                found += map(int, file.read().split())
        except FileNotFoundError:
            if os.path.exists(f"/proc/self/task/{task}"):  # a kernel without CONFIG_PROC_CHILDREN
                return scan_children(os.getpid())
    return list(filter(None, map(procfs.pid_of, found))) if procfs.is_foreign() else found


def scan_children(parent: int) -> list[int]:
    """Return the pids of a process's children by looking at every process of the host."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal():
            stat = read_entry(int(name))
            if stat is not None and stat.ppid == parent:
                found.append(procfs.pid_of(int(name)) if procfs.is_foreign() else int(name))
    return list(filter(None, found))


def kill_all(ospids: Iterable[int]) -> None:
    """Send SIGKILL to children of this process."""
    for ospid in ospids:
        try:
            os.kill(ospid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            # Gone, or one that changed its user by a setuid program: it is waited for, and named if it stays.
            pass


def reap() -> tuple[int, int] | None:
    """Return the pid and wait status of one child that has ended, or None."""
    try:
        ospid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (ospid, status) if ospid else None
