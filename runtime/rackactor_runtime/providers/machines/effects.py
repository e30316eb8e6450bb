"""The rows of a cloud's list, the meanings of their states, and the effects that are wanted."""

from __future__ import annotations

from enum import Enum

from rackactor.records import dataclass
from rackactor.wire.events import MachineEvent
from rackactor_runtime.providers.base import Event, Key


class Condition(Enum):
    """The meaning of a cloud's status for a machine's life, the same for all decisions.

    The cloud reports a past moment, and its own records: a machine whose program reports runs,
    whatever its status.
    """

    #: It is being made, and may become anything.
    COMING = "coming"
    #: It runs, or comes back by itself: it reboots, is resized, or moves to another host.
    RUNNING = "running"
    #: It exists and does not run, and continues when somebody resumes it.
    STILL = "still"
    #: It does not run, and its processes are over; nobody of the group starts it again.
    OFF = "off"
    #: It is deleted; the cloud may still keep, and bill, what it was.
    GONE = "gone"
    #: The last thing that the cloud tried with it failed. It may never have run, and it may run all the same.
    FAILED = "failed"
    #: The cloud cannot tell: the host does not report, or the status is not known. That says nothing.
    UNKNOWN = "unknown"


#: Nova's statuses (https://docs.openstack.org/api-guide/compute/server_concepts.html), and names that other clouds use.
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
    """Return what a cloud's status means; an unknown status means nothing."""
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
    """Return the kind of a fault by its message, "" if it is unknown."""
    text = fault.lower()
    if "no valid host" in text:
        return "no-valid-host"
    if "quota" in text:
        return "quota"
    return "image" if "image" in text else ""


@dataclass(frozen=True)
class Ask:
    """Request a machine from the cloud."""

    key: Key


@dataclass(frozen=True)
class List:
    """Make the cloud list the group's machines."""


@dataclass(frozen=True)
class Remove:
    """Request a machine's deletion, and whether anything of it is left."""

    key: Key
    instance: str | None
    #: Its console should be read first.
    console: bool


@dataclass(frozen=True)
class Find:
    """Ask the cloud for one machine by the cloud's own name, since the lists lack it."""

    key: Key
    instance: str


@dataclass(frozen=True)
class Discard:
    """Make the cloud delete one machine that counts for no life, and no other one with its mark."""

    mark: str
    instance: str


@dataclass(frozen=True)
class Tell:
    """Report to the supervisor."""

    event: Event


@dataclass(frozen=True)
class Say:
    """Send a message to the machine's guest program."""

    key: Key
    event: MachineEvent


Effect = Ask | List | Find | Remove | Discard | Tell | Say
