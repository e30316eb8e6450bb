"""The provider port: where processes come from.

A provider starts, watches and destroys *instances*: OS processes (`local`) or virtual machines
(`nova`). It knows nothing of signals, mailboxes or exit statuses: those belong to the supervisor.
It never blocks the supervisor: `create` and `delete` only begin the work, and what became of it is
told by `events()`, which the supervisor drains whenever one of `fds()` is readable.

The one promise that everything else rests on: whatever `create` began, `Ended` (or `CreateFailed`)
is told for it exactly once, and when it has been told nothing of the instance is left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple, Protocol

#: The kind of a `CreateFailed` for a working directory that the process cannot enter.
NO_DIRECTORY = "directory"


class Key(NamedTuple):
    """Name one life of one process: what an instance is created for, and found again by."""

    pid: int
    incarnation: int


@dataclass(frozen=True)
class Order:
    """Ask for one instance."""

    key: Key
    #: The agent's birth data: plain msgpack values, handed to it unread.
    birth: dict[str, Any]
    #: Environment variables on top of the supervisor's own; None: it is not to be there.
    env: dict[str, str | None] = field(default_factory=dict)
    #: Working directory; None: the supervisor's.
    cwd: str | None = None
    #: Memory limit in bytes; None: no limit of its own.
    memory: int | None = None
    #: What else a process on one host has from its parent: see `rackactor.launch.process_context`, which made it.
    inherited: dict[str, Any] = field(default_factory=dict)
    #: Of the process, for people.
    name: str = ""
    #: Its parent's pid.
    ppid: int = 0
    #: Where and as what a machine is made: `image`, `flavor`, `availability_zone`, `keypair`, `security_groups`, ...
    #: Resolved by the supervisor: what a process is not told it has from its parent. Without effect on one host.
    placement: dict[str, Any] = field(default_factory=dict)
    #: Its arguments that are strings, which a machine carries in its metadata (RACK's convention).
    args: dict[str, str] = field(default_factory=dict)
    #: The first pid of the fork that this is of: what a cloud refuses to one of them by a quota, it refuses to all.
    fork: int = 0
    #: Seconds that a machine may take from when the cloud has begun it until its agent has joined.
    boot_timeout: float = 300.0
    #: When a machine ends itself whatever happens, seconds since the epoch; None: no such time. Later than when the
    #: supervisor ends it, which needs no help from the machine.
    deadline: float | None = None


class Liveness(Enum):
    """What a provider sees of an instance from outside, when its agent has fallen silent."""

    #: It runs, or could: silence is only slowness.
    RUNNING = "running"
    #: It exists and does not run (stopped, paused, suspended).
    STOPPED = "stopped"
    #: There is no such instance.
    GONE = "gone"
    #: The provider cannot tell.
    UNKNOWN = "unknown"


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
    #: The provider's reason, in its own words.
    fault: str
    #: What kind of reason, where it has a name: "quota", "no-valid-host", "image", "flavor", `NO_DIRECTORY`, ...
    kind: str = ""


@dataclass(frozen=True)
class Output:
    """Bytes the instance wrote to its standard output (1) or standard error (2)."""

    key: Key
    stream: int
    data: bytes


@dataclass(frozen=True)
class Ended:
    """The instance and everything that it had started is gone."""

    key: Key
    #: Exit code 0-255, or None when a signal ended it, or when the provider cannot know.
    code: int | None
    #: Signal number that ended it, or None.
    signal: int | None
    #: The memory limit ended it, or something that it had started.
    oom: bool = False
    #: The provider's own words on the end, "" for none.
    note: str = ""
    #: The provider knows that nobody in the group has asked for this end.
    outside: bool = False
    #: Somebody has deleted it: no machine does that to itself.
    deleted: bool = False


@dataclass(frozen=True)
class Located:
    """It is known where on the network the instance is."""

    key: Key
    address: str


@dataclass(frozen=True)
class Unkillable:
    """A delete is not confirmed: it is tried again and again, and `Ended` (or `CreateFailed`) comes when it is."""

    key: Key
    #: The provider's own words.
    words: str


@dataclass(frozen=True)
class Unanswered:
    """The cloud gives no clear answer to whoever asks it for this instance; it goes on being asked."""

    key: Key
    #: Since when, seconds before now.
    seconds: float
    #: The provider's own words.
    words: str


@dataclass(frozen=True)
class Owed:
    """An instance that was given up may still come to be, and would then be nobody's: it has to be looked for."""

    key: Key
    #: For how long, seconds.
    seconds: float


