"""What unit tests share."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest
from driving import House
from support import eventually


@pytest.fixture(autouse=True)
def leaves_nothing() -> Iterator[None]:
    """Prove, cheaply, that a test has left no thread and no descriptor; unit tests start no processes."""
    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
    yield
    assert eventually(lambda: threading.active_count() <= threads)
    assert eventually(lambda: len(os.listdir("/proc/self/fd")) <= files)


@pytest.fixture
def house() -> House:
    """Return a supervisor without a socket."""
    return House()


@pytest.fixture
def script(house: House) -> int:
    """Return the pid of the program that made its group."""
    return house.script()
