"""The supervisor is an actor: events come in as messages, and what it wants done goes out as messages.

So its whole behaviour can be driven without a socket: hand it events, and look at what it sends. Between the two lies
the commit point: what it has decided is stored before anybody hears of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from thespian.actors import Actor, ActorAddress

from rackactor_runtime.supervisor.decisions.decide import decide
from rackactor_runtime.supervisor.decisions.messages import Event
from rackactor_runtime.supervisor.decisions.state import GroupState

#: Where effects go: the loop carries them out.
WORLD = ActorAddress("world")


class Store(Protocol):
    """Where the state of a group is kept, so that another supervisor could go on with it."""

    def commit(self, state: GroupState) -> None:
        """Keep what has changed; returns when it cannot be lost any more."""


class NullStore:
    """Keeps nothing: the group ends with its supervisor."""

    def commit(self, state: GroupState) -> None:
        """Forget it."""


@dataclass(frozen=True)
class Timed:
    """An event, when it happened, and random bytes for what is decided on it; see `decide`."""

    event: Event
    now: float
    wall: float
    entropy: bytes


class Supervisor(Actor):  # type: ignore[misc]
    """pid 1 of a group: adopts, reaps, routes, and ends what has to be ended."""

    def __init__(self, state: GroupState, store: Store) -> None:
        super().__init__()
        self._state = state
        self._store = store

    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        """Take a `Timed` event; send each effect to `WORLD`."""
        effects = decide(self._state, message.event, message.now, message.wall, message.entropy)
        self._store.commit(self._state)
        for effect in effects:
            self.send(WORLD, effect)
