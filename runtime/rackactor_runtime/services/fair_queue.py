"""The order of requests to a service, which few threads answer, so that a slow request blocks no other client.

Pure: the owner defines what a request is. Requests of one strand (an open file, for example) are answered one after
the other, in order. Each client has only a few at work, so that there is always a thread for the next client.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import field
from typing import Generic, NamedTuple, TypeVar

from rackactor.records import dataclass

J = TypeVar("J")

#: Requests at work at the same time.
AT_ONCE = 16
#: The same for one client.
EACH = 4
#: Requests of one client that may wait; more are refused.
WAITING = 256
#: Clients remembered as gone; a pid is never used again.
REMEMBERED = 100_000


class Turn(NamedTuple, Generic[J]):
    """A request whose turn has come."""

    client: int
    strand: Hashable
    job: J


@dataclass
class _Client(Generic[J]):
    waiting: deque[tuple[Hashable, J]] = field(default_factory=deque)
    strands: set[Hashable] = field(default_factory=set)
    working: int = 0
    #: Done when the rest of the client's work is done, since the client is gone.
    last: J | None = None


class Turns(Generic[J]):
    """The order of work."""

    def __init__(self, at_once: int = AT_ONCE, each: int = EACH, waiting: int = WAITING) -> None:
        self._at_once = at_once
        self._each = each
        self._limit = waiting
        self._clients: dict[int, _Client[J]] = {}
        self._working = 0
        self._gone: dict[int, None] = {}

    def add(self, client: int, strand: Hashable, job: J) -> list[Turn[J]] | None:
        """Add a request (strand None: in no order with others); return the requests whose turn it is now.

        Returns: None if it is refused: this client has too many already, or is gone.
        """
        if client in self._gone:  # it came by another path, after the news of its sender's end
            return None
        mine = self._clients.setdefault(client, _Client())
        if len(mine.waiting) >= self._limit:
            return None
        mine.waiting.append((strand, job))
        return self._start()

    def done(self, turn: Turn[J]) -> list[Turn[J]]:
        """Mark a request as done; return the requests whose turn it is now."""
        self._working -= 1
        mine = self._clients.get(turn.client)
        if mine is not None:
            mine.working -= 1
            mine.strands.discard(turn.strand)
            if not mine.working and not mine.waiting and mine.last is None:
                del self._clients[turn.client]
        return self._start()

    def gone(self, client: int, last: J) -> list[Turn[J]]:
        """Mark a client as gone: waiting requests are dropped, and `last` is done after those at work."""
        self._gone[client] = None
        if len(self._gone) > REMEMBERED:
            del self._gone[next(iter(self._gone))]
        mine = self._clients.setdefault(client, _Client())
        mine.waiting.clear()
        mine.last = last
        return self._start()

    def _start(self) -> list[Turn[J]]:
        started: list[Turn[J]] = []
        for client in list(self._clients):
            while self._working < self._at_once and (turn := self._pick(client)) is not None:
                started.append(turn)
                self._working += 1
        return started

    def _pick(self, client: int) -> Turn[J] | None:
        mine = self._clients.get(client)
        if mine is None:
            return None
        if mine.last is not None and not mine.working:
            last, mine.last, mine.working = mine.last, None, 1
            return Turn(client, None, last)
        if mine.working >= self._each:
            return None
        for index, (strand, job) in enumerate(mine.waiting):
            if strand is None or strand not in mine.strands:
                del mine.waiting[index]
                mine.working += 1
                if strand is not None:
                    mine.strands.add(strand)
                self._clients[client] = self._clients.pop(client)  # the other clients come first next time
                return Turn(client, strand, job)
        return None
