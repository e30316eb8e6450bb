"""What the nursery does when the host refuses: no process is made here."""

from __future__ import annotations

import errno
import os
import selectors
from collections.abc import Iterator
from typing import Any

import pytest

from rackactor_runtime.providers.base import CreateFailed, Ended, Event, Key
from rackactor_runtime.providers.local import child
from rackactor_runtime.providers.local.cgroup import MemoryGroups
from rackactor_runtime.providers.local.children import Children, Request, check_environment

KEY = Key(2, 0)
REQUEST = Request(KEY, b"\x80", {}, None, None, {})


class Rig:
    def __init__(self, origin: child.ForkContext | str) -> None:
        self.told: list[Event] = []
        self.selector = selectors.DefaultSelector()
        self.nursery = Children(self.told.append, self.selector, MemoryGroups("rackactor-test"), origin)

    def close(self) -> None:
        self.selector.close()
        self.nursery.close()


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig(child.ForkContext(child.Program(lambda birth: 0), os.getpid(), (), 1024))
    files = os.listdir("/proc/self/fd")
    yield rig
    assert os.listdir("/proc/self/fd") == files
    assert not rig.selector.get_map()
    rig.close()


@pytest.mark.parametrize(
    "call, code, words",
    [
        ("fork", errno.EAGAIN, "cannot fork: Resource temporarily unavailable"),
        ("pipe", errno.EMFILE, "cannot make a pipe for the output: Too many open files"),
    ],
)
def test_what_the_host_refuses_is_told_once_in_its_words(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, call: str, code: int, words: str
) -> None:
    def refuse(*_: Any) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, refuse)
    rig.nursery.add(REQUEST)
    assert rig.nursery.has_pending
    rig.nursery.step()
    assert rig.told == [CreateFailed(KEY, words)]
    assert rig.nursery.empty


def test_an_agent_that_cannot_be_imported_fails_each_create() -> None:
    rig = Rig("cannot import the agent: gone")
    rig.nursery.add(REQUEST)
    rig.nursery.step()
    assert rig.told == [CreateFailed(KEY, "cannot import the agent: gone")]
    rig.close()


def test_deleted_in_the_queue_ends_once(rig: Rig) -> None:
    rig.nursery.add(REQUEST)
    rig.nursery.add(REQUEST._replace(key=Key(3, 0)))
    rig.nursery.delete(KEY)
    rig.nursery.delete(KEY)
    rig.nursery.delete(Key(9, 0))
    rig.nursery.end_all()
    assert rig.told == [
        Ended(Key(2, 0), None, 9, note="deleted before it was started"),
        Ended(Key(3, 0), None, 9, note="deleted before it was started"),
    ]
    assert rig.nursery.empty


def test_environment_is_checked_before_the_fork() -> None:
    check_environment({"A": "", "b c": "d=e"})
    for env in ({"": "x"}, {"A=": "x"}, {"A\0": "x"}, {"A": "x\0"}):
        with pytest.raises(ValueError):
            check_environment(env)
