"""The steps of a child between the fork and its program, by which it becomes a separate process.

It never execs, so nothing of the fork server goes away by itself: its descriptors, signal
dispositions and streams are all set right here, and every create pays for each step.

A child may be forked before there is an order for it. It then does all that does not depend on its
birth data, and waits for them: work that is done while nobody waits costs nothing.
"""

from __future__ import annotations

import atexit
import gc
import io
import logging
import os
import resource
import select
import signal
import struct
import sys
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import field
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from rackactor.launch import process_context
from rackactor.records import dataclass
from rackactor.strings import to_bytes
from rackactor_runtime import memory_reserve
from rackactor_runtime.providers.local import linux, namespaces
from rackactor_runtime.providers.local.cgroup import MemoryGroup
from rackactor_runtime.providers.local.protocol import pack, unpack

#: Runs the program: birth data in, exit code out.
Entry = Callable[[dict[str, Any]], int]
#: Does ahead of time what a program can do before its birth.
Prepare = Callable[[], object]
#: Does what can be done once the common part of all births is known.
Expect = Callable[[dict[str, Any]], object]
#: The messages of a waiting child: that it is ready, and that it has rehearsed.
READY = b"r"
#: The messages to it.
_BIRTH, _EXPECT, _REHEARSE = "birth", "expect", "rehearse"
_LENGTH = struct.Struct("!I")

#: The exit code of a program that an exception ended (EX_SOFTWARE of sysexits.h).
EXIT_EXCEPTION = 70
_CATCHABLE = [int(number) for number in signal.valid_signals() if number not in (signal.SIGKILL, signal.SIGSTOP)]
#: Signals that end a program from outside. The fork server holds them back instead of ignoring them, so that a
#: child has its own dispositions from the start, and gets a signal sent at once when it unblocks them.
HELD = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP})
#: Streams that were replaced: closing one would flush what its former owner had written into it.
_replaced: list[Any] = []


@dataclass(frozen=True)
class Program:
    """The program of the children."""

    entry: Entry
    #: Called in each waiting child, one after the other, until its birth comes.
    prepare: Sequence[Prepare] = ()
    #: Called once, in the fork server, for all its children; starts no thread.
    warm_up: Prepare | None = None
    #: Called after all of `prepare`, when a waiting child gets the common part of all births.
    expect: Expect | None = None
    #: Called in a waiting child on request: only worth its time while nobody waits for the child.
    rehearse: Prepare | None = None


@dataclass(frozen=True)
class ForkContext:
    """What all children of a fork server share."""

    program: Program
    #: The fork server's pid.
    parent: int
    #: The signals that the fork server handles.
    signals: Sequence[int]
    #: The soft limit on open files that the supervisor was started with.
    descriptors: int


@dataclass(frozen=True)
class Birth:
    """What distinguishes one child from the others."""

    name: str
    data: bytes
    env: dict[str, str | None]
    cwd: str | None
    memory: int | None
    group: MemoryGroup | None
    #: Its network namespace, and the directories that are hidden from it there.
    network: tuple[str, Sequence[str]] | None = None
    #: The rest of the context from its parent.
    inherited: dict[str, Any] = field(default_factory=dict)

    def pack(self) -> bytes:
        """Return its encoding for a waiting child."""
        group = None if self.group is None else (str(self.group.path), self.group.version)
        words = (self.name, self.data, self.env, self.cwd, self.memory, group, self.network, self.inherited)
        return _frame(_BIRTH, *words)

    @classmethod
    def of(cls, words: Sequence[Any]) -> Birth:
        """Decode a packed birth."""
        name, data, env, cwd, memory, group, network, inherited = words
        group = group and MemoryGroup(Path(group[0]), group[1])
        return cls(name, data, env, cwd, memory, group, network, inherited)


def expectation(common: bytes) -> bytes:
    """Return the message to waiting children with the common part of all births, packed."""
    return _frame(_EXPECT, common)


def rehearsal() -> bytes:
    """Return the message that makes a waiting child rehearse."""
    return _frame(_REHEARSE)


def _frame(*words: Any) -> bytes:
    body = pack(words)
    return _LENGTH.pack(len(body)) + body


def _receive_words(fd: int) -> list[Any] | None:
    """Wait for a message to a waiting child; None: the sender is gone."""
    head = _receive(fd, _LENGTH.size)
    body = head and _receive(fd, *_LENGTH.unpack(head))
    return unpack(body) if body else None


def _receive(fd: int, count: int) -> bytes:
    """Return `count` bytes, or b"" if there are fewer."""
    data = b""
    while len(data) < count:
        more = os.read(fd, count - len(data))
        if not more:
            return b""
        data += more
    return data


