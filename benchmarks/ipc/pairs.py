"""Two forked processes with a channel each way: the same loops for whatever is a send and a receive."""

from __future__ import annotations

import multiprocessing as mp
import time
from abc import abstractmethod
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from .. import processes
from ..peer import PATIENCE
from .peer import Ipc

Send = Callable[[bytes], object]
Receive = Callable[[], bytes]
#: Called in the process that the end is for.
Open = Callable[[], tuple[Send, Receive]]

#: Seconds after which a sender is done or blocked, and nothing grows any more.
_SETTLED = 2.0


class Pair(Ipc):
    """A way to pass bytes between two processes."""

    @abstractmethod
    def ends(self) -> tuple[Open, Open]:
        """Return both ends of a new channel that goes both ways."""

    def stream(self, count: int, size: int) -> float:
        return self._between(stream, take, count, size)

    def echoes(self, count: int, size: int) -> float:
        return self._between(ask, echo, count, size)

    def backlog(self, count: int, size: int) -> float:
        with Children() as children:
            one, two = self.ends()
            children.start(_idle, two)
            children.start(_pour, one, count, size, children.there)
            children.told()
            before = memory()
            children.here.send("go on")
            time.sleep(_SETTLED)
            return memory() - before

    def _between(self, sender: Any, receiver: Any, count: int, size: int) -> float:
        one, two = self.ends()
        with Children() as children:
            children.start(_receiving, receiver, two, count)
            children.start(_sending, sender, one, count, size, children.there)
            return float(children.told())


class Children:
    """Forked processes that tell their outcome through one Pipe, and end with the block."""

    def __enter__(self) -> Children:
        self.context = mp.get_context("fork")
        self.here, self.there = self.context.Pipe()
        self.all: list[mp.process.BaseProcess] = []
        return self

    def start(self, target: Callable[..., None], *args: Any) -> None:
        """Start a process."""
        process = self.context.Process(target=target, args=args, daemon=True)
        process.start()
        self.all.append(process)

    def told(self) -> Any:
        """Return what a process tells."""
        if not self.here.poll(PATIENCE):
            raise TimeoutError("no answer")
        return self.here.recv()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for process in self.all:
            process.terminate()
        for process in self.all:
            process.join(PATIENCE)
        self.here.close()
        self.there.close()


def _sending(action: Callable[..., float], end: Open, count: int, size: int, out: Connection[Any, Any]) -> None:
    send, receive = end()
    send(b"up")
    receive()
    out.send(action(send, receive, count, b"x" * size))
    time.sleep(PATIENCE)  # its buffers live until the other process has what is in them


def _receiving(action: Callable[..., None], end: Open, count: int) -> None:
    send, receive = end()
    send(receive())
    action(send, receive, count)
    time.sleep(PATIENCE)


def stream(send: Send, receive: Receive, count: int, payload: bytes) -> float:
    """Send a stream of messages; return the seconds until the other process has said that it has seen the last one."""
    begin = time.perf_counter()
    for _ in range(count):
        send(payload)
    receive()
    return time.perf_counter() - begin


def take(send: Send, receive: Receive, count: int) -> None:
    """Take a stream of messages, and say so."""
    for _ in range(count):
        receive()
    send(b"seen")


def ask(send: Send, receive: Receive, count: int, payload: bytes) -> float:
    """Send messages that come back, one after the other; return the seconds."""
    begin = time.perf_counter()
    for _ in range(count):
        send(payload)
        receive()
    return time.perf_counter() - begin


def echo(send: Send, receive: Receive, count: int) -> None:
    """Send back what comes."""
    for _ in range(count):
        send(receive())


def _pour(end: Open, count: int, size: int, out: Connection[Any, Any]) -> None:
    send, receive = end()
    send(b"up")
    receive()
    out.send("up")
    out.recv()
    for _ in range(count):
        send(b"x" * size)  # each in memory of its own
    time.sleep(PATIENCE)


def _idle(end: Open) -> None:
    send, receive = end()
    send(receive())
    time.sleep(PATIENCE)


def memory() -> float:
    """Return the unique memory of all processes of the run in bytes, but for the driver's."""
    return sum(processes.unique_memory(process) for process in processes.of_this_run())
