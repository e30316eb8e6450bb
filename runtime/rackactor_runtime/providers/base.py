"""The interface of providers, which supply processes.

A provider starts, watches and destroys *instances*: OS processes (`local`) or virtual machines
(`nova`). It knows nothing of signals, mailboxes or exit statuses: those belong to the supervisor.
It never blocks the supervisor: `create` and `delete` only begin the work. `events()` reports the results; the
supervisor calls it whenever one of `fds()` is readable.

Everything else rests on one promise: for whatever `create` began, `Ended` (or `CreateFailed`) is reported exactly
once, and after that report nothing of the instance is left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from enum import Enum
from typing import Any, NamedTuple, Protocol

from rackactor.records import dataclass
from rackactor.wire.calls.machine import MachineSays
from rackactor.wire.events import MachineEvent

#: The kind of a `CreateFailed` for a working directory that the process cannot enter.
NO_DIRECTORY = "directory"


class Key(NamedTuple):
    """Identifies one life of one process: an instance is created for it, and found again by it."""

    pid: int
    incarnation: int


@dataclass(frozen=True)
class Order:
    """A request for one instance."""

    key: Key
    #: The agent's birth data: plain msgpack values, passed on unread.
    birth: dict[str, Any]
    #: Environment variables on top of the supervisor's own; None: the variable is removed.
    env: dict[str, str | None] = field(default_factory=dict)
    #: Working directory; None: the supervisor's.
    cwd: str | None = None
    #: Memory limit in bytes; None: no limit of its own.
    memory: int | None = None
    #: What else a process on one host inherits from its parent: see `rackactor.launch.process_context`, which made it.
    inherited: dict[str, Any] = field(default_factory=dict)
    #: The process's name, for people.
    name: str = ""
    #: Its parent's pid.
    ppid: int = 0
    #: The options of a machine: `image`, `flavor`, `availability_zone`, `keypair`, `security_groups`, ...
    #: The supervisor has filled in the parent's where none were given. Without effect on one host.
    placement: dict[str, Any] = field(default_factory=dict)
    #: Its arguments that are strings, which a machine carries in its metadata (RACK's convention).
    args: dict[str, str] = field(default_factory=dict)
    #: The first pid of its fork: if a cloud's quota refuses one process of a fork, it refuses all of them.
    fork: int = 0
    #: Seconds that a machine may take from when the cloud has begun it until its agent has joined.
    boot_timeout: float = 300.0
    #: When a machine ends itself in any case, seconds since the epoch; None: never. This is later than the supervisor's
    #: own deadline for it, which does not depend on the machine.
    deadline: float | None = None


class Liveness(Enum):
    """A provider's view of an instance whose agent is silent."""

    #: It runs, or could run: the agent is only slow.
    RUNNING = "running"
    #: It exists, but does not run (stopped, paused, suspended).
    STOPPED = "stopped"
    #: There is no such instance.
    GONE = "gone"
    #: The provider cannot tell.
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class InstanceExit:
    """How an instance has ended, or why there never was one, as far as that is known."""

    #: Exit code 0-255, or None when a signal ended it, or when the provider cannot know.
    code: int | None = None
    #: Number of the signal that ended it, or None.
    signal: int | None = None
    #: The memory limit ended it, or something that it had started.
    oom: bool = False
    #: The provider's own message on the end, "" for none.
    note: str = ""
    #: The provider's own message on why it could not be made; None: it existed.
    fault: str | None = None
    #: The last of its output.
    tail: str = ""
    #: The kind of the fault, if it has a name: see `CreateFailed`.
    kind: str = ""
    #: The provider knows that nobody in the group has asked for this end.
    outside: bool = False
    #: Somebody has deleted it, which no machine does to itself.
    deleted: bool = False


@dataclass(frozen=True)
class Created:
    """The instance exists and its agent was started."""

    key: Key
    #: The provider's own name for it (an OS pid, a server id).
    instance: str


@dataclass(frozen=True)
class CreateFailed:
    """The instance could not be made, and nothing of it is left."""

    key: Key
    #: The provider's own message on the reason.
    fault: str
    #: The kind of the reason, if it has a name: "quota", "no-valid-host", "image", "flavor", `NO_DIRECTORY`, ...
    kind: str = ""


@dataclass(frozen=True)
class Output:
    """Bytes the instance wrote to its standard output (1) or standard error (2)."""

    key: Key
    stream: int
    data: bytes


@dataclass(frozen=True)
class Ended:
    """The instance and everything that it had started are gone."""

    key: Key
    #: Exit code 0-255, or None when a signal ended it, or when the provider cannot know.
    code: int | None
    #: Number of the signal that ended it, or None.
    signal: int | None
    #: The memory limit ended it, or something that it had started.
    oom: bool = False
    #: The provider's own message on the end, "" for none.
    note: str = ""
    #: The provider knows that nobody in the group has asked for this end.
    outside: bool = False
    #: Somebody has deleted it, which no machine does to itself.
    deleted: bool = False


