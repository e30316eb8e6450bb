"""Calling the services of a group: the supervisor's own programs, such as the file service.

A service is a member like any other: requests are sent as asks on the ordinary streams, directly where the network
allows it. A request or an answer is a msgpack array of two (name, fields), preceded by its length (4 bytes) and
followed by raw bytes.
"""

from __future__ import annotations

import threading
from typing import Any

from rackactor.errors import NoSuchProcess, ProtocolError, RackTimeout, ServiceFailed
from rackactor.kernel.kernel import Kernel
from rackactor.kernel.pending import Pending
from rackactor.wire.calls.services import FindService
from rackactor.wire.codec import pack as _pack
from rackactor.wire.codec import unpack as _unpack
from rackactor.wire.errors import unpack_error

#: Time limit of one request, seconds: a service may have its store on the other side of the world.
TIMEOUT = 300.0

Data = bytes | bytearray | memoryview


def pack(what: Any, fields: dict[str, Any], data: Data = b"") -> bytes:
    """Return the bytes of a request (`what`: its name) or of an answer (`what`: None, or the error)."""
    head = _pack((what, fields))
    return b"".join((len(head).to_bytes(4, "big"), head, data))


def unpack(payload: Data) -> tuple[Any, dict[str, Any], memoryview]:
    """Return what `pack` was given.

    Raises:
        ProtocolError: these are not the bytes of a request or an answer.
    """
    view = memoryview(payload)
    end = 4 + int.from_bytes(view[:4], "big")
    head = _unpack(view[4:end])
    if not isinstance(head, list) or len(head) != 2 or not isinstance(head[1], dict):
        raise ProtocolError("a question or an answer is an array of two, the second one a map")
    return head[0], head[1], view[end:]


class Service:
    """A service of the group, found at its first use, and found again after its death.

    Args:
        kernel: of the calling process.
        name: the service's.
    """

    def __init__(self, kernel: Kernel, name: str) -> None:
        self.kernel = kernel
        self.name = name
        self._pid = 0
        self._lock = threading.RLock()  # a signal handler may interrupt the holder

    @property
    def pid(self) -> int:
        """Its pid; the supervisor starts the service if it is not running.

        Raises:
            ServiceFailed: it does not start.
        """
        pid = self._pid
        if not pid:
            fields, _ = self.kernel.call(FindService(self.name))
            pid = self._pid = int(fields["pid"])
        return pid

    def ask(
        self, op: str, fields: dict[str, Any], data: Data = b"", *, again: bool = False, timeout: float = TIMEOUT
    ) -> tuple[dict[str, Any], memoryview]:
        """Send a request and wait for the answer.

        Args:
            op: the request's name.
            fields: plain values.
            data: raw bytes.
            again: repeat the request once if the service has died; for requests that may be done twice.
            timeout: seconds.

        Raises:
            RackTimeout: no answer within the time.
            ServiceFailed: the service has died before it answered.
            Exception: the error of the request, by its name.
        """
        return self.ask_one(op, fields, data, again=again, timeout=timeout)[1:]

    def ask_one(
        self, op: str, fields: dict[str, Any], data: Data = b"", *, again: bool = False, timeout: float = TIMEOUT
    ) -> tuple[int, dict[str, Any], memoryview]:
        """Ask as `ask` does, and return the answerer's pid first; a follow-up may be for that life only."""
        known_dead = False
        while True:
            pid = self.pid
            try:
                pending = self.kernel.ask(pid, pack(op, fields, data))
                return pid, *self.answer(pending, pid, timeout)
            except ServiceFailed:
                if not again:
                    raise
            except NoSuchProcess:  # known to be dead before anything was sent
                self._forget(pid)
                if known_dead:
                    raise
                known_dead = True
            again = False

    def begin(self, pid: int, op: str, fields: dict[str, Any], data: Data = b"") -> Pending:
        """Send a request to one life of the service without waiting; `answer` takes the result."""
        try:
            return self.kernel.ask(pid, pack(op, fields, data), _nothing)
        except NoSuchProcess as error:
            self._forget(pid)
            raise ServiceFailed(f"the group's service {self.name!r} has ended: {error}") from None

    def post_from_finalizer(self, pid: int, op: str, fields: dict[str, Any]) -> None:
        """Send a request without an answer; for finalizers: takes no lock, and does not wait."""
        if not self.kernel.closed and not self.kernel.ended:
            self.kernel.post_from_finalizer(pid, pack(op, fields))

    def answer(self, pending: Pending, pid: int, timeout: float = TIMEOUT) -> tuple[dict[str, Any], memoryview]:
        """Wait for the answer to a request: see `ask`."""
        kernel = self.kernel
        try:
            done = kernel.wait(lambda: pending.done, timeout)
        except BaseException:
            kernel.forget_ask(pending)
            raise
        if not done:
            kernel.forget_ask(pending)
            raise RackTimeout(f"the group's service {self.name!r} did not answer within {timeout:g} s")
        try:
            error, fields, data = unpack(pending.get())
        except NoSuchProcess as gone:
            self._forget(pid)
            raise ServiceFailed(f"the group's service {self.name!r} has ended: {gone}") from None
        if error is not None:
            raise unpack_error(error)
        return fields, data

    def _forget(self, pid: int) -> None:
        with self._lock:
            if self._pid == pid:
                self._pid = 0


def _nothing(_: Pending) -> None:
    pass
