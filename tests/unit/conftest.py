"""What unit tests share."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest
from driving import House
from hypothesis import HealthCheck, settings
from support import eventually

# On a busy machine examples are made slowly; what a test checks is not how fast.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


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
