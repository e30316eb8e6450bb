"""Whose turn it is: questions to a service, done by a bounded number of threads, so that a slow one holds up no other.

Pure: a question is whatever its owner says. Those of one strand (an open file, say) are done one after the other, in
order; one client has a few at work at the most, so that there is always a thread for the next client.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

J = TypeVar("J")

#: Questions at work at once.
AT_ONCE = 16
#: The same for one client.
EACH = 4
#: Questions of one client that may wait; more are refused.
WAITING = 256
#: Clients remembered as gone; a pid is never given twice.
REMEMBERED = 100_000


class Turn(NamedTuple, Generic[J]):
    """A question whose turn has come."""

    client: int
    strand: Hashable
    job: J


@dataclass
class _Client(Generic[J]):
    waiting: deque[tuple[Hashable, J]] = field(default_factory=deque)
    strands: set[Hashable] = field(default_factory=set)
    working: int = 0
    #: To be done when the rest of its work is: it is gone.
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
        """Take a question (strand None: in no order with others); return whose turn it is now.

        Returns: None when it is refused: this client has too many already, or is gone.
        """
        if client in self._gone:  # on a path of its own it may come after the news of its sender's end
            return None
        mine = self._clients.setdefault(client, _Client())
        if len(mine.waiting) >= self._limit:
            return None
        mine.waiting.append((strand, job))
        return self._start()

    def done(self, turn: Turn[J]) -> list[Turn[J]]:
        """Learn that a question is done; return whose turn it is now."""
        self._working -= 1
        mine = self._clients.get(turn.client)
        if mine is not None:
            mine.working -= 1
            mine.strands.discard(turn.strand)
            if not mine.working and not mine.waiting and mine.last is None:
                del self._clients[turn.client]
        return self._start()

    def gone(self, client: int, last: J) -> list[Turn[J]]:
        """Learn that a client is gone: what waits is dropped, and `last` is done after what is at work."""
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
                self._clients[client] = self._clients.pop(client)  # the others come first next time
                return Turn(client, strand, job)
        return None
