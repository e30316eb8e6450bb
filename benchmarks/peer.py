"""The small interface that every peer offers to the measures.

A peer is one way to have processes that answer messages. The measures (`measures.py`) call it and hold
the clock, except for what happens between two workers, where a worker holds it. Ways of inter-process
communication are `Entrant`s too, with an interface of their own (`ipc/peer.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import ClassVar, Self

#: Seconds that any single wait inside a peer may take.
PATIENCE = 60.0
#: Why there is no figure, where a dash says enough.
LACKING = "it has no such thing"


class Unsupported(Exception):
    """This peer has no such thing; the text says why."""


class Entrant(ABC):
    """Start with `with`, take part in the measures, and leave nothing behind."""

    #: What the table calls it.
    title: ClassVar[str]
    #: Distributions whose versions belong to the figures.
    distributions: ClassVar[tuple[str, ...]] = ()
    #: The most workers that it is asked for: the others get 100 in the broadcast.
    most: ClassVar[int] = 100
    #: What a reader of the table must know about it.
    note: ClassVar[str] = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:  # noqa: B027  (some peers have nothing to start)
        """Start what must run before the first worker can."""

    def stop(self) -> None:  # noqa: B027
        """End everything that `start` began."""

    def end(self) -> None:  # noqa: B027
        """End whatever a measure has left running, and wait until it has ended."""


class Peer(Entrant):
    """Spawn workers, talk to them, end them."""

    @abstractmethod
    def spawn(self, count: int) -> None:
        """Start `count` workers and return when each has answered one message."""

    def gather(self, count: int, *, wait: bool) -> None:
        """Start `count` workers and return when each has answered; `wait`: and have the call wait until all are up."""
        raise Unsupported(LACKING)

    @abstractmethod
    def end(self) -> None:
        """End all workers, and wait until they have ended."""

    @abstractmethod
    def pids(self) -> list[int]:
        """Return the workers' OS pids, asked of themselves."""

    @abstractmethod
    def broadcast(self, payload: bytes) -> None:
        """Send `payload` to every worker and return when every answer is here."""

    @abstractmethod
    def ask(self, count: int, payload: bytes) -> None:
        """Make `count` round trips, one after the other, from this process to a worker."""

    @abstractmethod
    def round_trips(self, count: int, size: int) -> float:
        """Have one worker make `count` round trips of `size` bytes to another; return its seconds."""

    @abstractmethod
    def stream(self, count: int, size: int) -> float:
        """Have one worker send `count` messages of `size` bytes to another, one way.

        Returns:
            Seconds, on the sender's clock, from the first send until it knows that the receiver has seen them all.
        """
