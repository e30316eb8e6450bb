"""What a run leaves behind: nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import netlab
from support import describe, eventually, group_dirs, started_here, wait_gone


@dataclass
class Leftovers:
    """What there is at one time."""

    processes: set[int]
    directories: set[str]
    shared: set[str]
    networks: set[str]
    sockets: int

    @classmethod
    def now(cls) -> Leftovers:
        """Look around."""
        return cls(started_here(), group_dirs(), set(os.listdir("/dev/shm")), netlab.networks(), _sockets())

    def left(self) -> list[str]:
        """Return what is there that was not there before, having waited a little for its end."""
        processes = wait_gone(started_here() - self.processes)
        found = [f"a process: {describe(os_pid)}" for os_pid in processes]
        eventually(lambda: group_dirs() <= self.directories)
        found += [f"a group's directory: {name}" for name in sorted(group_dirs() - self.directories)]
        found += [f"in /dev/shm: {name}" for name in sorted(set(os.listdir("/dev/shm")) - self.shared)]
        found += [f"a network: {name}" for name in sorted(netlab.networks() - self.networks)]
        if (more := _sockets() - self.sockets) > 0:
            found.append(f"{more} sockets of this program")
        return found


def _sockets() -> int:
    """Return how many sockets this process has open."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink(Path("/proc/self/fd", name)).startswith("socket:")
        except OSError:
            continue
    return count
