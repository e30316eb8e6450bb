"""RackActor itself: a group on the local provider, every worker a process of it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import rackactor as rack

from ..peer import PATIENCE, Peer


class Echo(rack.Actor):
    """Echo bytes; answer a string with the OS pid."""

    def receiveMsg_bytes(self, message: bytes, sender: object) -> None:
        self.send(sender, message)

    def receiveMsg_str(self, message: str, sender: object) -> None:
        self.send(sender, os.getpid())


class Sink(rack.Actor):
    """Count bytes messages in silence; answer a string with the count, and start anew."""

    seen = 0

    def receiveMsg_bytes(self, message: bytes, sender: object) -> None:
        self.seen += 1

    def receiveMsg_str(self, message: str, sender: object) -> None:
        self.send(sender, self.seen)
        self.seen = 0


def _round_trips(pid: int, count: int, size: int) -> float:
    """Run in a process of the group: ask another one, by its pid."""
    other, payload = rack.process(pid), bytes(size)
    begin = time.perf_counter()
    for _ in range(count):
        other.ask(payload, timeout=PATIENCE)
    return time.perf_counter() - begin


def _stream(pid: int, count: int, size: int) -> float:
    other, payload = rack.process(pid), bytes(size)
    begin = time.perf_counter()
    for _ in range(count):
        other.tell(payload)
    seen = other.ask("seen", timeout=PATIENCE)
    if seen != count:
        raise RuntimeError(f"{seen} of {count} messages arrived")
    return time.perf_counter() - begin


class RackActor(Peer):
    """One group; between two processes the quoted round trip is `ask` by pid."""

    title = "RackActor"
    note = "its fork server has imported the workers' module (`preload`), as multiprocessing's fork inherits it"
    distributions = ("rackactor", "thespian", "pyzmq", "msgpack", "lmdb")

    def start(self) -> None:
        self.stack = ExitStack()
        # The workers' module is imported once for all, as multiprocessing's fork inherits the program's imports.
        preload = {"preload": [__name__]}
        self.group = self.stack.enter_context(rack.group("bench", provider_settings=preload))
        self.workers: list[rack.Process[Any]] = []
        self.sink: rack.Process[Any] | None = None

    def stop(self) -> None:
        self.stack.close()

    def spawn(self, count: int) -> None:
        self.workers = self.group.fork(Echo, n=count)
        self.broadcast(b"up")

    def gather(self, count: int, *, wait: bool) -> None:
        self.workers = self.group.fork(Echo, n=count, min_ok=count if wait else None)
        self.broadcast(b"up")

    def end(self) -> None:
        if self.sink is not None:
            self.workers.append(self.sink)
            self.sink = None
        _end(self.workers)
        self.workers = []

    def pids(self) -> list[int]:
        futures = [worker.submit("pid") for worker in self.workers]
        return [int(future.result(PATIENCE)) for future in futures]

    def broadcast(self, payload: bytes) -> None:
        for future in [worker.submit(payload) for worker in self.workers]:
            future.result(PATIENCE)

    def ask(self, count: int, payload: bytes) -> None:
        worker = self.workers[0]
        for _ in range(count):
            worker.ask(payload, timeout=PATIENCE)

    def round_trips(self, count: int, size: int) -> float:
        asker = self.group.fork(_round_trips, self.workers[0].pid, count, size)
        return float(asker.result(timeout=PATIENCE))

    def stream(self, count: int, size: int) -> float:
        if self.sink is None:
            self.sink = self.group.fork(Sink)
            self.sink.ask("up", timeout=PATIENCE)
        teller = self.group.fork(_stream, self.sink.pid, count, size)
        return float(teller.result(timeout=PATIENCE))


def _end(workers: Sequence[rack.Process[Any]]) -> None:
    for worker in workers:
        worker.kill()
    for worker in workers:
        worker.wait(timeout=PATIENCE)
