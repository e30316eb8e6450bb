"""RackActor itself: pipes, shared memory and files of a group."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import rackactor as rack

from ...peer import PATIENCE
from ..pairs import ask, echo, memory, stream, take
from ..peer import BATCH, SMALL_VALUE, VALUE, Ipc
from .local_files import there_and_back

#: Bytes of each value of the memory that is brought to a replica.
_PIECE = 1_000_000
#: Seconds from one watched write to the next: more than the slowest watcher should need.
_APART = 0.05
#: Seconds after which a sender is done or blocked, and nothing grows any more.
_SETTLED = 2.0


class RackIpc(Ipc):
    """A group on the local provider."""

    title = "RackActor"
    distributions = ("rackactor", "pyzmq", "msgpack", "lmdb")
    note = "small messages that are sent without a wait between them travel together; the replica's group is on tcp"

    def start(self) -> None:
        self.stack = ExitStack()
        preload = {"preload": [__name__]}
        self.group = self.stack.enter_context(rack.group("bench", provider_settings=preload))

    def stop(self) -> None:
        self.stack.close()

    # -- pipes -----------------------------------------------------------------------------------------

    def stream(self, count: int, size: int) -> float:
        return self._between(stream, take, count, size)

    def echoes(self, count: int, size: int) -> float:
        return self._between(ask, echo, count, size)

    def _between(self, sender: Callable[..., float], receiver: Callable[..., None], count: int, size: int) -> float:
        there, back = rack.pipe(), rack.pipe()
        receiving = self.group.fork(_receiving, receiver, there[0], back[1], count)
        sending = self.group.fork(_sending, sender, there[1], back[0], count, size)
        _close(*there, *back)
        seconds = sending.result(timeout=PATIENCE)
        receiving.result(timeout=PATIENCE)
        return float(seconds)

    def backlog(self, count: int, size: int) -> float:
        there, back = rack.pipe(), rack.pipe()
        idle = self.group.fork(_idle, there[0], back[1])
        pouring = self.group.fork(_pour, there[1], back[0], count, size)
        _close(*there, *back)
        pouring.ask("ready?", timeout=PATIENCE)
        before = memory()
        pouring.tell("go on")
        time.sleep(_SETTLED)
        grown = memory() - before
        for process in (idle, pouring):
            process.kill("KILL")
            process.wait(timeout=PATIENCE)
        return grown

    # -- shared memory ---------------------------------------------------------------------------------

    def read(self, count: int) -> float:
        return self._in_a_process(_read, count)

    def write(self, count: int) -> float:
        return self._in_a_process(_write, count)

    def pipelined(self, count: int) -> float:
        return self._in_a_process(_pipelined, count)

    def _in_a_process(self, action: Callable[..., float], *args: Any) -> float:
        return float(self.group.fork(action, *args).result(timeout=PATIENCE))

    def watched(self, count: int, watchers: int) -> list[float]:
        crowd = self.group.fork(_watch, count, n=watchers)
        written = self.group.fork(_write_watched, count, watchers).result(timeout=2 * PATIENCE)
        seen = [watcher.result(timeout=PATIENCE) for watcher in crowd]
        return [max(times) - begin for begin, *times in zip(written, *seen, strict=True)]

    def copied(self, size: int) -> float:
        settings: dict[str, Any] = {"transport": "tcp", "shm_size": 2 * size + (64 << 20), "shm_replica": "always"}
        with rack.group("replica", **settings) as group:
            group.fork(_fill, size).result(timeout=2 * PATIENCE)
            return float(group.fork(_replicate, size).result(timeout=PATIENCE))

    # -- files -----------------------------------------------------------------------------------------

    def files(self, size: int) -> float:
        seconds = there_and_back(rack.open, "/large", size)
        self.group.fs.rm("/large")
        return seconds


# -- in the processes -----------------------------------------------------------------------------------


def _sending(action: Callable[..., float], to: Any, back: Any, count: int, size: int) -> float:
    to.send(b"up")
    back.recv()
    return action(to.send, back.recv, count, b"x" * size)


def _receiving(action: Callable[..., None], come: Any, back: Any, count: int) -> None:
    back.send(come.recv())
    action(back.send, come.recv, count)


def _pour(to: Any, back: Any, count: int, size: int) -> None:
    to.send(b"up")
    back.recv()
    rack.receive(PATIENCE).reply("ready")
    rack.receive(PATIENCE)
    for _ in range(count):
        to.send(b"x" * size, timeout=None)  # each in memory of its own
    time.sleep(PATIENCE)


def _idle(come: Any, back: Any) -> None:
    back.send(come.recv())
    back.flush()
    time.sleep(PATIENCE)


def _close(*ends: Any) -> None:
    for end in ends:
        end.close()


def _read(count: int) -> float:
    shm = rack.shm
    shm["key"] = b"x" * VALUE
    get = shm.get
    begin = time.perf_counter()
    for _ in range(count):
        get("key")
    return time.perf_counter() - begin


def _write(count: int) -> float:
    shm, value = rack.shm, b"x" * VALUE
    begin = time.perf_counter()
    for _ in range(count):
        shm["key"] = value
    return time.perf_counter() - begin


def _pipelined(count: int) -> float:
    shm, value = rack.shm, b"x" * SMALL_VALUE
    shm["key"] = value
    begin = time.perf_counter()
    for first in range(0, count, BATCH):
        with shm.pipeline() as pipeline:
            for i in range(min(BATCH, count - first)):
                pipeline[f"key{i}"] = value
    return time.perf_counter() - begin


def _watch(count: int) -> list[float]:
    with rack.shm.watch("watched") as changes:
        rack.shm.incr("watchers")
        found = []
        for _ in range(count):
            changes.next(timeout=PATIENCE)
            found.append(time.perf_counter())
    return found


def _write_watched(count: int, watchers: int) -> list[float]:
    shm = rack.shm
    until = time.monotonic() + PATIENCE
    while shm.get("watchers") != watchers:
        if time.monotonic() > until:
            raise TimeoutError("not all watchers are there")
        time.sleep(_APART)
    del shm["watchers"]
    times = []
    for number in range(count):
        time.sleep(_APART)
        times.append(time.perf_counter())
        shm["watched"] = number
    return times


def _fill(size: int) -> None:
    shm, piece = rack.shm, b"x" * _PIECE
    for number in range(size // _PIECE):
        shm[f"piece{number}"] = piece


def _replicate(size: int) -> float:
    begin = time.perf_counter()
    rack.shm.sync()
    seconds = time.perf_counter() - begin
    if len(rack.shm) != size // _PIECE:
        raise RuntimeError("the replica has not everything")
    return seconds
