"""Nothing in program or supervisor grows with the number of things that are over: many of each, and a look.

The ordinary run does fewer of what takes its time; `make growth` does ten thousand of each.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from growth import grown, resident, weigh
from support import eventually

import rackactor as rack

#: How many of each thing there are between two looks; 0: few, as each takes its time.
MANY = int(os.environ.get("RACK_TEST_MANY", "0"))
MESSAGES, PROCESSES, THINGS = MANY or 2_000, MANY or 200, MANY or 100
#: And before the first one.
FIRST = 1_000 if MANY else 200
#: Processes started at a time.
BATCH = 50
#: Kibibytes that a process may be larger after so many things: what the allocator does not give back, and, after few,
#: has not come to yet. What the supervisor keeps of each thing shows above it after ten thousand; the ordinary run
#: sees what is large.
SLACK = 1_500 if MANY else 4_000


@pytest.fixture
def quiet_group(monkeypatch: pytest.MonkeyPatch) -> Iterator[rack.Group]:
    """A group that remembers little, so that what it keeps on purpose has come before the first look."""
    monkeypatch.setattr("rackactor.kernel.inbox.ANSWERED", 100)
    monkeypatch.setattr("rackactor.kernel.event_loop.DEAD", 100)
    with rack.group("growth", history=20, max_spawns=1_000_000, echo=False) as made:
        made.fork(abs, each=range(2 * BATCH))  # what is made ready ahead of time is there
        yield made


Thing = Callable[[rack.Group, int], None]


class Echo(rack.Actor):
    """Answers."""

    def receiveMsg_int(self, message: int, sender: Any) -> None:
        """Answer."""
        self.send(sender, message)

    def receiveMsg_str(self, message: str, sender: Any) -> None:
        """Take it."""


def _servers(group: rack.Group) -> dict[str, int]:
    """Return the OS pids of the supervisor and of its fork server."""
    (supervisor,) = [
        int(name)
        for name in os.listdir("/proc")
        if name.isdecimal() and _parent(name) == os.getpid() and b"rackactor_runtime.supervisor" in _words(name)
    ]
    children = [int(name) for name in os.listdir("/proc") if name.isdecimal() and _parent(name) == supervisor]
    return {"supervisor": supervisor, **{f"child {pid}": pid for pid in children}}


def _parent(name: str) -> int:
    try:
        with open(f"/proc/{name}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _words(name: str) -> bytes:
    try:
        with open(f"/proc/{name}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


def check(group: rack.Group, thing: Callable[[int], object], many: int, first: int) -> None:
    """Do a thing many times; nobody may be larger for it."""
    for number in range(first):
        thing(number)
    servers = _servers(group)
    before, sizes = weigh(group), {name: resident(pid) for name, pid in servers.items()}
    for number in range(many):
        thing(number)
    most = max(150, many // 20)
    assert eventually(lambda: not grown(before, weigh(group), most)), grown(before, weigh(group), most)
    larger = {name: resident(pid) - sizes[name] for name, pid in servers.items()}
    assert not {name: kib for name, kib in larger.items() if kib > SLACK}, larger


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_processes(quiet_group: rack.Group) -> None:
    def some(number: int) -> None:
        for process in quiet_group.fork(abs, each=range(BATCH)):
            process.result(60)

    check(quiet_group, some, PROCESSES // BATCH, FIRST // BATCH)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_messages(quiet_group: rack.Group) -> None:
    echo = quiet_group.fork(Echo)
    check(quiet_group, echo.ask, MESSAGES, FIRST)
    check(quiet_group, lambda number: echo.tell("word"), MESSAGES, FIRST)
    assert echo.ask(1) == 1
    check(quiet_group, lambda number: echo.submit(number).result(60), MESSAGES, FIRST)


def test_large_results(quiet_group: rack.Group) -> None:
    """A result goes when it has been taken, or its handle has gone."""
    size = 4 << 20
    before = resident(os.getpid())
    kept = []
    for _ in range(40):
        kept.append(quiet_group.fork(bytes, size))
        assert len(kept[-1].result(60)) == size
        quiet_group.fork(bytes, size).wait(60)
    assert resident(os.getpid()) - before < 10 * (size >> 10)
    with pytest.raises(rack.InvalidCall, match="handed out already"):
        kept[0].result()
    small = quiet_group.fork(bytes, 1000)
    assert small.result(60) == small.result()


def _pipe(group: rack.Group, number: int) -> None:
    reader, writer = group.pipe()
    with reader, writer:
        writer.send(number)
        assert reader.recv() == number


def _named_pipe(group: rack.Group, number: int) -> None:
    with group.pipe(f"name-{number}", "w") as writer, group.pipe(f"name-{number}", "r") as reader:
        writer.send(number)
        assert reader.recv() == number


def _key(group: rack.Group, number: int) -> None:
    group.shm[f"key-{number}"] = number
    del group.shm[f"key-{number}"]


def _lock(group: rack.Group, number: int) -> None:
    with group.lock(f"lock-{number}"):
        pass


def _watch(group: rack.Group, number: int) -> None:
    with group.shm.watch(f"prefix-{number}"):
        pass


def _file(group: rack.Group, number: int) -> None:
    with group.open(f"/file-{number}", "w") as file:
        file.write("x")
    group.fs.rm(f"/file-{number}")


def _wait_in_vain(group: rack.Group, number: int) -> None:
    with pytest.raises(rack.RackTimeout):
        group.receive(timeout=0.0)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("thing", [_pipe, _named_pipe, _key, _lock, _watch, _file, _wait_in_vain])
def test_things(quiet_group: rack.Group, thing: Thing) -> None:
    check(quiet_group, lambda number: thing(quiet_group, number), THINGS, FIRST)
