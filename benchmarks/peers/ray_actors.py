"""Ray actors, with no CPU reserved for each, so that a crowd fits on a small machine."""

from __future__ import annotations

import logging
import os
import time
from typing import Any

import ray

from ..peer import PATIENCE, Peer


@ray.remote(num_cpus=0)
class Worker:
    """Echo; and, told to, talk to another worker and return the seconds."""

    def __init__(self) -> None:
        self.seen = 0

    def echo(self, payload: bytes) -> bytes:
        return payload

    def pid(self) -> int:
        return os.getpid()

    def take(self, payload: bytes) -> None:
        self.seen += 1

    def taken(self) -> int:
        seen, self.seen = self.seen, 0
        return seen

    def round_trips(self, other: Any, count: int, size: int) -> float:
        payload = bytes(size)
        begin = time.perf_counter()
        for _ in range(count):
            ray.get(other.echo.remote(payload))
        return time.perf_counter() - begin

    def stream(self, other: Any, count: int, size: int) -> float:
        payload = bytes(size)
        begin = time.perf_counter()
        for _ in range(count):
            other.take.remote(payload)
        assert ray.get(other.taken.remote()) == count
        return time.perf_counter() - begin


class RayActors(Peer):
    """A cluster of this machine alone, without dashboard."""

    title = "Ray actors"
    distributions = ("ray",)
    note = "actors with num_cpus=0; its own start-up (`start`) is not in the spawn figure"

    def start(self) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
        ray.init(
            num_cpus=os.cpu_count(),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=200_000_000,
            _temp_dir=os.environ["TMPDIR"],
        )
        self.workers: list[Any] = []

    def stop(self) -> None:
        ray.shutdown()

    def spawn(self, count: int) -> None:
        self.workers = [Worker.remote() for _ in range(count)]  # type: ignore[attr-defined]
        ray.get([worker.echo.remote(b"up") for worker in self.workers], timeout=3 * PATIENCE)

    def end(self) -> None:
        for worker in self.workers:
            ray.kill(worker)
        self.workers = []
        time.sleep(0.5)  # it tells nobody when they have ended

    def pids(self) -> list[int]:
        return list(ray.get([worker.pid.remote() for worker in self.workers], timeout=PATIENCE))

    def broadcast(self, payload: bytes) -> None:
        ray.get([worker.echo.remote(payload) for worker in self.workers], timeout=PATIENCE)

    def ask(self, count: int, payload: bytes) -> None:
        worker = self.workers[0]
        for _ in range(count):
            ray.get(worker.echo.remote(payload), timeout=PATIENCE)

    def round_trips(self, count: int, size: int) -> float:
        one, two = self.workers
        return float(ray.get(one.round_trips.remote(two, count, size), timeout=PATIENCE))

    def stream(self, count: int, size: int) -> float:
        one, two = self.workers
        return float(ray.get(one.stream.remote(two, count, size), timeout=PATIENCE))
