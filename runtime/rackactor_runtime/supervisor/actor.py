"""The supervisor is an actor: events come in as messages, and what it wants done goes out as messages.

So its whole behaviour can be driven without a socket: hand it events, and look at what it sends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from thespian.actors import Actor, ActorAddress

from rackactor_runtime.supervisor.decisions.calls.processes import Calls
from rackactor_runtime.supervisor.decisions.lifecycle import Core
from rackactor_runtime.supervisor.decisions.messages import (
    Absent,
    Called,
    Event,
    Examined,
    InstanceCreated,
    InstanceEnded,
    InstanceLocated,
    InstanceOver,
    Joined,
    Malformed,
    Owed,
    OwnerGone,
    ServiceEnded,
    Severed,
    Unanswered,
    Unconfirmed,
)

#: Where effects go: the shell carries them out.
WORLD = ActorAddress("world")


@dataclass(frozen=True)
class Timed:
    """An event, and when it happened: monotonic and since the epoch, seconds."""

    event: Event
    now: float
    wall: float


class Supervisor(Actor):  # type: ignore[misc]
    """pid 1 of a group: adopts, reaps, routes, and ends what has to be ended."""

    def __init__(self, core: Core) -> None:
        super().__init__()
        self.core = core
        self._calls = Calls(core)

    def receiveMessage(self, message: Any, sender: ActorAddress) -> None:
        """Take a `Timed` event; send each effect to `WORLD`."""
        core = self.core
        core.now, core.wall = message.now, message.wall
        self._handle(message.event)
        self._calls.answer_starts()
        effects, core.effects = core.effects, []
        for effect in effects:
            self.send(WORLD, effect)

    def _handle(self, event: Event) -> None:
        core = self.core
        match event:
            case Called():
                self._calls.handle(event)
            case Joined(pid, os_pid, key):
                core.joined(pid, os_pid, key)
            case InstanceCreated(life, instance):
                core.created(life, instance)
            case InstanceLocated(life, address):
                core.machinery.located(life, address)
            case InstanceOver(life):
                core.machinery.over(life)
            case Unanswered(life, seconds, words):
                core.machinery.unanswered(life, seconds, words)
            case Owed(seconds):
                core.machinery.owed(seconds)
            case Unconfirmed(life, words):
                core.machinery.unconfirmed(life, words)
            case InstanceEnded():
                core.instance_ended(event)
            case Examined(life, vital):
                core.examined(life, vital)
            case Malformed(pid, words):
                record = core.table.get(pid)
                if record is not None:
                    core.expel(record, words)
            case Severed(pid, reason):
                core.severed(pid, reason)
            case OwnerGone(reason):
                core.owner_gone(reason)
            case ServiceEnded(pid, words):
                core.services.ended(pid, words)
            case Absent(seconds):
                core.excuse(seconds)
            case _:
                core.tick()
