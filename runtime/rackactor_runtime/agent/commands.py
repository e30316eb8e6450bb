"""Commands as processes: the agent starts the program, passes signals on, and reports how it ended."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

from rackactor.launch import process_context
from rackactor.status import Signal
from rackactor.strings import to_bytes
from rackactor.syscalls.session import Session
from rackactor.wire.events import SignalEvent
from rackactor_runtime.agent.report import Report
from rackactor_runtime.agent.stdin import StdinPump
from rackactor_runtime.agent.stdio_pipes import Piping

#: A shell's exit codes for a command that does not exist, or cannot be run.
NOT_FOUND, NOT_EXECUTABLE = 127, 126


_libc = ctypes.PyDLL(None)
_PR_SET_PDEATHSIG = 1


class Relay:
    """Passes signals to a command and its whole session, not to its agent; holds them until it runs."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._held: list[int] = []
        self._lock = threading.RLock()

    def hear(self, event: SignalEvent, _: Sequence[Any]) -> None:
        """Take a signal of the group for the command."""
        self.take(event.signal)

    def take(self, sig: Signal) -> None:
        """Take a signal for the command."""
        if not isinstance(sig, int):
            return  # a free string: a program of the operating system cannot receive it
        with self._lock:
            if self._child is None:
                self._held.append(sig)
            elif self._child.returncode is None:
                try:
                    os.killpg(self._child.pid, sig)
                except ProcessLookupError:
                    pass  # the command has just ended

    def begin(self, child: subprocess.Popen[bytes]) -> None:
        """Pass held signals on to a command that runs now."""
        with self._lock:
            self._child = child
            held, self._held = self._held, []
            for sig in held:
                self.take(sig)


def host_command(
    session: Session, words: Sequence[str], pump: StdinPump | None, relay: Relay, piping: Piping | None = None
) -> Report:
    """Run a command to its end.

    Args:
        session: this process's membership.
        words: the program and its arguments.
        pump: its standard input, or None for an empty one.
        relay: receives the signals for it.
        piping: its standard files that are pipes of the group.
    """
    given = {} if piping is None else piping.given
    stdin = subprocess.DEVNULL if pump is None else pump.reader
    try:
        child = subprocess.Popen(
            [to_bytes(word) for word in words],  # the exact bytes of the caller, whatever the locale is here
            stdin=given.get("stdin", stdin),
            stdout=given.get("stdout"),
            stderr=given.get("stderr"),
            start_new_session=True,
            restore_signals=True,
            preexec_fn=_die_with_the_agent,
        )
    except (OSError, ValueError) as told:
        return _not_run(_truth(told, words[0]), words[0])
    if pump is not None:
        os.close(pump.reader)
    if piping is not None:
        piping.begun()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # A signal that the operating system sends to the agent is meant for the command.
        signal.signal(number, lambda number, _: relay.take(number))
    relay.begin(child)
    # The main thread runs the loop itself, and the command's end wakes it.
    returncode = _await(session, child)
    if returncode < 0:
        return Report("signalled", 128 - returncode, -returncode)
    return Report("exited", returncode)


def _not_run(error: OSError | ValueError, word: str) -> Report:
    """Say why a command could not be started."""
    code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
    text = f"cannot run {word!r}: {error.strerror if isinstance(error, OSError) else error}"
    if isinstance(error, FileNotFoundError) and error.filename not in (word, to_bytes(word)):
        text = f"cannot run {word!r}: {error.filename}: {error.strerror}"
    print(f"rackactor: {text}", file=sys.stderr)
    return Report("load-failed", code, evidence=text)


def _truth(error: OSError | ValueError, word: str) -> OSError | ValueError:
    """Return why a command could not be started; unreadable directories in PATH do not count.

    Source: execvp(3) gives EACCES after such a directory, even if no directory has the file; shells say "not found".
    """
    if isinstance(error, PermissionError) and "/" not in word and shutil.which(word, os.F_OK) is None:
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), word)
    return error


def _die_with_the_agent() -> None:
    """Make the kernel kill the command when its agent dies, even if all supervising processes are killed at once."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    process_context.enter_limits()


def _await(session: Session, child: subprocess.Popen[bytes]) -> int:
    changed = True

    def note(*_: Any) -> None:
        # The handler only makes a note: if it interrupted a poll, it would find the child locked, and miss the end.
        nonlocal changed
        changed = True
        session.kernel.wake()

    def ended() -> bool:
        nonlocal changed
        if changed:
            changed = False
            child.poll()
        return child.returncode is not None

    signal.signal(signal.SIGCHLD, note)
    session.kernel.wait(ended, None)
    return int(child.returncode)
