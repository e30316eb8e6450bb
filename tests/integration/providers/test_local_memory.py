"""Memory limits of local processes, and the control groups that keep them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from localdriver import MB, Driver, act, closing_provider, nothing_is_left, server_of

from rackactor_runtime.providers.base import Ended
from rackactor_runtime.providers.local import LocalProvider
from rackactor_runtime.providers.local.cgroup import MemoryGroups, make_name


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    with nothing_is_left():
        yield


def test_memory_limit_of_one_process(driver: Driver) -> None:
    key = driver.create("eat", 500 * MB, memory=200 * MB)
    assert driver.heard(key) == ["no memory"]
    assert driver.ended(key) == Ended(key, 3, None)


def require_groups() -> None:
    groups = MemoryGroups(make_name())
    group = groups.make("1.0", 100 * MB)
    if group is not None:
        groups.discard(group)
    groups.close()
    if group is None:
        pytest.skip("no memory control group can be made here: neither version 2 delegated nor version 1 as root")


def test_memory_limit_of_a_group_of_processes(driver: Driver) -> None:
    require_groups()
    key = driver.create("eat_together", 4, 60 * MB, memory=150 * MB)
    end = driver.ended(key)
    assert end.oom
    # The kernel chooses whom it ends: mostly a child, which its parent then tells of by its code.
    assert (end.code, end.signal, end.note.split(" ended ")[0]) == (1, None, "the memory limit") or end == Ended(
        key, None, signal.SIGKILL, True, "the memory limit was reached"
    )


def test_memory_limit_that_ends_the_process_itself(driver: Driver) -> None:
    require_groups()
    # Well above what the many threads of a test run leave mapped: RLIMIT_DATA counts that too.
    key = driver.create("eat_shared", 600 * MB, memory=300 * MB)
    assert driver.ended(key) == Ended(key, None, signal.SIGKILL, True, "the memory limit was reached")
    deleted = driver.create("wait", memory=100 * MB)
    driver.heard(deleted)
    driver.provider.delete(deleted)
    assert not driver.ended(deleted).oom


def test_no_control_group_is_left() -> None:
    require_groups()
    driver = Driver(LocalProvider({}, "", entry=act))
    with closing_provider(driver.provider):
        keys = [driver.create("wait", memory=100 * MB) for _ in range(3)]
        for key in keys:
            driver.heard(key)
        assert list(find_groups())
        driver.provider.delete(keys[0])
        driver.ended(keys[0])
    assert not list(find_groups())


def test_control_groups_of_a_killed_fork_server_are_removed(driver: Driver) -> None:
    require_groups()
    key = driver.create("wait", memory=100 * MB)
    driver.heard(key)
    assert list(find_groups())
    os.kill(server_of(driver, key), signal.SIGKILL)
    driver.ended(key)
    assert not list(find_groups())


def find_groups() -> Iterator[Path]:
    for directory, names, _ in os.walk("/sys/fs/cgroup"):
        yield from (Path(directory, name) for name in names if name.startswith(f"rackactor-{os.getpid()}-"))
