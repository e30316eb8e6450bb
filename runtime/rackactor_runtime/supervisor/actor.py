"""The supervisor is an actor: events come in as messages, and effects go out as messages.

So its whole behaviour can be tested without a socket: pass it events, and look at what it sends. Between the two is the
commit point: its decisions are stored before any effect is carried out.
"""

from __future__ import annotations

from typing import Any, Protocol

from thespian.actors import Actor, ActorAddress

from rackactor.records import dataclass
from rackactor_runtime.supervisor.decisions.decide import decide
from rackactor_runtime.supervisor.decisions.messages import Event
from rackactor_runtime.supervisor.decisions.state import GroupState

#: Where effects go: the loop carries them out.
WORLD = ActorAddress("world")


class Store(Protocol):
    """Stores the state of a group, so that another supervisor could continue with it."""

    def commit(self, state: GroupState) -> None:
        """Store the changes; returns when they cannot be lost any more."""


class NullStore:
    """Stores nothing: the group ends with its supervisor."""

    def commit(self, state: GroupState) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class Timed:
    """An event, its time, and random bytes for the decision; see `decide`."""

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
