"""Handles of processes: a process of the group, seen from another one."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, Generic, TypeVar, cast

from rackactor import current
from rackactor.address import RackAddress
from rackactor.errors import (
    InvalidCall,
    NoChild,
    NoSuchProcess,
    ProcessDied,
    RackError,
    RackTimeout,
)
from rackactor.kernel.kernel import Kernel
from rackactor.kernel.pending import Pending
from rackactor.signals import parse_signal
from rackactor.status import ExitStatus
from rackactor.syscalls.stdio import Output, Stdin
from rackactor.syscalls.wait import RESULT_KEPT, Waits
from rackactor.units import DEFAULT_TIMEOUT, Timeout
from rackactor.wire import outcomes
from rackactor.wire.calls.processes import Kill, Why
from rackactor.wire.codec import REPLY, encode
from rackactor.wire.stream import EntryKind

#: What its target returns.
T = TypeVar("T")


class Reply(Future[Any]):
    """The reply to one message: a `concurrent.futures.Future` whose waiting also does the process's I/O."""

    def __init__(self, kernel: Kernel, pid: int) -> None:
        super().__init__()
        self._kernel = kernel
        self._pid = pid
        self._opened: dict[str, Any] = {}
        self.set_running_or_notify_cancel()

    def result(self, timeout: Timeout = DEFAULT_TIMEOUT) -> Any:
        """Return the reply.

        Raises:
            RackTimeout: no reply within `timeout` seconds; it may still come, so ask again.
            NoSuchProcess: the process is gone, or ended before it replied.
            HandlerFailed: its handler raised on this message, or it has none for it.
            CannotOpen: the reply cannot be opened here.
        """
        error = self.exception(timeout)
        if error is not None:
            try:
                raise error
            finally:
                del error  # it refers to this frame
        return self._opened["value"]

    def exception(self, timeout: Timeout = DEFAULT_TIMEOUT) -> BaseException | None:
        """Return the error that came instead of a reply, or None; see `result`.

        Raises:
            RackTimeout: no reply within `timeout` seconds.
        """
        seconds = self._kernel.bound(timeout)
        if not self.done() and not self._kernel.closed:
            self._kernel.wait(self.done, seconds)
        if not self.done():
            raise RackTimeout(_late(self._pid, seconds))
        return super().exception() or self._open()

    def _open(self) -> BaseException | None:
        """Unpickle the reply, once: in the thread that asks for it, not in the one that received it."""
        if not self._opened:
            try:
                value = self._kernel.open(super().result(), REPLY, self._pid)
            except RackError as error:
                self._opened.setdefault("error", error)
            else:
                self._opened.setdefault("value", value)
        return self._opened.get("error")

    def settle(self, pending: Pending) -> None:
        """Store the reply."""
        if pending.error is not None:
            self.set_exception(pending.error)
        else:
            self.set_result(pending.value)


def _late(pid: int, timeout: float | None) -> str:
    return f"process {pid} did not reply" + ("" if timeout is None else f" within {timeout:g} s")


