"""What wakes a poll: it may be rung from anywhere at any time, also while its owner lets go of it."""

from __future__ import annotations

import os
import threading

import pytest

from rackactor.kernel.transport.sockets import Sockets
from rackactor.kernel.transport.wakeup import Waker
from rackactor.system import readiness


def readable(descriptor: int) -> bool:
    return bool(readiness.readable([descriptor], 0))


def test_it_is_readable_from_a_ring_until_it_is_heard() -> None:
    waker = Waker()
    assert not readable(waker.fileno())
    waker.wake()
    waker.wake()
    assert readable(waker.fileno())
    waker.drain()
    assert not readable(waker.fileno())
    waker.drain()  # nobody rang: no wait, and no error


def test_its_descriptor_goes_with_the_last_who_holds_it() -> None:
    waker = Waker()
    number, wake = waker.fileno(), waker.wake
    del waker
    wake()
    assert readable(number)
    del wake
    with pytest.raises(OSError):
        os.fstat(number)


def test_a_child_that_has_another_file_under_its_number_keeps_that() -> None:
    waker = Waker()
    number = waker.fileno()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.dup2(0, number)
            del waker
            os.fstat(number)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_sockets_may_be_woken_while_they_are_closed_and_afterwards() -> None:
    """Many threads wake, so that some are between the look for the waker and the wake when it is let go."""
    for _ in range(20):
        polled = Sockets()
        failures: list[BaseException] = []
        over = threading.Event()

        def wake(
            polled: Sockets = polled, failures: list[BaseException] = failures, over: threading.Event = over
        ) -> None:
            try:
                while not over.is_set():
                    polled.wake()
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=wake) for _ in range(4)]
        for thread in threads:
            thread.start()
        polled.close()
        polled.wake()
        over.set()
        for thread in threads:
            thread.join(5.0)
        assert not failures
