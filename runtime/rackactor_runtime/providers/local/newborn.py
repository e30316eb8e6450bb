"""What a child does between the fork and its program: become a process in its own right.

It never execs, so nothing of the fork server goes away by itself: its descriptors, signal
dispositions and streams are all put right here, and everything here is paid for by each create.
"""

from __future__ import annotations

import io
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from . import linux
from .cgroup import MemoryGroup
from .protocol import unpack

#: Runs the program: birth data in, exit code out.
Entry = Callable[[dict[str, Any]], int]

#: The exit code of a program that an exception ended (EX_SOFTWARE of sysexits.h).
EXIT_EXCEPTION = 70
_CATCHABLE = [int(number) for number in signal.valid_signals() if number not in (signal.SIGKILL, signal.SIGSTOP)]
#: Signals that end a program from outside. The fork server holds them back for ever instead of ignoring them: a
#: child has its own dispositions then from the start, and one sent at once is delivered when it lets them through.
HELD = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP})
#: Streams that were replaced: closing one would flush what its former owner had written into it.
_replaced: list[Any] = []


@dataclass(frozen=True)
class Birth:
    """All that a newborn needs to know."""

    name: str
    data: bytes
    env: dict[str, str]
    entry: Entry
    #: The fork server's pid.
    parent: int
    #: The writing ends of its standard output and error.
    stdout: int
    stderr: int
    #: The signals that the fork server handles.
    signals: Sequence[int]
    #: The soft limit on open files that the supervisor was started with.
    descriptors: int
    memory: int | None
    group: MemoryGroup | None


def live(birth: Birth) -> NoReturn:
    """Be the child, from the fork to the exit."""
    code = EXIT_EXCEPTION
    try:
        _settle(birth)
        code = run(birth.entry, unpack(birth.data))
    except BaseException:
        traceback.print_exc()
    finally:
        flush()
        os._exit(code)


def run(entry: Entry, data: dict[str, Any]) -> int:
    """Return what a program's end comes to as an exit code, by Python's own rules."""
    try:
        return int(entry(data) or 0) & 0xFF
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return (error.code or 0) & 0xFF
        print(error.code, file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        # A parent can tell an interrupted program from a failed one only when the signal ends it.
        traceback.print_exc()
        flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        return 128 + signal.SIGINT
    except BaseException:
        traceback.print_exc()
        return EXIT_EXCEPTION


def flush() -> None:
    """Write out what the standard streams hold; a reader that is gone is no reason to fail."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass


def _settle(birth: Birth) -> None:
    linux.set_parent_death_signal(signal.SIGKILL)
    if os.getppid() != birth.parent:  # it died before the line above: nobody will end this process
        os._exit(EXIT_EXCEPTION)
    reset_signals(birth.signals)
    os.dup2(birth.stdout, 1)
    os.dup2(birth.stderr, 2)
    linux.close_from(3)
    os.setsid()
    linux.become_subreaper()
    linux.set_name(birth.name)
    _limit(birth)
    if birth.env:
        os.environ.update(birth.env)
    _reseed()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)


def list_changed_signals() -> list[int]:
    """Return the signals whose disposition is not what a Python program is started with."""
    return [number for number in _CATCHABLE if signal.getsignal(number) != _default(number)]


def reset_signals(numbers: Iterable[int]) -> None:
    """Give signals the disposition that a Python program is started with."""
    signal.set_wakeup_fd(-1)
    for number in numbers:
        signal.signal(number, _default(number))


def _default(number: int) -> Any:
    if number == signal.SIGINT:
        return signal.default_int_handler
    # Python ignores these two, so that a write that cannot be done is an exception.
    return signal.SIG_IGN if number in (signal.SIGPIPE, signal.SIGXFSZ) else signal.SIG_DFL


def replace_streams() -> None:
    """Open sys.stdin, sys.stdout and sys.stderr anew over descriptors 0, 1 and 2.

    Done once, in the fork server, for all its children: the objects know only the number of their
    descriptor, and whether one can seek in it, which is why they are made while it is a pipe.
    """
    _replaced.append((sys.stdin, sys.stdout, sys.stderr, sys.__stdin__, sys.__stdout__, sys.__stderr__))
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)  # type: ignore[misc]  # noqa: SIM115
    sys.stdout = sys.__stdout__ = _make_writer(1, "strict")  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _make_writer(2, "backslashreplace")  # type: ignore[misc]


def _make_writer(fd: int, errors: str) -> io.TextIOWrapper:
    reading, writing = os.pipe()
    kept = os.dup(fd)
    os.dup2(writing, fd)
    stream = open(fd, "w", encoding="utf-8", errors=errors, buffering=1, closefd=False)  # noqa: SIM115
    os.dup2(kept, fd)
    for other in (reading, writing, kept):
        os.close(other)
    return stream


def _limit(birth: Birth) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (birth.descriptors, hard))
    if birth.memory is None:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    memory = birth.memory if hard == resource.RLIM_INFINITY else min(birth.memory, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    if birth.group is not None:
        birth.group.join()


def _reseed() -> None:
    """Make siblings draw different numbers. Python reseeds its own generator after a fork; NumPy does not."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
