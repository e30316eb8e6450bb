"""Ray: calls of an actor's method as messages, `ray.put` and `ray.get` as keys."""

from __future__ import annotations

import time

import ray

from ...peers.ray_actors import RayActors
from ..peer import VALUE, Ipc


class RayStore(Ipc):
    """Two actors, and the object store of their host."""

    title = "Ray"
    distributions = ("ray",)
    note = "messages are calls of an actor's method; a value put is never changed, so there is no key to write again"

    def start(self) -> None:
        self.actors = RayActors()
        self.actors.start()

    def stop(self) -> None:
        self.actors.stop()

    def end(self) -> None:
        self.actors.end()

    def stream(self, count: int, size: int) -> float:
        self._two()
        return self.actors.stream(count, size)

    def echoes(self, count: int, size: int) -> float:
        self._two()
        return self.actors.round_trips(count, size)

    def _two(self) -> None:
        if not self.actors.workers:
            self.actors.spawn(2)

    def read(self, count: int) -> float:
        reference = ray.put(b"x" * VALUE)
        begin = time.perf_counter()
        for _ in range(count):
            ray.get(reference)
        return time.perf_counter() - begin

    def write(self, count: int) -> float:
        value = b"x" * VALUE
        begin = time.perf_counter()
        for _ in range(count):
            ray.put(value)
        return time.perf_counter() - begin
