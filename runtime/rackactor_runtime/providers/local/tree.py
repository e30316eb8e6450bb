"""Process trees: which processes are whose children, and which were left behind.

A process started by a child may fork twice, call setsid, and close everything. When its parent ends, the
kernel still gives it to the nearest living *subreaper* above. The fork server is one, so the processes left
behind by its children become its own children. It recognizes them by one rule: it did not fork them.

Only direct children are ever signalled. Their pids cannot have been reused, since only their parent can
reap them, while the pid of a grandchild can be reused between the check and the kill. Killing level by
level reaches the same end, because each death hands over the dead process's children.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Container, Iterable

from rackactor.system import procfs
from rackactor_runtime import descriptors
from rackactor_runtime.providers.local.linux import read_entry


def find_orphans(children: Iterable[int], known: Container[int]) -> set[int]:
    """Return the children that were not made here."""
    return {ospid for ospid in children if ospid not in known}


def list_children() -> list[int]:
    """Return the pids of this process's children, including zombies.

    The kernel's own list is exact here: an entry leaves it only when this process reaps it.
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
            # It is gone, or has changed its user by a setuid program: it is waited for, and named if it stays.
            pass


def reap() -> tuple[int, int] | None:
    """Return the pid and wait status of one child that has ended, or None."""
    try:
        ospid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (ospid, status) if ospid else None
