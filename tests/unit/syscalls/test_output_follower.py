"""Output is shown as it grows, to its end, whatever happens to the group or to the reader meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import pytest
from support import PATIENCE, eventually

from rackactor.errors import GroupEnded
from rackactor.kernel.pending import Pending
from rackactor.syscalls.lines import Lines
from rackactor.syscalls.output import OutputFollower
from rackactor.wire.calls.logs import FEED, Logs


class Kernel:
    """A log: what was asked for is answered when there is more, or when nobody is to wait any longer."""

    def __init__(self) -> None:
        self.output = b""
        self.gone = False
        self.woken = threading.Event()
        self._asked: list[tuple[Logs, Callable[[Pending], None]]] = []
        self._lock = threading.RLock()

    def begin_call(self, call: Logs, callback: Callable[[Pending], None]) -> None:
        if self.gone:
            raise GroupEnded("gone")
        with self._lock:
            self._asked.append((call, callback))
            self._answer(leaving=False)

    def cast(self, call: Logs) -> None:
        with self._lock:
            self._answer(leaving=call.leave)

    def add(self, data: bytes) -> None:
        with self._lock:
            self.output += data
            self._answer(leaving=False)

    def wake(self) -> None:
        self.woken.set()

    def wait(self, done: Callable[[], object], timeout: float | None) -> bool:
        if self.gone:
            raise GroupEnded("gone")
        return eventually(done, PATIENCE if timeout is None else timeout)

    def fail(self) -> None:
        """The group ends."""
        with self._lock:
            self.gone = True
            for _, callback in self._asked:
                pending = Pending()
                pending.error = GroupEnded("gone")
                callback(pending)
            self._asked = []

    def _answer(self, *, leaving: bool) -> None:
        asked, self._asked = self._asked, []
        for call, callback in asked:
            data = self.output[call.offset :]
            if not data and call.follow and not leaving:
                self._asked.append((call, callback))
                continue
            pending = Pending()
            pending.value = {"next": len(self.output), "eof": False}
            pending.blobs = [msgpack.packb([(3, 1, 0, data)] if data else [])]
            callback(pending)


class Shown:
    """A sink that keeps what it is shown, and may be held up."""

    def __init__(self) -> None:
        self.broken = False
        self.finished = 0
        self.data = b""
        self.go_on = threading.Event()
        self.go_on.set()

    def show(self, pid: int, stream: int, data: bytes) -> None:
        assert self.go_on.wait(PATIENCE)
        self.data += data

    def finish(self) -> None:
        self.finished += 1


@pytest.fixture
def kernel() -> Kernel:
    return Kernel()


@pytest.fixture
def shown() -> Shown:
    return Shown()


@pytest.fixture
def follower(kernel: Any, shown: Shown) -> Iterator[OutputFollower]:
    made = OutputFollower(kernel, shown, Lines(patience=60.0))
    yield made
    made.stop()


def test_lines_are_shown_as_they_come(kernel: Kernel, shown: Shown, follower: OutputFollower) -> None:
    follower.follow(FEED)
    kernel.add(b"one\ntw")
    assert eventually(lambda: shown.data == b"one\n")
    kernel.add(b"o\n")
    assert eventually(lambda: shown.data == b"one\ntwo\n")
    assert not follower.done


def test_all_has_been_shown_when_it_is_done(kernel: Kernel, shown: Shown, follower: OutputFollower) -> None:
    follower.follow(FEED)
    kernel.add(b"one\nrest")
    follower.finish()
    follower.wait(PATIENCE)
    assert follower.done
    assert shown.data == b"one\nrest"
    assert shown.finished == 1


def test_output_that_comes_while_it_finishes_is_shown(kernel: Kernel, shown: Shown, follower: OutputFollower) -> None:
    shown.go_on.clear()
    follower.follow(FEED)
    kernel.add(b"one\n")  # the thread is held up in showing this
    follower.finish()
    kernel.add(b"two\n")
    shown.go_on.set()
    follower.wait(PATIENCE)
    assert follower.done
    assert shown.data == b"one\ntwo\n"


def test_what_has_come_is_shown_after_the_group_has_ended(
    kernel: Kernel, shown: Shown, follower: OutputFollower
) -> None:
    shown.go_on.clear()
    follower.follow(FEED)
    kernel.add(b"last words")
    kernel.fail()
    follower.finish()
    threading.Timer(0.05, shown.go_on.set).start()
    follower.wait(None)
    assert shown.data == b"last words"


def test_a_group_that_is_gone_has_no_output(kernel: Kernel, follower: OutputFollower) -> None:
    kernel.gone = True
    follower.follow(FEED)
    follower.wait(None)
    assert follower.done


def test_whoever_waits_hears_that_nothing_can_be_shown_any_more(
    kernel: Kernel, shown: Shown, follower: OutputFollower
) -> None:
    follower.follow(FEED)
    shown.broken = True
    kernel.add(b"one\n")
    assert kernel.woken.wait(PATIENCE)
    assert not follower.done


def test_it_stops(kernel: Kernel, shown: Shown, follower: OutputFollower) -> None:
    follower.follow(FEED)
    kernel.add(b"rest")
    follower.stop()
    assert eventually(lambda: follower.done)
    assert shown.data == b"rest"
