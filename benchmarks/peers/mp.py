"""`multiprocessing`: a Process and a Pipe each, which is the fastest that it offers."""

from __future__ import annotations

import multiprocessing as mp
import os
import time
from multiprocessing.connection import Connection
from multiprocessing.context import ForkContext, SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any, ClassVar

from ..peer import PATIENCE, Peer


def _work(pipe: Connection[Any, Any]) -> None:
    """Answer with what came; None ends, "pid" and ("seen", n) are questions about the worker itself."""
    seen = 0
    while (message := pipe.recv()) is not None:
        match message:
            case "pid":
                pipe.send(os.getpid())
            case ("take", int(count)):
                while seen < count:
                    pipe.recv()
                    seen += 1
                pipe.send(seen)
                seen = 0
            case _:
                pipe.send(message)


def _round_trips(pipe: Connection[Any, Any], out: Connection[Any, Any], count: int, size: int) -> None:
    payload = bytes(size)
    _wait_until_up(pipe)
    begin = time.perf_counter()
    for _ in range(count):
        pipe.send(payload)
        pipe.recv()
    out.send(time.perf_counter() - begin)
    pipe.send(None)


def _stream(pipe: Connection[Any, Any], out: Connection[Any, Any], count: int, size: int) -> None:
    payload = bytes(size)
    _wait_until_up(pipe)
    pipe.send(("take", count))
    begin = time.perf_counter()
    for _ in range(count):
        pipe.send(payload)
    assert pipe.recv() == count
    out.send(time.perf_counter() - begin)
    pipe.send(None)


def _wait_until_up(pipe: Connection[Any, Any]) -> None:
    pipe.send(b"up")
    pipe.recv()


class Multiprocessing(Peer):
    """Workers behind one duplex Pipe each; pairs of workers get a Pipe of their own."""

    context: ClassVar[SpawnContext | ForkContext]

    def start(self) -> None:
        self.workers: list[tuple[BaseProcess, Connection[Any, Any]]] = []

    def stop(self) -> None:
        self.end()

    def spawn(self, count: int) -> None:
        for _ in range(count):
            here, there = self.context.Pipe()
            process = self.context.Process(target=_work, args=(there,), daemon=True)
            process.start()
            there.close()
            self.workers.append((process, here))
        self.broadcast(b"up")

    def end(self) -> None:
        for _, pipe in self.workers:
            pipe.send(None)
        for process, pipe in self.workers:
            process.join(PATIENCE)
            pipe.close()
        self.workers = []

    def pids(self) -> list[int]:
        return [_asked(pipe, "pid") for _, pipe in self.workers]

    def broadcast(self, payload: bytes) -> None:
        for _, pipe in self.workers:
            pipe.send(payload)
        for _, pipe in self.workers:
            pipe.recv()

    def ask(self, count: int, payload: bytes) -> None:
        pipe = self.workers[0][1]
        for _ in range(count):
            pipe.send(payload)
            pipe.recv()

    def round_trips(self, count: int, size: int) -> float:
        return self._between(_round_trips, count, size)

    def stream(self, count: int, size: int) -> float:
        return self._between(_stream, count, size)

    def _between(self, action: Any, count: int, size: int) -> float:
        """Run `action` in one new process against an echoing other one, and return its seconds."""
        one, two = self.context.Pipe()
        here, there = self.context.Pipe()
        pair = [
            self.context.Process(target=_work, args=(two,), daemon=True),
            self.context.Process(target=action, args=(one, there, count, size), daemon=True),
        ]
        for process in pair:
            process.start()
        if not here.poll(PATIENCE):
            raise TimeoutError("no answer")
        seconds = float(here.recv())
        for process in pair:
            process.join(PATIENCE)
        return seconds


def _asked(pipe: Connection[Any, Any], question: str) -> int:
    pipe.send(question)
    return int(pipe.recv())


class Spawn(Multiprocessing):
    """A new interpreter for each process."""

    title = "multiprocessing, spawn"
    context = mp.get_context("spawn")


class Fork(Multiprocessing):
    """A copy of the program, threads and locks left behind: fast, and unsafe in threaded programs."""

    title = "multiprocessing, fork"
    context = mp.get_context("fork")
    note = "a copy of the program itself: unsafe once it has threads"