class Process(Generic[T]):
    """A process by its pid.

    Attributes:
        pid: its number in the group, which is never used again.
        name: the name it was given at its fork.
    """

    def __init__(
        self, kernel: Kernel, waits: Waits, pid: int, *, ppid: int = 0, name: str = "", kind: str = ""
    ) -> None:
        self._kernel = kernel
        self._waits = waits
        self.pid = pid
        self._ppid = ppid
        self._name = name
        self._kind = kind
        self._files: dict[int, Any] = {}
        self._fate = waits.fate(pid)

    def __repr__(self) -> str:
        status = self._fate.status
        return f"<Process {self.pid} {self.name!r}{'' if status is None else f': {status}'}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Process):
            return NotImplemented
        return (self._kernel.gid, self.pid) == (other._kernel.gid, other.pid)

    def __hash__(self) -> int:
        return hash((self._kernel.gid, self.pid))

    def __reduce__(self) -> Any:
        return _here, (self._kernel.gid, self.pid, self._ppid, self._name, self._kind)

    # -- who it is -------------------------------------------------------------------------------------

    @property
    def ppid(self) -> int:
        """The pid of its parent. If it was not forked here, the supervisor is asked: it may have been adopted."""
        return self._ppid or int(self.info()["ppid"])

    @property
    def name(self) -> str:
        """The name it was given, `process-<pid>` by default."""
        if not self._name:
            try:
                self._name = str(self.info()["name"])
            except RackError:
                self._name = f"process-{self.pid}"
        return self._name

    @property
    def address(self) -> RackAddress:
        """Its address, for Thespian's calls."""
        return RackAddress(self._kernel.gid, self.pid)

    def info(self) -> dict[str, Any]:
        """Return its row of the process table: state, instance, times, ...

        Raises:
            NoSuchProcess: the group never had it, or has forgotten it.
        """
        fields, _ = self._kernel.call(Why(self.pid))
        row: dict[str, Any] = fields["process"]
        return row

    # -- messages --------------------------------------------------------------------------------------

    def tell(self, message: Any, timeout: Timeout = DEFAULT_TIMEOUT) -> None:
        """Send a message; it arrives once, in order, even if the process is still booting.

        Raises:
            NoSuchProcess: the process is known to be gone.
            MailboxFull: it takes its messages too slowly: there was no credit within `timeout` seconds.
        """
        kernel = self._kernel
        kernel.post(self.pid, EntryKind.TELL, encode(message, allow_pickle=kernel.allow_pickle), timeout=timeout)

    def ask(self, message: Any, timeout: Timeout = DEFAULT_TIMEOUT) -> Any:
        """Send a message and wait for the reply to this message.

        Raises:
            RackTimeout: no reply within `timeout` seconds.
            NoSuchProcess: the process is gone, or ended before it replied.
            HandlerFailed: its handler raised on this message, or it has none for it.
            CannotOpen: the reply cannot be opened here.
        """
        kernel = self._kernel
        seconds = kernel.bound(timeout)
        pending = kernel.ask(self.pid, encode(message, allow_pickle=kernel.allow_pickle))
        if not kernel.wait(lambda: pending.done, seconds):
            kernel.forget_ask(pending)
            raise RackTimeout(_late(self.pid, seconds))
        return kernel.open(pending.get(), REPLY, self.pid)

    def submit(self, message: Any) -> Future[Any]:
        """Send a message; return the reply to it as a `concurrent.futures.Future`.

        Its `result(timeout)` raises what `ask` raises. In a coroutine, `await asyncio.wrap_future(...)` waits for it.
        """
        kernel = self._kernel
        reply = Reply(kernel, self.pid)
        kernel.ask(self.pid, encode(message, allow_pickle=kernel.allow_pickle), reply.settle)
        return reply

    def kill(self, sig: int | str = "TERM") -> None:
        """Send it a signal; SIGTERM by default, as with `kill`.

        Raises:
            NoSuchProcess: it has ended.
        """
        send_signal(self._kernel, [self.pid], sig)

    # -- its end ---------------------------------------------------------------------------------------

    def wait(self, timeout: float | None = None) -> ExitStatus:
        """Wait for its end.

        Args:
            timeout: seconds; None: as long as it lives (its death, or the supervisor's, is always noticed).

        Raises:
            RackTimeout: it is still alive.
        """
        return self._waits.wait_for(self._fate, timeout)

    def poll(self) -> ExitStatus | None:
        """Return how it ended, or None while it lives."""
        return self._waits.poll(self._fate)

    def is_alive(self) -> bool:
        """Tell whether it is alive (a booting process is)."""
        try:
            return self.poll() is None
        except (NoChild, NoSuchProcess):
            return False

    def result(self, timeout: float | None = None) -> T:
        """Wait for the end of a function and return what it returned.

        The handle keeps a result of up to 1 MiB for further calls. A larger one is returned only once, so that a
        program that keeps its handles does not keep all results.

        Raises:
            InvalidCall: the result is larger than that, and was returned before.
            RackTimeout: it still runs.
            ProcessDied: it ended without a result, or with one that cannot be opened here; `status` says how it ended.
            Exception: what the function raised, with the remote traceback as its cause. If it cannot be rebuilt from
                its own pickle, it is an instance of both `ProcessDied` and its class.
        """
        status = self.wait(timeout)
        frames = self._fate.take()
        if frames is None:
            if self._fate.given:
                raise InvalidCall(
                    f"the result of process {self.pid} has been handed out already, and with more than"
                    f" {RESULT_KEPT >> 20} MiB it is not kept: keep what result() returns"
                )
            if status.ok and self._kind != "function":
                return cast(T, None)
            raise ProcessDied(
                f"process {self.pid} ended without a result: {status}\n{status.evidence}", pid=self.pid, status=status
            )
        return cast(T, outcomes.take(frames, self.pid, status))

    # -- its standard files -----------------------------------------------------------------------------

    @property
    def stdin(self) -> io.BufferedWriter:
        """Its standard input, a binary file; close it for an end of file."""
        if 0 not in self._files:
            self._files[0] = io.BufferedWriter(Stdin(self._kernel, self.pid))
        file: io.BufferedWriter = self._files[0]
        return file

    @property
    def stdout(self) -> io.BufferedReader:
        """Its standard output, a binary file that ends with the process."""
        return self._output(1)

    @property
    def stderr(self) -> io.BufferedReader:
        """Its standard error, a binary file that ends with the process."""
        return self._output(2)

    def _output(self, stream: int) -> io.BufferedReader:
        if stream not in self._files:
            self._files[stream] = io.BufferedReader(Output(self._kernel, self.pid, stream))
        file: io.BufferedReader = self._files[stream]
        return file


def _here(gid: str, pid: int, ppid: int, name: str, kind: str) -> Process[Any]:
    """Rebuild a handle that has come from another process."""
    member = current.member_of(gid, f"process {pid}")
    return Process(member.kernel, member.waits, pid, ppid=ppid, name=name, kind=kind)


def send_signal(kernel: Kernel, pids: Sequence[int], sig: int | str) -> None:
    """Send a signal: see `Session.kill`."""
    kernel.call(Kill(list(pids), parse_signal(sig)))
