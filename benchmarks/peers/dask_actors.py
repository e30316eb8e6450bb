"""Dask actors: objects that live in two worker processes, the usual local cluster."""

from __future__ import annotations

import os
import time
from typing import Any

from distributed import Client, LocalCluster

from ..peer import PATIENCE, Peer


class Worker:
    """Echo; and, told to, talk to another actor and return the seconds."""

    def __init__(self) -> None:
        self.seen = 0

    def echo(self, payload: bytes) -> bytes:
        return payload

    def pid(self) -> int:
        return os.getpid()

    def take(self, payload: bytes) -> None:
        self.seen += 1

    def round_trips(self, other: Any, count: int, size: int) -> float:
        payload = bytes(size)
        begin = time.perf_counter()
        for _ in range(count):
            other.echo(payload).result()
        return time.perf_counter() - begin

    def stream(self, other: Any, count: int, size: int) -> float:
        payload = bytes(size)
        begin = time.perf_counter()
        for future in [other.take(payload) for _ in range(count)]:
            future.result()
        return time.perf_counter() - begin


class DaskActors(Peer):
    """Two worker processes of one thread each; actors are placed on them in turn."""

    title = "Dask actors"
    distributions = ("distributed",)
    most = 10
    note = "two worker processes hold all actors: spawning starts no process"

    def start(self) -> None:
        self.cluster = LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            local_directory=os.environ["TMPDIR"],
        )
        self.client = Client(self.cluster)
        self.places = sorted(self.client.scheduler_info()["workers"])
        self.futures: list[Any] = []
        self.workers: list[Any] = []

    def stop(self) -> None:
        self.client.close()
        self.cluster.close()

    def spawn(self, count: int) -> None:
        self.futures = [
            self.client.submit(Worker, actor=True, pure=False, workers=[self.places[i % len(self.places)]])
            for i in range(count)
        ]
        self.workers = [future.result(PATIENCE) for future in self.futures]
        self.broadcast(b"up")

    def end(self) -> None:
        self.workers, self.futures = [], []

    def pids(self) -> list[int]:
        return [int(worker.pid().result(PATIENCE)) for worker in self.workers]

    def broadcast(self, payload: bytes) -> None:
        for future in [worker.echo(payload) for worker in self.workers]:
            future.result(PATIENCE)

    def ask(self, count: int, payload: bytes) -> None:
        worker = self.workers[0]
        for _ in range(count):
            worker.echo(payload).result(PATIENCE)

    def round_trips(self, count: int, size: int) -> float:
        one, two = self.workers
        return float(one.round_trips(two, count, size).result(PATIENCE))

    def stream(self, count: int, size: int) -> float:
        one, two = self.workers
        return float(one.stream(two, count, size).result(PATIENCE))
