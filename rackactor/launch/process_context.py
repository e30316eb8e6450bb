"""What a process has from its parent, as by fork: environment, working directory, umask, limits, and Python's flags.

On one host the processes of a group are forks of its fork server. The fork server inherits all of this from the program
that made the group, as it was at that time. Each fork call carries only what differs in the forking process now: mostly
its working directory. Elsewhere (a machine, a network namespace) a process uses what it finds there.
The supervisor's interpreter is started with the flags of the program's (`-O`, `-X dev`, `-E`, ...). The options for
warnings do not concern the supervisor, so they are passed on at a fork.
"""

from __future__ import annotations

import faulthandler
import io
import os
import resource
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from rackactor.records import dataclass
from rackactor.strings import as_utf8, to_bytes
from rackactor.system import procfs

#: Variables that each process sets for itself.
_OWN = frozenset({b"RACK_GID", b"RACK_PID", b"RACK_PPID", b"RACK_SOCKET"})
#: A file without a name, made here, shows the umask; the other way to read the umask is ten times slower.
_SCRATCH = "/dev/shm"
#: All limits but those on memory: `memory=` sets that, for one process.
_LIMITS = sorted(
    {getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")} - {resource.RLIMIT_DATA}
)


@dataclass
class Base:
    """What a process's children have by default."""

    env: dict[bytes, bytes]
    umask: int
    #: Soft and hard limit by the number of the resource.
    limits: dict[int, tuple[int, int]]
    warnoptions: list[str]
    faulthandler: bool = False
    unbuffered: bool = False


def note() -> Base:
    """Return this process's current context."""
    env = {name: value for name, value in os.environb.copy().items() if name not in _OWN}
    limits = {number: resource.getrlimit(number) for number in _LIMITS}
    return Base(env, umask(), limits, list(sys.warnoptions), faulthandler.is_enabled(), is_unbuffered())


#: The context of the children of a group's process, noted in the fork server; None: not known.
base: Base | None = None
#: The filters of warnings that this interpreter was started with; None: its current ones.
filters: list[Any] | None = None
#: The limits to set for this process's program.
limits: dict[int, tuple[int, int]] = {}


def note_base(descriptors: int) -> None:
    """Note, in a fork server, the context that its children have.

    Args:
        descriptors: the children's soft limit on open files, which differs from the fork server's.
    """
    global base
    if filters is not None:
        warnings.filters[:] = filters  # type: ignore[index]
        getattr(warnings, "_filters_mutated")()  # noqa: B009
    base = note()
    base.limits[resource.RLIMIT_NOFILE] = (descriptors, base.limits[resource.RLIMIT_NOFILE][1])
    base.faulthandler = base.unbuffered = False


# -- at a fork -----------------------------------------------------------------------------------------------


def differences(base: Base | None) -> dict[str, Any]:
    """Return what a fork call must carry, as plain values.

    Args:
        base: what the child has by default; None: not known.

    Returns: `env` (a value of None: not set), `cwd`, and everything else under `inherited`.
    """
    env, before = _environment(), {} if base is None else base.env
    changed = [(name, value) for name, value in env.items() if before.get(name) != value and name not in _OWN]
    told: dict[str, str | None] = {as_utf8(name): as_utf8(value) for name, value in changed}
    told |= {as_utf8(name): None for name in before if name not in env}
    return {"env": told, "cwd": _directory(), "inherited": _rest(base)}


def _environment() -> Mapping[bytes, bytes]:
    """Return the environment without a copy: the mapping below `os.environb`, which is read six times faster."""
    found: Mapping[bytes, bytes] = getattr(os.environ, "_data", os.environb)
    return found


def _rest(base: Base | None) -> dict[str, Any]:
    now = umask()
    changed = {number: resource.getrlimit(number) for number in _LIMITS}
    rest: dict[str, Any] = {}
    if base is None:
        rest["bare"] = True
    else:
        changed = {number: pair for number, pair in changed.items() if base.limits.get(number) != pair}
    if base is None or now != base.umask:
        rest["umask"] = now
    if changed:
        rest["limits"] = [[number, *pair] for number, pair in changed.items()]
    if sys.warnoptions != (base.warnoptions if base else []):
        rest["warnoptions"] = list(sys.warnoptions)
    if faulthandler.is_enabled():
        rest["faulthandler"] = True
    if is_unbuffered():
        rest["unbuffered"] = True
    return rest


def _directory() -> str:
    try:
        return as_utf8(os.getcwdb())
    except FileNotFoundError:
        return f"/proc/{procfs.number(os.getpid())}/cwd"  # the directory was removed, but this path still leads to it


def umask() -> int:
    """Return the umask without changing it, since other threads may be making files."""
    try:
        made = os.open(_SCRATCH, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o777)
    except OSError:
        return _read_umask()
    try:
        return 0o777 & ~os.fstat(made).st_mode
    finally:
        os.close(made)


def _read_umask() -> int:
    with open("/proc/self/status", "rb") as file:
        line = next(line for line in file if line.startswith(b"Umask:"))
    return int(line.split()[1], 8)


def is_unbuffered() -> bool:
    """Tell whether this program writes its output without a buffer (`python -u`)."""
    return bool(getattr(sys.__stdout__, "write_through", False))


def flags() -> list[str]:
    """Return the flags of this interpreter, to start another one like it."""
    given: Callable[[], list[str]] = getattr(subprocess, "_args_from_interpreter_flags")  # noqa: B009 - multiprocessing's
    return [flag for flag in given() if not flag.startswith("-W")]


# -- in the child ---------------------------------------------------------------------------------------------


def assume(env: dict[str, str | None], inherited: dict[str, Any]) -> None:
    """Apply the parent's context to this process.

    Args:
        env: variables; those that are None are removed.
        inherited: see `differences`.
    """
    if inherited.get("bare"):
        for name in os.environb.keys() - _OWN:
            del os.environb[name]
    for text, value in env.items():  # in bytes: the locale may be one that cannot encode them
        if value is None:
            os.environb.pop(to_bytes(text), None)
        else:
            os.environb[to_bytes(text)] = to_bytes(value)
    if "umask" in inherited:
        os.umask(inherited["umask"])
    limits.update({number: (soft, hard) for number, soft, hard in inherited.get("limits", ())})
    if "warnoptions" in inherited:
        _warn(inherited["warnoptions"])
    heeds = not sys.flags.ignore_environment
    if inherited.get("faulthandler") or (heeds and os.environ.get("PYTHONFAULTHANDLER")):
        faulthandler.enable(2)
    if inherited.get("unbuffered") or (heeds and os.environ.get("PYTHONUNBUFFERED")):
        _unbuffer()


#: Streams that have been replaced: closing one would close its file.
_replaced: list[Any] = []


def _unbuffer() -> None:
    """Write standard output and error without a buffer, as `python -u` does."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        old = getattr(sys, name)
        _replaced.append(old)
        raw = io.FileIO(number, "w", closefd=False)
        new = io.TextIOWrapper(raw, old.encoding, old.errors, write_through=True)
        setattr(sys, name, new)
        setattr(sys, f"__{name}__", new)


def _warn(options: list[str]) -> None:
    known = list(sys.warnoptions)
    sys.warnoptions[:] = options
    getattr(warnings, "_processoptions")([option for option in options if option not in known])  # noqa: B009


def enter_limits() -> None:
    """Set the parent's limits. This comes last, since the agent may need more than its program is allowed."""
    for number, (soft, hard) in limits.items():
        most = resource.getrlimit(number)[1]
        if most != resource.RLIM_INFINITY:  # a lowered hard limit cannot be raised again
            soft, hard = (most if each == resource.RLIM_INFINITY or each > most else each for each in (soft, hard))
        try:
            resource.setrlimit(number, (soft, hard))
        except (OSError, ValueError):
            pass
