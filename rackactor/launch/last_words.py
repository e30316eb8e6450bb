"""The death of a supervisor on this host: noticed at once, by a descriptor, and reported with its last output.

A supervisor writes its standard error into a nameless file in memory, which lives as long as somebody has it open. So
neither a full disk nor the removal of the group's directory loses it.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Any

from rackactor.launch import directories
from rackactor.system import procfs

#: How much of a supervisor's last output is reported: lines, and characters.
_LINES, _CHARACTERS = 20, 4000
#: Bytes that are read of it.
_READ = 64 << 10


def open_log() -> int:
    """Make such a file."""
    return os.memfd_create("said", os.MFD_CLOEXEC)


def is_log(descriptor: int) -> bool:
    """Tell whether a descriptor is one."""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}").startswith("/memfd:said")
    except OSError:
        return False


def last_words(descriptor: int, lines: int = 0) -> str:
    """Return the last output as text (0 lines: all of it)."""
    if descriptor < 0:
        return ""
    size = os.fstat(descriptor).st_size
    data = os.pread(descriptor, _READ, max(0, size - _READ))
    text = data.decode("utf-8", "replace").strip()
    return "\n".join(text.splitlines()[-lines:])[-_CHARACTERS:]


def bound_log(descriptor: int, most: int, kept: int) -> None:
    """Cut a log that has become long to its last part (called by the process that writes it)."""
    if os.fstat(descriptor).st_size <= most or not is_log(descriptor):
        return
    tail = os.pread(descriptor, kept, os.fstat(descriptor).st_size - kept)
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, tail)


class Life:
    """The life of a supervisor that another process started.

    Attributes:
        pidfd: becomes readable when the supervisor ends; its user closes it.
    """

    def __init__(self, os_pid: int, pidfd: int) -> None:
        self.os_pid = os_pid
        self.pidfd = pidfd
        self._log = -1
        with contextlib.suppress(OSError):
            self._log = os.open(f"/proc/{procfs.number(os_pid)}/fd/2", os.O_RDONLY | os.O_CLOEXEC)

    @classmethod
    def of(cls, card: dict[str, Any]) -> Life | None:
        """Return the life of a group's supervisor, by its card; None if it cannot be seen from here, or has ended."""
        if not card.get("here"):
            return None
        try:
            pidfd = os.pidfd_open(card["os_pid"])
        except OSError:
            return None
        if not directories.alive(card):  # the pid has been reused
            os.close(pidfd)
            return None
        return cls(card["os_pid"], pidfd)

    def verdict(self) -> str:
        """Return how it ended, as far as a process that is not its parent can know."""
        return describe(self.os_pid, None, self._log)

    def close(self) -> None:
        """Close the descriptor."""
        log, self._log = self._log, -1
        if log >= 0:
            os.close(log)


def describe(os_pid: int, code: int | None, log: int) -> str:
    """Return how a supervisor ended.

    Args:
        os_pid: its pid.
        code: its return code, as in `subprocess`; None: not known.
        log: its output, see `open_log`; -1: not known.
    """
    if code is None:
        how = "has died"
    elif code < 0:
        try:
            how = f"was killed by {signal.Signals(-code).name}"
        except ValueError:
            how = f"was killed by signal {-code}"
    else:
        how = f"ended by itself, with code {code}"
    words = last_words(log, _LINES)
    return f"the supervisor (process {os_pid}) {how}" + (f"; its last words:\n{words}" if words else "")