Event = Created | CreateFailed | Output | Ended | Located | Unkillable | Unanswered | Owed

#: Says something to the machine of an instance: nothing happens when it has not joined, or is gone.
Say = Callable[[Key, dict[str, Any]], None]


@dataclass(frozen=True)
class Capabilities:
    """What a provider can do, and what it needs."""

    #: Processes share neither directories nor loopback with the supervisor: they reach it by tcp only.
    remote: bool = False
    #: Instances are machines: it is a `MachineryProvider`, and is made with one setting more, `gid`.
    machines: bool = False
    #: It does some of its work before it is asked to: it is `Prewarming`.
    prewarms: bool = False
    #: It knows the group's directory: it is `Housed`.
    housed: bool = False
    #: The supervisor itself runs elsewhere: called with the order and the group's gid, it sees to that, answers as a
    #: supervisor does, and returns an exit status.
    launch: Callable[[dict[str, Any], str], int] | None = None
    #: Settings of the group that are other than elsewhere unless somebody says otherwise.
    defaults: Mapping[str, Any] = field(default_factory=dict)
    #: Seconds that `close` may take.
    closing: float = 5.0


class Provider(Protocol):
    """Start, watch and destroy instances. Made before the supervisor owns any socket or thread."""

    name: str
    #: An attribute of the class; an instance may have others of its own, for its settings say more.
    capabilities: Capabilities

    def fds(self) -> Sequence[int]:
        """Return the descriptors whose readability means that `events()` has something."""

    def create(self, order: Order) -> None:
        """Begin to make an instance. Never blocks, never raises for what the cloud may refuse."""

    def delete(self, key: Key) -> None:
        """Begin to destroy an instance and all it started, without its help. Idempotent."""

    def probe(self, key: Key) -> Liveness:
        """Look at an instance from outside, at once (no network round trip that may hang)."""

    def grant_output(self, key: Key, count: int) -> None:
        """Allow `count` more bytes of an instance's output to be read (credit; starts at 64 KiB)."""

    def events(self) -> list[Event]:
        """Return what happened since the last call, in order; never blocks."""

    def close(self, timeout: float) -> None:
        """Destroy whatever is left and give everything back, within `timeout` seconds."""


class MachineryProvider(Provider, Protocol):
    """A provider whose instances are machines: a program in each (`rackactor_runtime.guest`) joins the group too.

    An order's `birth` is then that of the guest program, plain JSON. What that program says and hears goes through the
    supervisor, and is nothing to it: `created`, `output`, `ended`, `failed`.
    """

    def connect(self, say: Say) -> None:
        """Learn, once, how to say something to the guest program of an instance."""

    def joined(self, key: Key, os_pid: int) -> None:
        """Learn that the guest program of an instance has joined."""

    def left(self, key: Key) -> None:
        """Learn that the guest program of an instance is no member any more."""

    def heard(self, key: Key, fields: dict[str, Any], blobs: Sequence[bytes]) -> None:
        """Learn what the guest program of an instance has said."""

    def last_act(self, kept: bool) -> None:
        """Do what has to come after everything else: the group has ended, and `close` was called.

        Args:
            kept: a keeper outside was there until the end, and removes what is left of the group.
        """


class Housed(Provider, Protocol):
    """A provider that knows the group's directory."""

    def moved(self, state_dir: str) -> None:
        """Learn that it is another one from now on: see the argument of that name."""


class Prewarming(Provider, Protocol):
    """A provider that does some of its work before it is asked to. All this is advice: nothing depends on it."""

    def expect(self, common: dict[str, Any]) -> None:
        """Learn what the birth data of all orders will have in common."""

    def settled(self) -> None:
        """Learn that whatever was ordered is up: nobody waits for anything."""

    def warm_up(self, timeout: float) -> None:
        """Wait until what is made ahead of time is there, or for `timeout` seconds: the group is about to open."""
