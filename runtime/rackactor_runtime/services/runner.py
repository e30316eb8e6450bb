"""The program of every service: it joins the group, answers requests in threads, and ends with the supervisor."""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import logging
import os
import sys
import threading
from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

from rackactor.errors import InvalidCall, RackError
from rackactor.ipc.service import Data, pack, unpack
from rackactor.kernel.kernel import EXPECTED_TIMEOUT, Kernel
from rackactor.kernel.peers import Delivery
from rackactor.system import threads
from rackactor.wire.errors import pack_error
from rackactor.wire.events import GoneEvent
from rackactor.wire.frames import parse_map
from rackactor.wire.stream import EntryKind
from rackactor_runtime import descriptors
from rackactor_runtime.services import SERVICES
from rackactor_runtime.services.fair_queue import AT_ONCE, Turn, Turns

#: Seconds that cleaning up at the end may take.
PARTING = 3.0


_log = logging.getLogger("rackactor.service")


class Answers(Protocol):
    """The work of a service. Its methods run in threads, several at a time."""

    def strand(self, pid: int, op: str, fields: dict[str, Any]) -> Hashable:
        """Return a key: requests with one key are answered in order; None: in any order. Never blocks or raises."""

    def answer(self, pid: int, op: str, fields: dict[str, Any], data: memoryview) -> tuple[dict[str, Any], Data]:
        """Answer a member's request; an exception is sent to the member by name."""

    def gone(self, pid: int) -> None:
        """Note that a member is gone; none of its requests is being answered any more."""

    def close(self) -> None:
        """Clean up: the group has ended, or its supervisor has died."""


class Host(NamedTuple):
    """What a service is given.

    Attributes:
        birth: directory, settings of the group, ...
        kernel: its membership.
    """

    birth: dict[str, Any]
    kernel: Kernel

    @property
    def directory(self) -> str:
        """The group's directory."""
        return str(self.birth["directory"])

    @property
    def settings(self) -> dict[str, Any]:
        """The group's settings."""
        found: dict[str, Any] = self.birth["settings"]
        return found


def main(name: str) -> int:
    """Run as a service until the group ends.

    Args:
        name: of the service. The birth data come on standard input, which stays open as long as the supervisor lives.
    """
    lifeline = os.dup(0)
    descriptors.lead_nowhere(0)
    birth = _read_birth(lifeline)
    program = Program(birth, lifeline)
    try:
        program.begin(name)
        program.serve()
    except RackError as error:
        _log.warning("service %s: %s", name, error)
    program.await_end()
    return 1


def _read_birth(lifeline: int) -> dict[str, Any]:
    size = int.from_bytes(_read(lifeline, 4), "big")
    return parse_map(_read(lifeline, size))


def _read(descriptor: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = os.read(descriptor, size - len(data))
        if not part:
            os._exit(0)  # the supervisor was gone before it had sent anything
        data += part
    return data


class _Gone:
    """Stands in a member's queue for the last thing to do for it."""


_GONE = _Gone()


class Program:
    """The program of one service."""

    def __init__(self, birth: dict[str, Any], lifeline: int) -> None:
        self._birth = birth
        self._lifeline = lifeline
        self._answers: Answers | None = None
        self._turns: Turns[Delivery | _Gone] = Turns()
        self._lock = threading.Lock()
        self._ending = threading.Lock()
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="service")
        self._pool.submit(int)  # one thread exists from the start, in case no more can be started later
        self._watcher = threads.start(threading.Thread(target=self._watch, name="lifeline", daemon=True))

    def begin(self, name: str) -> None:
        """Join the group."""
        module, _, function = SERVICES[name].partition(":")
        make = getattr(importlib.import_module(module), function)
        self._kernel = Kernel()
        self._kernel.on(GoneEvent, lambda event, _: self._gone(event.pid))
        self._kernel.join(self._birth, EXPECTED_TIMEOUT)
        self._answers = make(Host(self._birth, self._kernel))

    def serve(self) -> None:
        """Answer requests until the group ends."""
        while (item := self._kernel.take(None)) is not None:
            if type(item) is Delivery:
                self._take(item)

    def await_end(self) -> None:
        """Clean up when the supervisor says so; return if it does not, since then the group and its files go on.

        Then only this process's membership is over, and the next instance of the service takes over.
        """
        self._watcher.join(PARTING)

    def finish(self) -> None:
        """Clean up and end this process, in a limited time; the first call counts."""
        if not self._ending.acquire(blocking=False):
            threading.Event().wait()
        # A separate thread that needs no Python lock.
        faulthandler.dump_traceback_later(PARTING, exit=True, file=sys.stderr)
        try:
            if self._answers is not None:
                self._answers.close()
        except Exception:
            _log.exception("the service did not clean up")
        os._exit(0)

    def _watch(self) -> None:
        try:
            while os.read(self._lifeline, 4096):
                pass
        except OSError:  # nobody would notice the supervisor's end
            os._exit(1)
        self.finish()

    def _take(self, item: Delivery) -> None:
        try:
            op, fields, _ = unpack(item.entry.payload)
            assert self._answers is not None
            strand = self._answers.strand(item.pid, str(op), fields)
        except Exception as error:
            self._refuse(item, error)
            return
        with self._lock:
            turns = self._turns.add(item.pid, strand, item)
        if turns is None:
            self._refuse(item, InvalidCall("too many questions at once: wait for the answers to some of them"))
        else:
            self._start(turns)

    def _gone(self, pid: int) -> None:
        with self._lock:
            turns = self._turns.gone(pid, _GONE)
        self._start(turns)

    def _start(self, turns: list[Turn[Delivery | _Gone]]) -> None:
        for turn in turns:
            # Queued work is done in any case: if no thread can be started, by an existing one.
            with contextlib.suppress(RuntimeError):
                self._pool.submit(self._work, turn)

    def _work(self, turn: Turn[Delivery | _Gone]) -> None:
        assert self._answers is not None
        try:
            if isinstance(turn.job, _Gone):
                self._answers.gone(turn.client)
            else:
                self._answer(turn.job)
        except Exception:
            _log.exception("a question of process %d, or what is left of it", turn.client)
        finally:
            with self._lock:
                turns = self._turns.done(turn)
            self._start(turns)

    def _answer(self, item: Delivery) -> None:
        assert self._answers is not None
        op, fields, data = unpack(item.entry.payload)
        try:
            answer = pack(None, *self._answers.answer(item.pid, str(op), fields, data))
        except Exception as error:
            self._refuse(item, error)
        else:
            self._reply(item, answer)

    def _refuse(self, item: Delivery, error: Exception) -> None:
        self._reply(item, pack(pack_error(error), {}))

    def _reply(self, item: Delivery, answer: bytes) -> None:
        if item.entry.kind is EntryKind.ASK:
            self._kernel.answer(item.pid, item.entry.rid, answer)
