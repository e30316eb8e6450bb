"""The process table: a record for each process of the group, and their family relations."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import asdict, field, fields
from typing import Any

from rackactor.records import dataclass
from rackactor.status import Cause, ExitStatus, Signal, State, signal_name
from rackactor.wire.frames import SUPERVISOR
from rackactor_runtime.providers.base import Key

#: States of a living process.
ALIVE = frozenset({State.NEW, State.BOOTING, State.RUNNING, State.STOPPING, State.UNKILLABLE})


@dataclass
class Sent:
    """A signal on its way, for the record."""

    at: float
    sender: int
    signal: Signal

    def __str__(self) -> str:
        who = "the supervisor" if self.sender == SUPERVISOR else f"process {self.sender}"
        return f"{signal_name(self.signal)} from {who}"


@dataclass
class Timers:
    """The times of a process by the group's own clock, seconds."""

    #: When its agent was last heard.
    heard: float = 0.0
    #: When it must have joined, must end, will be killed.
    boot_by: float | None = None
    deadline: float | None = None
    kill_at: float | None = None
    #: When it was last checked from outside; when that last showed that it runs, if this was of interest.
    probed: float = 0.0
    ran: float = 0.0
    #: Since when an answer to the question whether it is alive is missing.
    asked: float | None = None

    def clear(self) -> None:
        """Drop all limits: it ends, or has ended."""
        self.boot_by = self.deadline = self.kill_at = None

    def excuse(self, away: float, now: float, *, fresh: bool) -> None:
        """Leave out the time in which nobody could be heard.

        Args:
            away: how long that was.
            now: when it ended.
            fresh: it was so long that all silence begins anew.
        """

        def later(then: float) -> float:
            return now if fresh else min(now, then + away)

        self.heard, self.probed, self.ran = later(self.heard), later(self.probed), later(self.ran)
        self.asked = None if self.asked is None else later(self.asked)
        self.boot_by = None if self.boot_by is None else self.boot_by + away


@dataclass
class Joining:
    """What a process gets when it joins; empty afterwards."""

    #: The single-use token with which it may join.
    token: bytes = b""
    #: What it is told, its target and its arguments.
    birth: dict[str, Any] = field(default_factory=dict)
    blobs: Sequence[Any] = ()
    #: The signals that it was sent before.
    signals: list[dict[str, Any]] = field(default_factory=list)

    def to_record(self) -> list[Any]:
        """Return plain values from which `from_record` makes the same again."""
        return [
            self.token,
            dict(self.birth),
            [bytes(blob) for blob in self.blobs],
            [dict(each) for each in self.signals],
        ]

    @classmethod
    def from_record(cls, record: Sequence[Any]) -> Joining:
        """Make it of what `to_record` gave."""
        token, birth, blobs, signals = record
        return cls(token, birth, tuple(blobs), signals)


