"""The few Linux calls that Python lacks: prctl, close_range, namespaces, mounts, and the fields of /proc.

Everything here is a plain function over one system call or one file.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
from typing import NamedTuple

from rackactor.system import procfs

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV = 1, 2, 4
MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 32, 4096, 16384, 1 << 18
_NS_GET_NSTYPE = 0xB703
_SYS_CLOSE_RANGE = 436  # the same number on every architecture
_HIGHEST = 0xFFFFFFFF

_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
_name = _libc["prctl"]  # a separate function object, for the one option that takes a string
_name.argtypes = [ctypes.c_int, ctypes.c_char_p]
_libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
_libc.syscall.restype = ctypes.c_long


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def set_parent_death_signal(signum: int) -> None:
    """Make the kernel send `signum` to this process when the thread that made it ends."""
    _prctl(_PR_SET_PDEATHSIG, signum)


def become_subreaper() -> None:
    """Make orphans among this process's descendants its own children, as init would."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def set_name(name: str) -> None:
    """Set what `ps` and `top` show (15 bytes of it)."""
    _name(_PR_SET_NAME, name.encode()[:15])


def enter_namespace(path: str, kind: int) -> None:
    """Move this thread, which must be the only one, into the namespace of a file."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(fd, kind), path)
    finally:
        os.close(fd)


def is_namespace(path: str, kind: int) -> bool:
    """Tell whether a file represents a namespace of this kind."""
    with open(path, "rb") as file:
        return bool(_libc.ioctl(file.fileno(), ctypes.c_ulong(_NS_GET_NSTYPE)) == kind)


def unshare(kind: int) -> None:
    """Give this process a namespace of its own."""
    _check(_libc.unshare(kind), "unshare")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount (2)."""
    words = [word.encode() or None for word in (source, target, kind, options)]
    _check(_libc.mount(words[0], words[1], words[2], flags, words[3]), target)


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)


def close_from(first: int, keep: int = -1) -> None:
    """Close every descriptor from `first` on, except `keep`, at a cost that does not depend on the descriptor limit."""
    if keep < first:
        _close_range(first, _HIGHEST)
        return
    if keep > first:
        _close_range(first, keep - 1)
    _close_range(keep + 1, _HIGHEST)


def _close_range(first: int, last: int) -> None:
    done = _libc.syscall(ctypes.c_long(_SYS_CLOSE_RANGE), ctypes.c_uint(first), ctypes.c_uint(last), ctypes.c_uint(0))
    if done == 0:
        return
    # Linux before 5.9, or a sandbox that refuses unknown calls: list the open descriptors.
    for name in os.listdir("/proc/self/fd"):
        if first <= int(name) <= last:
            try:
                os.close(int(name))
            except OSError as error:  # the directory's own descriptor
                if error.errno != errno.EBADF:
                    raise


def current_directory() -> str:
    """Return the current directory; "" if it has been removed, in which programs can still run."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


def raise_descriptor_limit() -> int:
    """Raise the soft limit on open files to the hard one, and return what the soft one was."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft


class Stat(NamedTuple):
    """The useful part of /proc/<pid>/stat."""

    state: str
    ppid: int
    session: int
    #: Clock ticks after boot: with the pid, it names one life of a process.
    started: int


def read_stat(ospid: int) -> Stat | None:
    """Return the state of a process, or None if there is none with that number."""
    return read_entry(procfs.number(ospid))


def read_entry(entry: int) -> Stat | None:
    """Return the state of an entry in /proc, with its parent and session in this namespace's numbers."""
    try:
        with open(f"/proc/{entry}/stat", "rb") as file:
            stat = parse_stat(file.read())
    except (FileNotFoundError, ProcessLookupError):
        return None
    if procfs.is_foreign():
        return stat._replace(ppid=procfs.pid_of(stat.ppid), session=procfs.session_of(entry))
    return stat


def parse_stat(line: bytes) -> Stat:
    """Parse a line of /proc/<pid>/stat. The name in it may hold spaces and brackets of its own."""
    fields = line[line.rindex(b")") + 2 :].split()
    return Stat(fields[0].decode(), int(fields[1]), int(fields[3]), int(fields[19]))
