"""Find, weigh and end the processes of a run, daemons that left their parent's tree included.

The runner makes itself the *subreaper* of what it starts: on Linux an orphan then becomes the runner's
child instead of init's, so nothing that a peer starts can hide.
"""

from __future__ import annotations

import ctypes
import os
import sys

import psutil

_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Make this process the parent of whatever its descendants leave behind (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def of_this_run() -> list[psutil.Process]:
    """Return all processes of the run, seen from the driver: neither the driver nor the runner."""
    driver = os.getpid()
    return [p for p in psutil.Process(os.getppid()).children(recursive=True) if p.pid != driver]


def unique_memory(process: psutil.Process) -> int:
    """Return the process's USS in bytes; 0 when it has just gone."""
    try:
        return int(process.memory_full_info().uss)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0


def end_all(grace: float = 5.0) -> list[str]:
    """Kill every descendant of this process and wait for the end.

    Returns:
        The names of those that had to be killed.
    """
    left = psutil.Process().children(recursive=True)
    names = []
    for process in left:
        try:
            if process.status() != psutil.STATUS_ZOMBIE:
                names.append(process.name())
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(left, timeout=grace)
    return names


def reap_adopted(but: int) -> None:
    """Collect adopted children that have ended; not the child `but`, which its Popen collects."""
    for child in psutil.Process().children():
        if child.pid != but:
            try:
                os.waitpid(child.pid, os.WNOHANG)
            except ChildProcessError:
                continue
