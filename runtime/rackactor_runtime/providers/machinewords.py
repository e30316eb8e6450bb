"""What a cloud's list says of a machine, in Nova's words, what these mean, and what is wanted done (effects)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rackactor_runtime.providers.base import Event, Key

#: Of these a machine does not come back by itself.
FINAL = frozenset({"SHUTOFF", "STOPPED", "DELETED", "SOFT_DELETED", "SHELVED", "SHELVED_OFFLOADED"})
#: It is there, and does not run.
STILL = frozenset({"PAUSED", "SUSPENDED", "RESCUE"})


@dataclass(frozen=True)
class Seen:
    """A machine in the cloud's list."""

    mark: str
    #: The cloud's own name for it.
    instance: str
    #: Nova's words: BUILD, ACTIVE, SHUTOFF, ERROR, DELETED, ...
    status: str
    fault: str = ""
    addresses: tuple[str, ...] = ()


def classify(fault: str) -> str:
    """Return the kind of a fault that is known by its text only, "" for others."""
    text = fault.lower()
    if "no valid host" in text:
        return "no-valid-host"
    if "quota" in text:
        return "quota"
    return "image" if "image" in text else ""


@dataclass(frozen=True)
class Ask:
    """Ask the cloud for a machine."""

    key: Key


@dataclass(frozen=True)
class List:
    """Have the cloud list the group's machines."""


@dataclass(frozen=True)
class Remove:
    """Ask the cloud for a machine's deletion, and whether anything of it is left."""

    key: Key
    instance: str | None
    #: Its console is worth reading first.
    console: bool


@dataclass(frozen=True)
class Tell:
    """Tell the supervisor."""

    event: Event


@dataclass(frozen=True)
class Say:
    """Say something to the machine's guest program."""

    key: Key
    fields: dict[str, Any]


Effect = Ask | List | Remove | Tell | Say
