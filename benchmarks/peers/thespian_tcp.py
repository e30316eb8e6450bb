"""Thespian's own multiprocTCPBase: the same Actor model, on the system base that it ships."""

from __future__ import annotations

import os
import socket
import time
from typing import Any

from thespian.actors import ActorAddress, ActorExitRequest, ActorSystem, ActorTypeDispatcher

from ..peer import PATIENCE, Peer


class Worker(ActorTypeDispatcher):
    """Echo; and, told to, talk to another worker and report the seconds."""

    def receiveMsg_bytes(self, message: bytes, sender: ActorAddress) -> None:
        if self.__dict__.get("asking"):
            self._answered(message)
        elif self.__dict__.get("expected"):
            self._taken()
        else:
            self.send(sender, message)

    def receiveMsg_str(self, message: str, sender: ActorAddress) -> None:
        self.send(sender, os.getpid())

    def receiveMsg_tuple(self, message: tuple[Any, ...], sender: ActorAddress) -> None:
        match message:
            case ("round trips", other, int(count), int(size)):
                self.asking, self.other, self.left = sender, other, count
                self.begin = time.perf_counter()
                self.send(other, bytes(size))
            case ("stream", other, int(count), int(size)):
                self.asking, self.begin = sender, time.perf_counter()
                self.send(other, ("take", count))
                payload = bytes(size)
                for _ in range(count):
                    self.send(other, payload)
            case ("take", int(count)):
                self.expected, self.teller = count, sender
            case ("taken",):
                self._report()

    def _answered(self, message: bytes) -> None:
        self.left -= 1
        if self.left:
            self.send(self.other, message)
        else:
            self._report()

    def _taken(self) -> None:
        self.expected -= 1
        if not self.expected:
            self.send(self.teller, ("taken",))

    def _report(self) -> None:
        self.send(self.asking, time.perf_counter() - self.begin)
        self.asking = None


class ThespianTCP(Peer):
    """An actor system with an admin of its own on a free port."""

    title = "Thespian multiprocTCPBase"
    distributions = ("thespian",)
    most = 10

    def start(self) -> None:
        self.system = ActorSystem("multiprocTCPBase", {"Admin Port": _free_port()}, logDefs=_QUIET)
        self.workers: list[ActorAddress] = []

    def stop(self) -> None:
        self.system.shutdown()

    def spawn(self, count: int) -> None:
        self.workers = [self.system.createActor(Worker) for _ in range(count)]
        self.broadcast(b"up")

    def end(self) -> None:
        for worker in self.workers:
            self.system.tell(worker, ActorExitRequest())
        self.workers = []
        time.sleep(0.5)  # an external caller is told of no exit

    def pids(self) -> list[int]:
        return [int(self._ask(worker, "pid")) for worker in self.workers]

    def broadcast(self, payload: bytes) -> None:
        for worker in self.workers:
            self.system.tell(worker, payload)
        for _ in self.workers:
            if self.system.listen(PATIENCE) is None:
                raise TimeoutError("no answer")

    def ask(self, count: int, payload: bytes) -> None:
        for _ in range(count):
            self._ask(self.workers[0], payload)

    def round_trips(self, count: int, size: int) -> float:
        return float(self._ask(self.workers[0], ("round trips", self.workers[1], count, size)))

    def stream(self, count: int, size: int) -> float:
        return float(self._ask(self.workers[0], ("stream", self.workers[1], count, size)))

    def _ask(self, worker: ActorAddress, message: Any) -> Any:
        answer = self.system.ask(worker, message, PATIENCE)
        if answer is None:
            raise TimeoutError("no answer")
        return answer


_QUIET = {"version": 1, "handlers": {}, "root": {"level": "CRITICAL", "handlers": []}}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
