"""The state of a group, as plain values: no socket, no clock, no callable. Only `decide` changes it.

Times are seconds of the group's own clock (see `turn.Turn.now`), except for those that people see: `created`, `started`
and `ended` of a process are seconds since the epoch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, field, fields
from typing import Any, Protocol

from rackactor.records import dataclass
from rackactor_runtime.providers.base import Key
from rackactor_runtime.supervisor.decisions.pipe_table import Pipes
from rackactor_runtime.supervisor.decisions.results import Shelf
from rackactor_runtime.supervisor.decisions.settings import Settings
from rackactor_runtime.supervisor.decisions.source_table import Sources
from rackactor_runtime.supervisor.decisions.spawn_rate import Intensity
from rackactor_runtime.supervisor.decisions.starts import Starts
from rackactor_runtime.supervisor.decisions.table import Process, Table
from rackactor_runtime.supervisor.decisions.waits import Waits

#: Starts of one service that are remembered.
STARTS = 5


class TableView(Protocol):
    """What other parts of the supervisor see of the table."""

    def __iter__(self) -> Iterator[Process]: ...

    def get(self, pid: int) -> Process | None:
        """Return a process that is alive or has not been waited for."""

    def past(self, pid: int) -> Process | None:
        """Return a process that has been waited for, as long as it is remembered."""


class StateView(Protocol):
    """What other parts of the supervisor see of the state: they can change nothing."""

    @property
    def settings(self) -> Settings:
        """The settings that the group was made with."""

    @property
    def epoch(self) -> int:
        """The number of this life of the supervisor."""

    @property
    def table(self) -> TableView:
        """The processes."""

    @property
    def tokens(self) -> Mapping[bytes, int]:
        """Pids of members that are expected, by their tokens."""

    def lives(self, pid: int) -> bool:
        """Tell whether a pid is that of a living process."""


@dataclass
class Service:
    """A service of the group."""

    name: str
    #: The pid of its present life; None: it does not run.
    pid: int | None = None
    joined: bool = False
    boot_by: float | None = None
    #: (pid, number of the call) of those who wait for it.
    waiting: list[tuple[int, int]] = field(default_factory=list)
    #: When it was started, the last `STARTS` times.
    starts: deque[float] = field(default_factory=lambda: deque(maxlen=STARTS))
    #: How its last life ended.
    last_words: str = ""


@dataclass
class Shutdown:
    """The progress of the group's end."""

    #: Why the group ends; empty: it does not.
    reason: str = ""
    #: It outlives the program that made it, and ends with its last process.
    detached: bool = False
    #: Everything has ended, and everybody has been told.
    finished: bool = False
    #: (pid, number of the call) of those who are answered when everything is gone.
    callers: list[tuple[int, int]] = field(default_factory=list)
    #: Pid of the program that still reads the output: the supervisor stays until that program releases it, or ends.
    held_by: int = 0
    kill_at: float | None = None
    leave_at: float | None = None
    empty_since: float | None = None
    #: Ended processes that nobody will wait for, with the times when they are forgotten, the earliest first.
    kept: deque[tuple[float, int]] = field(default_factory=deque)


