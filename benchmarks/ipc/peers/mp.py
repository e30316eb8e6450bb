"""`multiprocessing`: its Pipe, its Queue, and a dict in its Manager."""

from __future__ import annotations

import multiprocessing as mp
import time
from functools import partial
from typing import Any

from ..pairs import Open, Pair, Receive, Send
from ..peer import BATCH, SMALL_VALUE, VALUE, Ipc

_CONTEXT = mp.get_context("fork")


class Pipe(Pair):
    """One duplex Pipe."""

    title = "multiprocessing Pipe"

    def ends(self) -> tuple[Open, Open]:
        one, two = _CONTEXT.Pipe()
        return partial(_methods, one, "send", one, "recv"), partial(_methods, two, "send", two, "recv")


class Queue(Pair):
    """A Queue each way: many may write and read."""

    title = "multiprocessing Queue"

    def ends(self) -> tuple[Open, Open]:
        there: Any = _CONTEXT.Queue()
        back: Any = _CONTEXT.Queue()
        return partial(_methods, there, "put", back, "get"), partial(_methods, back, "put", there, "get")


def _methods(sender: Any, send: str, receiver: Any, receive: str) -> tuple[Send, Receive]:
    return getattr(sender, send), getattr(receiver, receive)


class ManagerDict(Ipc):
    """A dict in a process of its own, asked through a proxy."""

    title = "multiprocessing Manager dict"
    note = "pipelined writes are calls of `update` with 1000 keys each"

    def start(self) -> None:
        self.manager = _CONTEXT.Manager()
        self.dict: Any = self.manager.dict()

    def stop(self) -> None:
        self.manager.shutdown()

    def read(self, count: int) -> float:
        self.dict["key"] = b"x" * VALUE
        begin = time.perf_counter()
        for _ in range(count):
            self.dict["key"]
        return time.perf_counter() - begin

    def write(self, count: int) -> float:
        value = b"x" * VALUE
        begin = time.perf_counter()
        for _ in range(count):
            self.dict["key"] = value
        return time.perf_counter() - begin

    def pipelined(self, count: int) -> float:
        value = b"x" * SMALL_VALUE
        begin = time.perf_counter()
        for first in range(0, count, BATCH):
            self.dict.update({f"key{i}": value for i in range(min(BATCH, count - first))})
        return time.perf_counter() - begin
