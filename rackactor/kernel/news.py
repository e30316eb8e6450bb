"""What a kernel tells its own process of, beside what the supervisor says (`rackactor.wire.events`)."""

from __future__ import annotations

from typing import NamedTuple

from rackactor.kernel.peers import Delivery


class GroupOver(NamedTuple):
    """The group has ended for this process."""

    reason: str


class StdinArrived(NamedTuple):
    """Something for standard input has come: it goes with it, and is empty at the end."""

    pid: int
    cost: int


class NameAsked(NamedTuple):
    """A child asks for what a name of the main module stands for."""

    delivery: Delivery


class Undelivered(NamedTuple):
    """A message, which goes with it, has found nobody."""

    pid: int
    box: int = 0
