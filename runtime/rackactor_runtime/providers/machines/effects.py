"""What a cloud's list says of a machine, in Nova's words, what these mean, and what is wanted done (effects)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from rackactor.wire.events import MachineEvent
from rackactor_runtime.providers.base import Event, Key


class Condition(Enum):
    """What a cloud's status says about a machine's life, the same for everyone who judges one.

    The cloud says it of a moment that is over, and of its own records: a machine whose program is heard runs,
    whatever its status.
    """

    #: It is being made, and may become anything.
    COMING = "coming"
    #: It runs, or comes back by itself: it reboots, is resized, or moves to another host.
    RUNNING = "running"
    #: It is there and does not run, and goes on where it was when somebody resumes it.
    STILL = "still"
    #: It does not run, and its processes are over; somebody may start it afresh, which nobody of the group does.
    OFF = "off"
    #: It is deleted; the cloud may still keep, and bill, what it was.
    GONE = "gone"
    #: The last thing that the cloud tried with it failed. It may never have run, and it may run all the same.
    FAILED = "failed"
    #: The cloud cannot tell: its host is not heard, or the word is not known. That is no news.
    UNKNOWN = "unknown"


#: Nova's statuses (https://docs.openstack.org/api-guide/compute/server_concepts.html), and words other clouds use.
CONDITIONS = {
    "BUILD": Condition.COMING,
    "ACTIVE": Condition.RUNNING,
    "HARD_REBOOT": Condition.RUNNING,
    "MIGRATING": Condition.RUNNING,
    "PASSWORD": Condition.RUNNING,
    "REBOOT": Condition.RUNNING,
    "REBUILD": Condition.RUNNING,
    "RESIZE": Condition.RUNNING,
    "REVERT_RESIZE": Condition.RUNNING,
    "VERIFY_RESIZE": Condition.RUNNING,
    "PAUSED": Condition.STILL,
    "RESCUE": Condition.STILL,
    "RESCUED": Condition.STILL,
    "SUSPENDED": Condition.STILL,
    "SHELVED": Condition.OFF,
    "SHELVED_OFFLOADED": Condition.OFF,
    "SHUTOFF": Condition.OFF,
    "STOPPED": Condition.OFF,
    "DELETED": Condition.GONE,
    "SOFT_DELETED": Condition.GONE,
    "ERROR": Condition.FAILED,
    "UNKNOWN": Condition.UNKNOWN,
}


def condition(status: str) -> Condition:
    """Return what a cloud's status means; a word that is not known means nothing."""
    return CONDITIONS.get(status.upper(), Condition.UNKNOWN)


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
class Find:
    """Ask the cloud for one machine by its own name for it, since the lists lack it."""

    key: Key
    instance: str


@dataclass(frozen=True)
class Discard:
    """Ask the cloud to delete one machine that counts for nobody, and no other of its mark."""

    mark: str
    instance: str


@dataclass(frozen=True)
class Tell:
    """Tell the supervisor."""

    event: Event


@dataclass(frozen=True)
class Say:
    """Say something to the machine's guest program."""

    key: Key
    event: MachineEvent


Effect = Ask | List | Find | Remove | Discard | Tell | Say
