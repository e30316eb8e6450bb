"""What the processes of the tests of shared memory run."""

from __future__ import annotations

import os
import random
import signal
import time
from typing import Any

import rackactor as rack


def count(times: int) -> int:
    for _ in range(times):
        rack.shm.incr("count")
    found: int = rack.shm["count"]
    assert found >= times  # its own are visible at once
    return rack.getpid()


def write_and_read(key: str, times: int) -> None:
    for number in range(times):
        rack.shm[key] = number
        assert rack.shm[key] == number


def operate(seed: int, keys: int, times: int, barrier: str) -> list[tuple[str, int, int, Any, Any]]:
    """Do random operations; return a history of each: key, begun, ended, what, result."""
    choose, me = random.Random(seed), rack.getpid()
    shm = rack.shm
    shm.incr(barrier)
    while shm[barrier] >= 0 and shm[barrier] < 3:
        time.sleep(0.001)
    history = []
    for number in range(times):
        key = f"register/{choose.randrange(keys)}"
        new = me * 10_000 + number
        kind = choose.choice(["get", "get", "put", "cas", "cas"])
        known = shm.get(key)
        begun = time.monotonic_ns()
        what: Any
        if kind == "get":
            what, result = ("get",), shm.get(key)
        elif kind == "put":
            what, result = ("put", new), shm.put(key, new)
        else:
            what = ("cas", known, new)
            result = bool(shm.cas(key, shm.ABSENT if known is None else known, new))
        history.append((key, begun, time.monotonic_ns(), what, result))
    return history


def hold(keys: list[str], lock: str = "") -> None:
    """Put keys that go with this process, hold a lock if it has a name, and wait for the end."""
    for key in keys:
        rack.shm.put(key, rack.getpid(), lease=True)
    if lock:
        rack.lock(lock).acquire()
    rack.shm.append("holding", rack.getpid())
    while True:
        signal.pause()


def guarded(times: int, die_at: int) -> None:
    """Take a lock again and again; under it, note down the token. At one of them, die with it."""
    for number in range(times):
        with rack.lock("guard", timeout=30) as token:
            holders = rack.shm.incr("inside")
            rack.shm.append("tokens", [token, holders])
            if number == die_at:
                rack.shm.incr("inside", -1)  # or the next one would be taken for the second inside
                os.kill(os.getpid(), signal.SIGKILL)
            rack.shm.incr("inside", -1)


def collect(prefix: str, last: Any) -> list[tuple[int, str, Any]]:
    """Watch until a value comes; return everything seen."""
    seen = []
    with rack.shm.watch(prefix, 1) as changes:
        rack.shm.incr("watching")
        while True:
            change = changes.next(30)
            seen.append((change.revision, change.key, change.value))
            if change.value == last:
                return seen


class Watcher(rack.Actor):
    """Gets changes as messages."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self.seen: list[Any] = []
        self.prefix = prefix

    def receiveMsg_str(self, message: str, sender: Any) -> None:
        if message == "begin":
            self.shm.watch(self.prefix, to=self.myAddress)
            self.send(sender, "begun")
        else:
            self.send(sender, self.seen)

    def receiveMsg_Changed(self, change: rack.Changed, sender: Any) -> None:
        self.seen.append((change.kind, change.key, change.value))


def follow(key: str, stop: int) -> tuple[int, dict[str, Any], bool]:
    """Read a key from the replica until it has a value; return how it all looks then."""
    assert rack.shm.client.backing.is_replica
    last = -1
    while last < stop:
        now = rack.shm.get(key, -1)
        assert now >= last
        last = now
        time.sleep(0.001)
    rack.shm.sync()
    return rack.shm.revision, dict(rack.shm.items()), rack.shm.client.backing.is_replica
