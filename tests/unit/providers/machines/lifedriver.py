"""Drive the lives of machines without a cloud: its answers in, effects out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rackactor_runtime.providers.base import (
    Event,
    Key,
)
from rackactor_runtime.providers.machines.effects import (
    Ask,
    Discard,
    Effect,
    Find,
    List,
    Remove,
    Say,
    Seen,
    Tell,
)
from rackactor_runtime.providers.machines.lifecycle import Machines

A, B = Key(3, 1), Key(4, 1)


@dataclass
class Driver:
    """Machines, a clock, and what they wanted done and have told."""

    lives: Machines = field(default_factory=lambda: Machines("gid", 2))
    now: float = 100.0
    told: list[Event] = field(default_factory=list)
    said: list[Say] = field(default_factory=list)
    wanted: list[Effect] = field(default_factory=list)

    def do(self, effects: list[Effect]) -> list[Effect]:
        """Sort effects; return those that the cloud is asked for."""
        self.told += [effect.event for effect in effects if isinstance(effect, Tell)]
        self.said += [effect for effect in effects if isinstance(effect, Say)]
        asked = [effect for effect in effects if isinstance(effect, (Ask, Discard, Find, List, Remove))]
        self.wanted += asked
        return asked

    def take(self, kind: type[Any]) -> list[Any]:
        """Take the wishes of one kind."""
        found = [effect for effect in self.wanted if isinstance(effect, kind)]
        self.wanted = [effect for effect in self.wanted if not isinstance(effect, kind)]
        return found

    def order(self, key: Key = A) -> None:
        self.do(self.lives.order(key, self.now))

    def up(self, key: Key = A) -> str:
        """Have a machine come up; return its name."""
        self.order(key)
        assert self.take(Ask) == [Ask(key)]
        self.do(self.lives.asked(key, f"i{key.pid}", self.now))
        self.do(self.lives.joined(key, self.now))
        return f"i{key.pid}"

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.do(self.lives.tick(self.now))

    def listed(self, *seen: Seen) -> None:
        """Wait for the next list, and answer it."""
        while not self.take(List):
            self.wait(0.1)
        self.do(self.lives.listed({each.mark: each for each in seen}, self.now))


def seen(key: Key = A, status: str = "ACTIVE", **more: Any) -> Seen:
    return Seen(f"gid.{key.pid}.{key.incarnation}", f"i{key.pid}", status, **more)


def both(drive: Driver, *rows: Seen) -> None:
    while not drive.take(List):
        drive.wait(0.1)
    drive.do(drive.lives.listed(rows, drive.now))
