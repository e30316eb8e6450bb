"""Starting a group's supervisor, and waiting for its end.

On this host the started program *is* the supervisor. Where processes are machines elsewhere, it is a *launcher*: it
makes what the group needs there, the supervisor's machine last, and reports its progress as lines of JSON. Then it
stays as the group's *keeper*, which ends after the group, when nothing of the group is left there. So a launcher is
never simply killed: it is asked to end, and removes what it has made.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

from rackactor.errors import StartError
from rackactor.kernel.kernel import Kernel
from rackactor.launch import last_words, process_context
from rackactor.system import executable, threads
from rackactor.system.readiness import readable
from rackactor.wire.errors import unpack_error

#: Seconds within which a supervisor on this host must start, and end after its group.
START_TIMEOUT, SETTLE_TIMEOUT = 20.0, 10.0
#: The same for a group on a cloud, where networks and machines are made and removed.
LAUNCH_TIMEOUT, KEEPER_TIMEOUT = 600.0, 300.0
#: Seconds that a launcher whose start was given up has to remove what it made; after that it goes on alone.
ABORT_TIMEOUT = 60.0
#: Seconds to wait for the exit status of a process that is known to have ended.
_REAPING = 1.0

_log = logging.getLogger("rackactor")

#: Called with progress messages for people.
Progress = Callable[[str], None]


def program() -> list[str]:
    """Return the command that starts it.

    Raises:
        StartError: this interpreter cannot start another.
    """
    return executable.words("rackactor_runtime.supervisor", options=tuple(process_context.flags()))


class Supervisor:
    """The program behind a group: its supervisor, or the keeper of one that runs elsewhere.

    Args:
        order: the order to send to it, plain values.
        progress: called with a launcher's progress messages.

    Attributes:
        birth: how this program can join the group.
        far: the program is a launcher, and later a keeper.

        Raises:
            StartError: it did not start, or it refused with one of its own errors; nothing of it is left.
    """

    def __init__(self, order: dict[str, Any], progress: Progress | None = None) -> None:
        self.far = order["provider"] != "local"
        self._name = order.get("name") or "the group"
        self._progress = progress or _nobody
        self._refused = False
        self._said = last_words.open_log()  # unlike a pipe, this needs no reader, now or later
        try:
            self._process = self._start(order)
            try:
                self.birth = self._answer()
            except BaseException:
                self.call_off()
                raise
            finally:
                assert self._process.stdout is not None
                self._process.stdout.close()
        except BaseException:
            self._forget()
            raise
        self._name = self.birth.get("name") or self._name

    def watch(self, kernel: Kernel) -> None:
        """End the group for this program when its supervisor dies; a keeper's death does not end the group."""
        if not self.birth.get("here"):
            return
        try:
            pidfd = os.pidfd_open(self._process.pid)
        except OSError:
            return  # no descriptor is free: the supervisor's silence will tell, later
        kernel.watch_supervisor(pidfd, self._obituary)

    def _obituary(self) -> str:
        self._wait(_REAPING)
        return last_words.describe(self._process.pid, self._process.returncode, self._said)

    def _start(self, order: dict[str, Any]) -> subprocess.Popen[bytes]:
        words = program()
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                start_new_session=True,
                env=executable.environment(),
            )
        except OSError as error:
            raise StartError(f"the supervisor did not start: {error}") from error
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(order).encode() + b"\n")
            process.stdin.close()
        except BrokenPipeError:
            pass  # it is gone already; its output is read below
        return process

    def _answer(self) -> dict[str, Any]:
        """Read its lines up to the one that says how to reach the group."""
        assert self._process.stdout is not None
        lines = _Lines(self._process.stdout.fileno(), LAUNCH_TIMEOUT if self.far else START_TIMEOUT)
        while (line := lines.next()) is not None:
            try:
                fields: dict[str, Any] = json.loads(line)
                told = fields.get("progress")
                if "warning" in fields:
                    _log.warning("%s: %s", self._name, fields["warning"])
                    continue
            except (ValueError, AttributeError):
                raise StartError(f"the supervisor did not start: it said {line[:200]!r}") from None
            if told is None:
                break
            self.far = True
            lines.until = max(lines.until, lines.began + LAUNCH_TIMEOUT)
            self._progress(str(told))
        else:
            if not lines.ended:
                raise StartError(f"the supervisor did not start: no answer within {lines.until - lines.began:g} s")
            self._wait(SETTLE_TIMEOUT)
            raise StartError(f"the supervisor did not start: {self._words() or 'it ended without a message'}")
        if "error" in fields:
            self._refused = True
            raise unpack_error(fields["error"], StartError)
        return fields

    @property
    def pid(self) -> int:
        """The OS pid of the program."""
        return self._process.pid

    # -- its end -----------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Wait until it is gone after the group's end; warn if something of the group is left."""
        if not self.far:
            try:
                if not self._wait(SETTLE_TIMEOUT):
                    self._process.kill()  # its keeper notices that, and ends what is left
                    self._process.wait()
            finally:
                self._forget()
            return
        try:
            if self._process.poll() is None:
                self._progress("removing what the group had there")
            if not self._wait(KEEPER_TIMEOUT):
                _log.warning(
                    "%s: its keeper (process %d) is still removing what the group had, after %g s; it goes on",
                    self._name,
                    self._process.pid,
                    KEEPER_TIMEOUT,
                )
                self._reap_later()
            elif self._process.returncode != 0:
                _log.warning("%s has ended, and may have left something: %s", self._name, self._verdict())
        except KeyboardInterrupt:
            _log.warning(
                "%s: its keeper (process %d) goes on to remove what the group had", self._name, self._process.pid
            )
            self._reap_later()
            raise
        finally:
            self._forget()

    def call_off(self) -> None:
        """Give a start up: a launcher is told, and removes what it has made; other programs are killed."""
        if self._process.poll() is None and not self._refused:
            if self.far:
                self._process.terminate()
                self._progress("removing what was made already")
            else:
                self._process.kill()
        try:
            self._end_of_failed()
        finally:
            self._forget()

    def _end_of_failed(self) -> None:
        """Wait for the end of a program that did not start a group; it removes what it has made."""
        try:
            if self._wait(ABORT_TIMEOUT if self.far else SETTLE_TIMEOUT):
                if self.far and self._process.returncode not in (0, 1) and not self._refused:
                    _log.warning("%s may have left something: %s", self._name, self._refusal() or self._verdict())
            elif self.far:
                _log.warning(
                    "%s: its launcher (process %d) is still removing what it has made; it goes on",
                    self._name,
                    self._process.pid,
                )
                self._reap_later()
            else:
                self._process.kill()
                self._process.wait()
        except KeyboardInterrupt:
            self._reap_later()  # the caller is in a hurry
            raise

    def release(self) -> None:
        """Let the program run on without this one; it is reaped if it ends first, so that it does not stay a zombie."""
        self._reap_later()
        self._forget()

    def _reap_later(self) -> None:
        with contextlib.suppress(OSError):  # then it is a zombie until this program ends
            threads.start(threading.Thread(target=self._process.wait, name="rackactor-reaper", daemon=True))

    def _wait(self, seconds: float) -> bool:
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _verdict(self) -> str:
        code = self._process.returncode
        return self._words() or (f"its keeper was ended by signal {-code}" if code < 0 else f"its keeper exited {code}")

    def _refusal(self) -> str:
        """Return the refusal that an ended launcher printed instead of an answer."""
        assert self._process.stdout is not None
        lines = [] if self._process.stdout.closed else self._process.stdout.read().splitlines()
        try:
            return str(json.loads(lines[-1])["error"]["message"])
        except (LookupError, ValueError, TypeError):
            return ""

    def _words(self) -> str:
        """Return its standard error."""
        return last_words.last_words(self._said)

    def _forget(self) -> None:
        said, self._said = self._said, -1
        if said >= 0:
            os.close(said)


class _Lines:
    """Lines from a descriptor, all within one time limit."""

    def __init__(self, descriptor: int, seconds: float) -> None:
        self._descriptor = descriptor
        self._buffer = b""
        self.began = time.monotonic()
        self.until = self.began + seconds
        #: End of file: no line will follow.
        self.ended = False

    def next(self) -> bytes | None:
        """Return the next line, or None: see `ended`."""
        while b"\n" not in self._buffer:
            left = self.until - time.monotonic()
            if left <= 0 or not readable([self._descriptor], left):
                return None
            data = os.read(self._descriptor, 1 << 16)
            if not data:
                self.ended = True
                return None
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line


def _nobody(_: str) -> None:
    pass