@dataclass(frozen=True)
class Located:
    """The instance's place on the network has become known."""

    key: Key
    address: str


@dataclass(frozen=True)
class Unkillable:
    """A delete is not confirmed. It is repeated; `Ended` (or `CreateFailed`) is reported when it is confirmed."""

    key: Key
    #: The provider's own message.
    words: str


@dataclass(frozen=True)
class Unanswered:
    """The cloud gives no clear answer to requests for this instance; the requests are repeated."""

    key: Key
    #: For how long, seconds.
    seconds: float
    #: The provider's own message.
    words: str


@dataclass(frozen=True)
class Owed:
    """An instance that was given up may still appear, and would then belong to nobody: it must be looked for."""

    key: Key
    #: For how long, seconds.
    seconds: float


Event = Created | CreateFailed | Output | Ended | Located | Unkillable | Unanswered | Owed

#: Sends a message to the machine of an instance; does nothing if the machine has not joined, or is gone.
Say = Callable[[Key, MachineEvent], None]


@dataclass(frozen=True)
class Capabilities:
    """What a provider can do, and what it needs."""

    #: Processes share neither directories nor loopback with the supervisor, and reach it by tcp only.
    remote: bool = False
    #: Instances are machines: it is a `MachineryProvider`, and gets one more setting, `gid`.
    machines: bool = False
    #: It does some of its work ahead of time: it is `Prewarming`.
    prewarms: bool = False
    #: It knows the group's directory: it is `Housed`.
    housed: bool = False
    #: The supervisor itself runs elsewhere: this function, called with the order and the group's gid, starts it there,
    #: answers as a supervisor does, and returns an exit status.
    launch: Callable[[dict[str, Any], str], int] | None = None
    #: Its own defaults for settings of the group.
    defaults: Mapping[str, Any] = field(default_factory=dict)
    #: Seconds that `close` may take.
    closing: float = 5.0


class Provider(Protocol):
    """Starts, watches and destroys instances. Made before the supervisor owns any socket or thread."""

    name: str
    #: An attribute of the class; an instance may have different ones, depending on its settings.
    capabilities: Capabilities

    def fds(self) -> Sequence[int]:
        """Return the descriptors whose readability means that `events()` has something."""

    def create(self, order: Order) -> None:
        """Begin to make an instance. Never blocks, and never raises errors of the cloud."""

    def delete(self, key: Key) -> None:
        """Begin to destroy an instance and all that it started, without its help. Idempotent."""

    def probe(self, key: Key) -> Liveness:
        """Check an instance from outside, at once (without a network round trip that may hang)."""

    def grant_output(self, key: Key, count: int) -> None:
        """Allow `count` more bytes of an instance's output to be read (credit; starts at 64 KiB)."""

    def events(self) -> list[Event]:
        """Return what happened since the last call, in order; never blocks."""

    def close(self, timeout: float) -> None:
        """Destroy whatever is left and release all resources, within `timeout` seconds."""


class MachineryProvider(Provider, Protocol):
    """A provider whose instances are machines: a program on each (`rackactor_runtime.guest`) joins the group, too.

    An order's `birth` is then that of the guest program, plain JSON. The supervisor relays the messages to and from
    that program without reading them: `created`, `output`, `ended`, `failed`.
    """

    def connect(self, say: Say) -> None:
        """Store the function that sends a message to the guest program of an instance; called once."""

    def joined(self, key: Key, os_pid: int) -> None:
        """Note that the guest program of an instance has joined."""

    def left(self, key: Key) -> None:
        """Note that the guest program of an instance is no longer a member."""

    def heard(self, key: Key, said: MachineSays, blobs: Sequence[bytes]) -> None:
        """Process a message of the guest program of an instance."""

    def last_act(self, kept: bool) -> None:
        """Do the very last action: the group has ended, and `close` was called.

        Args:
            kept: a keeper outside existed until the end, and removes what is left of the group.
        """


class Housed(Provider, Protocol):
    """A provider that knows the group's directory."""

    def moved(self, state_dir: str) -> None:
        """Note that the directory has changed: see the argument of that name."""


class Prewarming(Provider, Protocol):
    """A provider that does some of its work ahead of time. These calls are hints: nothing depends on them."""

    def expect(self, common: dict[str, Any]) -> None:
        """Note the part that the birth data of all orders will share."""

    def settled(self) -> None:
        """Note that all ordered instances are up: nobody waits for anything."""

    def warm_up(self, timeout: float) -> None:
        """Wait for what is made ahead of time, for `timeout` seconds at most: the group is about to open."""