def live(origin: ForkContext, stdout: int, stderr: int, birth: Birth | int) -> NoReturn:
    """Run the child, from the fork to the exit.

    Args:
        origin: what it shares with its siblings.
        stdout: the writing end of its standard output.
        stderr: the same of its standard error.
        birth: its birth, or the descriptor on which the birth will come.
    """
    code = EXIT_EXCEPTION
    try:
        gc.disable()  # there is no garbage while it only comes up
        if isinstance(birth, Birth):
            _settle(origin, stdout, stderr)
        else:
            _settle(origin, stdout, stderr, keep=birth)
            birth = _await(origin, birth)
        _become(birth)
        gc.enable()
        code = run(origin.program.entry, unpack(birth.data))
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            flush()
        finally:  # the program's replacements may raise, but no child may ever go on as the fork server
            os._exit(code)


def _await(origin: ForkContext, fd: int) -> Birth:
    """Prepare, and wait for the birth."""
    linux.set_name("rack:warm")
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    steps = deque(origin.program.prepare)
    while True:
        if not poller.poll(0):
            if steps:
                steps.popleft()()
                continue
            gc.freeze()
            _tell_ready(fd)
        words = _receive_words(fd)
        if words is None:
            os._exit(0)
        if words[0] == _BIRTH:
            os.close(fd)
            return Birth.of(words[1:])
        if words[0] == _REHEARSE:
            steps.append(origin.program.rehearse or (lambda: None))
        elif origin.program.expect is not None:
            steps.append(partial(origin.program.expect, unpack(words[1])))


def _tell_ready(fd: int) -> None:
    try:
        os.write(fd, READY)
    except OSError:
        pass  # the birth came before this child was ready, and can be read now


def run(entry: Entry, data: dict[str, Any]) -> int:
    """Return the exit code of a program's end, by Python's own rules."""
    try:
        return int(entry(data) or 0) & 0xFF
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return (error.code or 0) & 0xFF
        print(error.code, file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        # A parent can distinguish an interrupted program from a failed one only if the signal ends it.
        with suppress(Exception):
            traceback.print_exc()
        flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        return 128 + signal.SIGINT
    except MemoryError:
        memory_reserve.release()
        traceback.print_exc()
        return memory_reserve.NO_MEMORY
    except BaseException:
        with suppress(Exception):
            traceback.print_exc()
        return EXIT_EXCEPTION


def flush() -> None:
    """Flush the standard streams; a reader that is gone is no error."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass  # the program's own object, or none at all


def _settle(origin: ForkContext, stdout: int, stderr: int, keep: int = -1) -> None:
    """Release everything of the fork server and its other children."""
    linux.set_parent_death_signal(signal.SIGKILL)
    if os.getppid() != origin.parent:  # the fork server died before the line above: nothing else will end this process
        os._exit(EXIT_EXCEPTION)
    reset_signals(origin.signals)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    linux.close_from(3, keep=keep)
    os.setsid()
    linux.become_subreaper()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (origin.descriptors, hard))
    _reseed()


def _become(birth: Birth) -> None:
    """Apply the birth."""
    linux.set_name(birth.name)
    if birth.network is not None:
        namespaces.enter(*birth.network)
    if birth.cwd is not None:
        os.chdir(to_bytes(birth.cwd))
    _limit(birth)
    process_context.assume(birth.env, birth.inherited)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)


def disinherit_hooks() -> None:
    """Remove the exit hooks of the process that this one was forked from, except those of Python's own modules.

    They were registered when these modules were imported, once for all children.
    """
    atexit._clear()
    for finalizer in list(getattr(weakref.finalize, "_registry", ())):
        finalizer.atexit = False  # the other process must remove what it has made
    weakref.finalize._registered_with_atexit = False  # type: ignore[attr-defined]
    atexit.register(logging.shutdown)
    processes = sys.modules.get("multiprocessing.util")
    if processes is not None:
        atexit.register(processes._exit_function)


def list_changed_signals() -> list[int]:
    """Return the signals whose disposition differs from that of a new Python program."""
    return [number for number in _CATCHABLE if signal.getsignal(number) != _default(number)]


def reset_signals(numbers: Iterable[int]) -> None:
    """Give signals the disposition of a new Python program."""
    signal.set_wakeup_fd(-1)
    for number in numbers:
        signal.signal(number, _default(number))


def _default(number: int) -> Any:
    if number == signal.SIGINT:
        return signal.default_int_handler
    # Python ignores these two, so that a write that fails is an exception.
    return signal.SIG_IGN if number in (signal.SIGPIPE, signal.SIGXFSZ) else signal.SIG_DFL


def replace_streams() -> None:
    """Open sys.stdin, sys.stdout and sys.stderr again over descriptors 0, 1 and 2.

    Done once, in the fork server, for all its children: the objects know only the number of their
    descriptor, and whether it is seekable, so they must be made while it is a pipe.
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
    if birth.memory is None:
        return
    memory_reserve.limit(birth.memory)
    if birth.group is not None:
        birth.group.join()


def _reseed() -> None:
    """Make siblings draw different random numbers. Python reseeds its own generator after a fork; NumPy does not."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
