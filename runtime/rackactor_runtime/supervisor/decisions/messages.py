"""What the supervisor is told (events), and what it wants done (effects)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import Any

from rackactor.records import dataclass
from rackactor.wire.schema import Event as WireEvent
from rackactor_runtime.providers.base import InstanceExit, Key, Liveness, Order

# -- events ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Joined:
    """An agent presented its token."""

    pid: int
    os_pid: int
    key: bytes | None = None


@dataclass(frozen=True)
class Called:
    """A member made a system call."""

    pid: int
    rid: int
    op: str
    args: dict[str, Any]
    blobs: Sequence[Any] = ()


@dataclass(frozen=True)
class InstanceCreated:
    """The provider has made an instance."""

    key: Key
    instance: str


@dataclass(frozen=True)
class InstanceEnded:
    """The provider says that an instance is gone, or could not be made (`fault`)."""

    key: Key
    how: InstanceExit


@dataclass(frozen=True)
class InstanceLocated:
    """An instance's place on the network has become known."""

    key: Key
    address: str


@dataclass(frozen=True)
class InstanceOver:
    """The process of a machine has ended; the machine itself is still there."""

    key: Key


@dataclass(frozen=True)
class Unanswered:
    """The provider has had no clear answer to a create for so many seconds, and goes on trying."""

    key: Key
    seconds: float
    words: str


@dataclass(frozen=True)
class Owed:
    """What the provider has given up may still appear, for so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Unconfirmed:
    """The provider cannot confirm a delete yet, and goes on trying."""

    key: Key
    words: str


@dataclass(frozen=True)
class Probed:
    """The provider has checked a silent instance."""

    key: Key
    liveness: Liveness


@dataclass(frozen=True)
class Severed:
    """A member has come back on a new connection, and what the old one lost is no longer kept."""

    pid: int
    reason: str


@dataclass(frozen=True)
class Malformed:
    """A member has sent something that breaks the protocol."""

    pid: int
    words: str


@dataclass(frozen=True)
class OwnerGone:
    """The program that made the group has ended."""

    reason: str


@dataclass(frozen=True)
class ServiceEnded:
    """The program of a service has ended, or could not be started."""

    pid: int
    words: str


@dataclass(frozen=True)
class Heard:
    """Members have sent something since the last such event."""

    pids: Sequence[int]


@dataclass(frozen=True)
class Corresponded:
    """Two members have exchanged their first message."""

    pid: int
    other: int


@dataclass(frozen=True)
class OperatorArrived:
    """A command line has presented the token that all command lines share; see `Entered`."""


@dataclass(frozen=True)
class GroupOpened:
    """The supervisor can be reached: the program that made the group is expected; see `Entered`."""

    #: The token with which it will join.
    token: bytes
    #: The operating system tells when that program dies.
    watched: bool


@dataclass(frozen=True)
class Absent:
    """The supervisor itself did not run: it was stopped, or got no processor time."""

    #: For how long.
    seconds: float


@dataclass(frozen=True)
class Ticked:
    """Time has passed."""


Event = (
    Joined
    | Heard
    | Corresponded
    | OperatorArrived
    | GroupOpened
    | Called
    | InstanceCreated
    | InstanceLocated
    | InstanceOver
    | InstanceEnded
    | Unanswered
    | Owed
    | Unconfirmed
    | Probed
    | Severed
    | Malformed
    | OwnerGone
    | ServiceEnded
    | Absent
    | Ticked
)

# -- effects --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Welcome:
    """Tell an agent who it is, and what it runs; then whatever was held for it."""

    pid: int
    fields: dict[str, Any]
    blobs: Sequence[Any] = ()


@dataclass(frozen=True)
class Reply:
    """Answer a system call."""

    pid: int
    rid: int
    ok: bool
    fields: dict[str, Any] = field(default_factory=dict)
    blobs: Sequence[Any] = ()


@dataclass(frozen=True)
class Notify:
    """Tell a member something that it has not asked for."""

    pid: int
    event: WireEvent
    blobs: Sequence[Any] = ()


@dataclass(frozen=True)
class Create:
    """Ask the provider for an instance."""

    order: Order


@dataclass(frozen=True)
class Delete:
    """Ask the provider to destroy an instance."""

    key: Key


@dataclass(frozen=True)
class Probe:
    """Ask the provider to check a silent instance."""

    key: Key


@dataclass(frozen=True)
class StartService:
    """Start the program of a service, which joins with this token."""

    pid: int
    incarnation: int
    name: str
    token: bytes


@dataclass(frozen=True)
class StopService:
    """Kill the program of a service."""

    pid: int


@dataclass(frozen=True)
class Entered:
    """A member that was not forked has a pid now."""

    pid: int


@dataclass(frozen=True)
class Dismiss:
    """A process is no longer a member: revoke its key, forget its connection and the messages held for it."""

    pid: int


@dataclass(frozen=True)
class Finish:
    """The group is empty: the supervisor may end."""

    reason: str
    #: The instances whose end the provider has not confirmed, for people.
    left: Sequence[str] = ()


Effect = Welcome | Reply | Notify | Create | Delete | Probe | StartService | StopService | Entered | Dismiss | Finish
