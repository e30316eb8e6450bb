"""The numbers of processes in /proc, which may be those of another pid namespace.

A container, or `unshare --pid`, may have pids of its own and still see its host's /proc. There `/proc/PID` is another
process or none, and /proc gives parents and children in the host's numbers.
"""

from __future__ import annotations

import os

_foreign: bool | None = None


def is_foreign() -> bool:
    """Tell whether /proc is that of another pid namespace."""
    global _foreign
    if _foreign is None:
        try:
            _foreign = os.readlink("/proc/self") != str(os.getpid())
        except OSError:
            _foreign = False  # there is no /proc, or this process is not visible in it
    return _foreign


def number(os_pid: int) -> int:
    """Return the number that a process has in /proc; 0: there is no such process."""
    if not is_foreign():
        return os_pid
    try:
        handle = os.pidfd_open(os_pid)
    except OSError:
        return 0
    try:
        return max(0, _numbers(f"/proc/self/fdinfo/{handle}", b"Pid:")[0])
    finally:
        os.close(handle)


def pid_of(entry: int) -> int:
    """Return the pid, in this namespace, of a process that has a number in /proc; 0: it has none here."""
    pid = _here(entry, b"NSpid:")
    # A sibling namespace numbers its processes at the same depth.
    return pid if pid and number(pid) == entry else 0


def session_of(entry: int) -> int:
    """Return the session of such a process, as `os.getsid` gives it here; 0: it is not of this namespace."""
    return _here(entry, b"NSsid:") if pid_of(entry) else 0


def _here(entry: int, field: bytes) -> int:
    """Return this namespace's number from the list in a field, which goes from /proc's own namespace inwards."""
    depth = len(_numbers("/proc/self/status", b"NSpid:")) - 1
    numbers = _numbers(f"/proc/{entry}/status", field)
    return numbers[depth] if len(numbers) > depth else 0


def _numbers(path: str, field: bytes) -> list[int]:
    try:
        with open(path, "rb") as file:
            for line in file:
                if line.startswith(field):
                    return list(map(int, line.split()[1:]))
    except (FileNotFoundError, ProcessLookupError):
        pass
    return [0]
