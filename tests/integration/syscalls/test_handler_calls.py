"""Signal handlers that make calls at the wrong moment, thousands of times: frames of two messages never mix."""

from __future__ import annotations

import ast
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from support import HELPERS

import rackactor as rack
from rackactor import current

PROGRAM = HELPERS / "handlercalls.py"


def run(*words: str) -> dict[str, int]:
    done = subprocess.run([sys.executable, PROGRAM, *words], text=True, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    count: dict[str, int] = ast.literal_eval(done.stdout)
    return count


@pytest.mark.timeout(120)
@pytest.mark.parametrize("where", ["script", "process"])
@pytest.mark.parametrize("how", ["catches", "lets"])
def test_handlers_that_make_calls(transport: str, where: str, how: str) -> None:
    count = run(transport, where, how, "2")
    assert count.pop("worked") > 50
    assert all("interrupted a send" in words for words in count), count


@pytest.mark.timeout(120)
@pytest.mark.parametrize("where", ["script", "process"])
def test_handlers_that_raise(transport: str, where: str) -> None:
    """The loop is not turned where they run: what they raise comes out of the call, and tears nothing."""
    assert run(transport, where, "raises", "2")["raised"] >= 50


@pytest.fixture
def aside() -> Iterator[None]:
    """This program has a signal handler of its own: its main thread does no I/O."""
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.timeout(60)
def test_a_lock_whose_holder_a_handler_has_interrupted_stops_nothing(aside: None, group: rack.Group) -> None:
    heard: list[tuple[object, int]] = []
    group.signal("word", lambda sig, sender: heard.append((sig, sender)))
    reader, writer = group.pipe()
    with reader, writer:
        writer.send(1)
        with reader._end.lock:  # here the handler runs
            group.kernel.call_soon_threadsafe(lambda: reader._end._send(iter(())))
            assert group.ps()
        with group.signals._lock:
            group.kill(group.getpid(), "word")
            assert group.ps()
        assert reader.recv() == 1
        with reader._end.lock:
            group.kernel.call_soon_threadsafe(lambda: reader._end.table._close_reading(reader._end))
            assert group.ps()
    group.kernel.wait(lambda: heard, 20)
    assert heard == [("word", group.getpid())]


def test_a_handler_that_interrupts_the_making_of_the_group_is_told_so() -> None:
    with current.entering(), pytest.raises(rack.NoGroup, match="just entering its group"), current.entering():
        pass
    with current.entering():
        pass
