"""Bare pyzmq: two processes, one PAIR socket each over ipc, no actor in sight. The floor."""

from __future__ import annotations

import multiprocessing as mp
import os
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import zmq

from ..peer import PATIENCE, Peer, Unsupported

Action = Callable[[zmq.Socket[bytes], int, bytes], None]


def _serve(endpoint: str) -> None:
    """Answer what comes; b"take" + a count takes that many in silence and then says so; b"" ends."""
    with zmq.Context() as context, context.socket(zmq.PAIR) as socket:
        socket.bind(endpoint)
        while message := socket.recv():
            if message.startswith(b"take"):
                for _ in range(int(message[4:])):
                    socket.recv()
            socket.send(message)


def _run(action: Action, endpoint: str, out: Any, count: int, size: int) -> None:
    with zmq.Context() as context, context.socket(zmq.PAIR) as socket:
        socket.connect(endpoint)
        socket.send(b"up")
        socket.recv()
        begin = time.perf_counter()
        action(socket, count, b"x" * size)
        out.send(time.perf_counter() - begin)
        socket.send(b"")


def _round_trips(socket: zmq.Socket[bytes], count: int, payload: bytes) -> None:
    for _ in range(count):
        socket.send(payload)
        socket.recv()


def _stream(socket: zmq.Socket[bytes], count: int, payload: bytes) -> None:
    socket.send(b"take%d" % count)
    for _ in range(count):
        socket.send(payload)
    socket.recv()


class BareZeroMQ(Peer):
    """Messages only: what any runtime over ZeroMQ in Python could reach at best."""

    title = "bare pyzmq (the floor)"
    distributions = ("pyzmq",)
    note = "two processes, PAIR over ipc: messages only"

    def spawn(self, count: int) -> None:
        if count != 2:
            raise Unsupported("sockets only: it has no workers")

    def end(self) -> None:
        """Nothing outlives a measure."""

    def pids(self) -> list[int]:
        raise Unsupported("sockets only: it has no workers")

    def broadcast(self, payload: bytes) -> None:
        raise Unsupported("sockets only: it has no workers")

    def ask(self, count: int, payload: bytes) -> None:
        raise Unsupported("the same as between two processes")

    def round_trips(self, count: int, size: int) -> float:
        return self._between(_round_trips, count, size)

    def stream(self, count: int, size: int) -> float:
        return self._between(_stream, count, size)

    def _between(self, action: Action, count: int, size: int) -> float:
        context = mp.get_context("fork")
        here, there = context.Pipe()
        with tempfile.TemporaryDirectory() as folder:
            endpoint = "ipc://" + os.path.join(folder, "s")
            pair = [
                context.Process(target=_serve, args=(endpoint,), daemon=True),
                context.Process(target=_run, args=(action, endpoint, there, count, size), daemon=True),
            ]
            for process in pair:
                process.start()
            seconds = _received(here)
            for process in pair:
                process.join(PATIENCE)
        return seconds


def _received(pipe: Connection[Any, Any]) -> float:
    if not pipe.poll(PATIENCE):
        raise TimeoutError("no answer")
    return float(pipe.recv())
