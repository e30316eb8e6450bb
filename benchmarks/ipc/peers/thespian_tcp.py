"""Thespian's multiprocTCPBase: messages from one actor to another."""

from __future__ import annotations

from ...peers import thespian_tcp
from ..peer import Ipc


class ThespianTCP(Ipc):
    """Two actors."""

    title = "Thespian TCP"
    distributions = ("thespian",)
    note = "messages between two actors of multiprocTCPBase"

    def start(self) -> None:
        self.actors = thespian_tcp.ThespianTCP()
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