@dataclass
class Process:
    """One process of the group."""

    pid: int
    ppid: int
    pgid: int
    name: str
    #: "actor", "function", "command", "script" (the program that made the group), "operator" (a command line),
    #: "service" (a program of the supervisor's own) or "machine" (what runs on the machine of a process).
    kind: str
    #: Its target, for people.
    what: str
    created: float
    incarnation: int = 1
    state: State = State.NEW
    on_orphan: str = "kill"
    #: The provider's name for the instance (an OS pid, a server id).
    instance: str = ""
    #: Its place on the network, once that is known; and the provider's last note.
    address: str = ""
    note: str = ""
    #: The options of its machine, inherited by its children.
    placement: dict[str, Any] = field(default_factory=dict)
    #: The limit of its memory, bytes.
    memory: int | None = None
    #: Pid of the guest program on its machine; for a guest program, the pid of its process.
    machine: int = 0
    #: An operator that watches over the group for as long as it lives.
    keeper: bool = False
    joining: Joining = field(default_factory=Joining)
    timers: Timers = field(default_factory=Timers)
    started: float | None = None
    ended: float | None = None
    #: Why the supervisor ends it, if it does.
    intent: Cause | None = None
    intent_words: str = ""
    #: Its agent's report of its end.
    report: dict[str, Any] | None = None
    result: Sequence[Any] = ()
    #: The parts that it has sent of the messages it is about to leave to the supervisor.
    pieces: Sequence[Any] = ()
    status: ExitStatus | None = None
    sent: list[Sent] = field(default_factory=list)
    #: Processes that have exchanged messages with it, and are told of its end.
    correspondents: set[int] = field(default_factory=set)
    #: Its CURVE key.
    key: bytes | None = None

    @property
    def life(self) -> Key:
        """Return the key of its instance."""
        return Key(self.pid, self.incarnation)

    @property
    def alive(self) -> bool:
        """Tell whether it is alive."""
        return self.state in ALIVE

    @property
    def external(self) -> bool:
        """Tell whether it was not started by the group: no provider made it, none can delete it."""
        return self.kind in ("script", "operator", "service", "machine")

    @property
    def hidden(self) -> bool:
        """Tell whether it is no process of the group's program: not in `ps`, and no target of `kill 0`."""
        return self.kind in ("operator", "service", "machine")

    def to_record(self) -> dict[str, Any]:
        """Return plain values from which `from_record` makes the same again."""
        return {
            **{each.name: getattr(self, each.name) for each in fields(self)},
            "state": str(self.state),
            "intent": None if self.intent is None else str(self.intent),
            "status": None if self.status is None else self.status.to_wire(),
            "sent": [[sent.at, sent.sender, sent.signal] for sent in self.sent],
            "correspondents": sorted(self.correspondents),
            "joining": self.joining.to_record(),
            "timers": asdict(self.timers),
            "result": [bytes(frame) for frame in self.result],
            "pieces": [bytes(piece) for piece in self.pieces],
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Process:
        """Make a process of what `to_record` gave."""
        return cls(
            **{
                **record,
                "state": State(record["state"]),
                "intent": None if record["intent"] is None else Cause(record["intent"]),
                "status": None if record["status"] is None else ExitStatus.from_wire(record["status"]),
                "sent": [Sent(*sent) for sent in record["sent"]],
                "correspondents": set(record["correspondents"]),
                "joining": Joining.from_record(record["joining"]),
                "timers": Timers(**record["timers"]),
                "result": tuple(record["result"]),
                "pieces": tuple(record["pieces"]),
            }
        )

    def row(self) -> dict[str, Any]:
        """Return the plain values that `ps` shows."""
        return {
            "pid": self.pid,
            "ppid": self.ppid,
            "pgid": self.pgid,
            "incarnation": self.incarnation,
            "name": self.name,
            "kind": self.kind,
            "what": self.what,
            "state": str(self.state),
            "instance": self.instance,
            "address": self.address,
            "note": self.note,
            "placement": self.placement,
            "created": self.created,
            "started": self.started,
            "ended": self.ended,
            "status": None if self.status is None else self.status.to_wire(),
        }


#: The most former command lines and services that are remembered, beside the history of processes.
VISITS = 100


class Table:
    """The processes of a group by pid; a pid is never used again.

    Args:
        history: the most reaped processes that are remembered.
    """

    def __init__(self, history: int) -> None:
        self._records: dict[int, Process] = {}
        self._children: dict[int, set[int]] = {}
        self._zombies: dict[int, list[int]] = {}  # heaps, by parent; they include some reaped ones
        self._past: dict[int, Process] = {}
        self._visits: dict[int, Process] = {}
        self._history = history
        self._next = SUPERVISOR + 1

    def to_record(self) -> dict[str, Any]:
        """Return plain values from which `from_record` makes the same again."""
        return {
            "history": self._history,
            "next": self._next,
            "present": [record.to_record() for record in self._records.values()],
            "past": [record.to_record() for record in self._past.values()],
            "visits": [record.to_record() for record in self._visits.values()],
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Table:
        """Make a table of what `to_record` gave."""
        table = cls(record["history"])
        table._next = record["next"]
        for each in map(Process.from_record, record["present"]):
            table.add(each)
            if each.state is State.ZOMBIE:
                table.bury(each)
        table._past = {each.pid: each for each in map(Process.from_record, record["past"])}
        table._visits = {each.pid: each for each in map(Process.from_record, record["visits"])}
        return table

    def __iter__(self) -> Iterator[Process]:
        return iter(list(self._records.values()))

    def __len__(self) -> int:
        return len(self._records)

    def next_pid(self) -> int:
        """Return a pid that was never given before."""
        pid = self._next
        self._next += 1
        return pid

    def add(self, record: Process) -> None:
        """Add a process."""
        self._records[record.pid] = record
        self._children.setdefault(record.ppid, set()).add(record.pid)

    def get(self, pid: int) -> Process | None:
        """Return a process that is alive or has not been waited for."""
        return self._records.get(pid)

    def past(self, pid: int) -> Process | None:
        """Return a process that has been waited for, as long as it is remembered."""
        return self._past.get(pid) or self._visits.get(pid)

    def children(self, pid: int) -> list[Process]:
        """Return the children of a process, oldest first."""
        return [self._records[child] for child in sorted(self._children.get(pid, ()))]

    def has_children(self, pid: int) -> bool:
        """Tell whether a process has a child that has not been waited for."""
        return bool(self._children.get(pid))

    def zombie(self, pid: int) -> Process | None:
        """Return the oldest child of a process that has ended and not been waited for."""
        heap = self._zombies.get(pid)
        while heap:
            record = self._records.get(heap[0])
            if record is not None and record.ppid == pid:
                return record
            heapq.heappop(heap)
        self._zombies.pop(pid, None)
        return None

    def bury(self, record: Process) -> None:
        """Turn a process that has ended into a zombie, until it is waited for."""
        record.state = State.ZOMBIE
        heapq.heappush(self._zombies.setdefault(record.ppid, []), record.pid)

    def members(self, pgid: int) -> list[Process]:
        """Return the processes of a process group."""
        return [record for record in self if record.pgid == pgid]

    def adopt(self, record: Process, ppid: int) -> None:
        """Give a process another parent."""
        self._children.get(record.ppid, set()).discard(record.pid)
        record.ppid = ppid
        self._children.setdefault(ppid, set()).add(record.pid)
        if record.state is State.ZOMBIE:
            self.bury(record)

    def reap(self, record: Process) -> None:
        """Remove a process that has been waited for from the table."""
        record.state = State.GONE
        record.result = record.pieces = ()
        record.joining = Joining()
        del self._records[record.pid]
        self._children.get(record.ppid, set()).discard(record.pid)
        self._children.pop(record.pid, None)
        self._zombies.pop(record.pid, None)
        self.zombie(record.ppid)
        if record.kind == "machine":
            return  # its parent has no other zombie
        past, most = (self._visits, VISITS) if record.hidden else (self._past, self._history)
        past[record.pid] = record
        while len(past) > most:
            del past[next(iter(past))]