class GroupState:
    """The state of a group.

    Args:
        gid: of the group.
        name: of the group, for people.
        settings: those that the group was made with.
        services: names of the services that the supervisor can start.
        epoch: the number of this life of the supervisor.
        machines: whether processes are virtual machines.
        remote: whether they run where neither the script's disk nor the supervisor's directories can be seen.
        nearby: all members are on this host, and the operating system reports their ends, so idle members are not
            woken. They are checked from outside, and asked when that check, or a missing heartbeat, raises a doubt.
        python: (major, minor) of this interpreter: bytecode fits only one version, so senders of code must know it.
    """

    def __init__(
        self,
        gid: str,
        name: str,
        settings: Settings,
        *,
        services: Collection[str] = (),
        epoch: int = 1,
        machines: bool = False,
        remote: bool = False,
        nearby: bool = False,
        python: tuple[int, int] = (0, 0),
    ) -> None:
        self.gid, self.name, self.settings = gid, name, settings
        self.epoch = epoch
        self.machines = machines
        self.remote = remote
        self.nearby = nearby
        self.python = python
        #: The operating system reports the script's death, so its silence means nothing (a long C call, Ctrl-Z).
        self.owner_watched = False
        self.deadline_at: float | None = None
        #: Until when something may still appear in the cloud that nobody waits for any more.
        self.owed_until = 0.0
        self.table = Table(settings.history)
        self.waits = Waits(self.table)
        self.starts = Starts(self.table)
        self.intensity = Intensity(settings.max_spawns, settings.spawn_period)
        #: Pids of expected members, by their tokens.
        self.tokens: dict[bytes, int] = {}
        #: Names known in the whole group, and their owners.
        self.names: dict[str, int] = {}
        self.names_of: dict[int, list[str]] = {}
        #: The handler of dead letters, if any.
        self.dead_letters: int | None = None
        #: The capabilities of the group's actor system, by name: values that only its members open.
        self.capabilities: dict[str, bytes] = {}
        self.sources = Sources()
        self.services = {name: Service(name) for name in services}
        self.pipes = Pipes(settings.pipe_held)
        self.shelf = Shelf()
        #: Number of the last introduction.
        self.introductions = 0
        self.shutdown = Shutdown()

    def to_records(self) -> dict[str, Any]:
        """Return all of it as plain values, for `from_records`."""
        return {
            **{name: getattr(self, name) for name in _PLAIN},
            "settings": asdict(self.settings),
            "python": list(self.python),
            "names": [list(each) for each in self.names.items()],
            "names_of": [[pid, list(names)] for pid, names in self.names_of.items()],
            "tokens": [list(each) for each in self.tokens.items()],
            "capabilities": dict(self.capabilities),
            "table": self.table.to_record(),
            "waits": self.waits.to_record(),
            "starts": self.starts.to_record(),
            "intensity": self.intensity.to_record(),
            "sources": self.sources.to_record(),
            "services": [_plain(service) for service in self.services.values()],
            "pipes": self.pipes.to_record(),
            "shelf": self.shelf.to_record(),
            "shutdown": _plain(self.shutdown),
        }

    @classmethod
    def from_records(cls, records: dict[str, Any]) -> GroupState:
        """Make a state of what `to_records` gave."""
        state = cls(records["gid"], records["name"], Settings(**records["settings"]))
        for name in _PLAIN:
            setattr(state, name, records[name])
        major, minor = records["python"]
        state.python = (major, minor)
        state.names = dict(records["names"])
        state.names_of = {pid: list(names) for pid, names in records["names_of"]}
        state.tokens = dict(records["tokens"])
        state.capabilities = dict(records["capabilities"])
        state.table = Table.from_record(records["table"])
        state.waits, state.starts = Waits(state.table), Starts(state.table)
        state.waits.load(records["waits"])
        state.starts.load(records["starts"])
        state.intensity.load(records["intensity"])
        state.sources = Sources.from_record(records["sources"])
        for service in records["services"]:
            service = {**service, "waiting": _pairs(service["waiting"]), "starts": deque(service["starts"], STARTS)}
            state.services[service["name"]] = Service(**service)
        state.pipes = Pipes.from_record(records["pipes"])
        state.shelf.load(records["shelf"])
        shutdown = records["shutdown"]
        pairs = {"callers": _pairs(shutdown["callers"]), "kept": deque(_pairs(shutdown["kept"]))}
        state.shutdown = Shutdown(**{**shutdown, **pairs})
        return state

    def lives(self, pid: int) -> bool:
        """Tell whether a pid is that of a living process."""
        record = self.table.get(pid)
        return record is not None and record.alive

    def of(self, key: Key) -> Process | None:
        """Return the process of an instance, if the instance is its present life."""
        record = self.table.get(key.pid)
        return record if record is not None and record.incarnation == key.incarnation else None

    def sleeps(self, record: Process) -> bool:
        """Tell whether a member may sleep while it is idle. A command line's silence means its end."""
        return self.nearby and record.kind != "operator"

    def silence(self, record: Process, now: float) -> float:
        """Return for how long a member has not answered, seconds."""
        if not self.sleeps(record):
            return now - record.timers.heard
        return 0.0 if record.timers.asked is None else now - record.timers.asked


#: The attributes that are plain values themselves.
_PLAIN = (
    "gid",
    "name",
    "epoch",
    "machines",
    "remote",
    "nearby",
    "owner_watched",
    "deadline_at",
    "owed_until",
    "dead_letters",
    "introductions",
)


def _plain(record: Service | Shutdown) -> dict[str, Any]:
    """Return the fields of a record, sequences as lists."""
    values = {each.name: getattr(record, each.name) for each in fields(record)}
    return {name: list(map(_listed, it)) if isinstance(it, (list, deque)) else it for name, it in values.items()}


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _pairs(rows: Sequence[Sequence[Any]]) -> list[tuple[Any, Any]]:
    return [(one, two) for one, two in rows]
