"""The lives of a group's virtual machines: what follows from the cloud's answers and from the machines' own reports.

Events go in, effects come out; time is an argument. A cloud is many programs, and none of its answers is the whole
truth: a list may lag or lack existing machines, a create may be carried out minutes after it was given up, a delete
may be accepted and forgotten. So these rules hold whatever comes in which order:

- after an unclear answer, nothing is requested again before a list has shown that the machine is not there;
- a machine that lists lack is gone when the cloud, asked twice by name, does not know it either, and when it does not
  report itself: a machine that reports runs, whatever the cloud says;
- of two machines with one mark, the one that has joined counts, and never simply the older or the younger one;
- the end of a life is reported once, and only when the cloud has nothing of it any more. A delete that is not confirmed
  is repeated for ever. What a create that was given up may still make is looked for (`strays`);
- all lives together keep one pace for all requests to the cloud (`pacing`).
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import replace

from rackactor.wire.calls.machine import MachineSays
from rackactor.wire.events import MachineEvent
from rackactor_runtime.providers.base import (
    NO_DIRECTORY,
    CreateFailed,
    Ended,
    InstanceExit,
    Key,
    Liveness,
    Owed,
    Unkillable,
)
from rackactor_runtime.providers.machines.asking import Asking
from rackactor_runtime.providers.machines.console import tail
from rackactor_runtime.providers.machines.effects import Condition, Effect, List, Remove, Say, Seen, Tell, condition
from rackactor_runtime.providers.machines.judging import APART, ATTEMPTS, MISSING, SETTLE, Judging
from rackactor_runtime.providers.machines.lives import Lives
from rackactor_runtime.providers.machines.pacing import Pace
from rackactor_runtime.providers.machines.register import Record
from rackactor_runtime.providers.machines.strays import DEBT, Strays

__all__ = ["APART", "ATTEMPTS", "MISSING", "PAUSES", "SETTLE", "UNKILLABLE", "Machines"]

#: Seconds between lists: while something is being deleted, while something comes up, and while nothing happens.
LIST_ENDING, LIST_BOOTING, LIST_IDLE = 0.5, 1.0, 10.0
#: Least seconds between lists when a member is silent, and when a machine was missing in the last list;
#: and while a delete has been in vain for long.
LIST_SILENT, LIST_MISSING, LIST_STUCK = 1.0, 0.5, 5.0
#: Seconds between deletes of one machine; the last one is repeated. And when the first has been in vain too long.
PAUSES = (3.0, 6.0, 12.0, 24.0, 45.0)
UNKILLABLE = 30.0
#: Seconds between lists after several that failed in a row; the last value is repeated.
_FAILING = (0.0, 1.0, 2.0, 5.0, 10.0)


class Machines:
    """All machines of a group.

    Args:
        gid: of the group, with which each machine's mark begins.
        concurrency: how many come up at the same time, at most.
        own: the cloud's name for the machine that this runs on, which has a mark of the group, too, and no life here.
    """

    def __init__(self, gid: str, concurrency: int = 10, own: str | None = None) -> None:
        self.gid = gid
        self._own = own
        self._lives = Lives()
        self._pace = Pace(random.Random(gid).random)
        self._asking = Asking(self._lives, self._pace, concurrency)
        self._judging = Judging(self._lives)
        self._strays = Strays()
        self._effects = self._lives.effects
        self._listing = False
        self._list_began = self._list_ended = -math.inf
        self._failures = 0
        self._look = False
        self._now = -math.inf

    def mark(self, key: Key) -> str:
        """Return the mark by which a machine is found again."""
        return f"{self.gid}.{key.pid}.{key.incarnation}"

    def owe(self, seconds: float, now: float) -> None:
        """Learn for how many seconds a duplicate of the machine that this runs on may still appear."""
        self._strays.owe(f"{self.gid}.1.1", now + seconds)

    def wants(self, key: Key) -> bool:
        """Tell whether a machine is still wanted. Any thread may call this."""
        record = self._lives.records.get(key)
        return record is not None and record.ending is None and not record.joined

    def __contains__(self, key: Key) -> bool:
        return key in self._lives.records

    def __len__(self) -> int:
        return len(self._lives.records)

    # -- what the supervisor wants ---------------------------------------------------------------------

    def order(self, key: Key, now: float, *, fork: int = 0, patience: float = 300.0) -> list[Effect]:
        """Begin a life.

        Args:
            key: the life's key.
            now: seconds, monotonic.
            fork: the first pid of the fork that it is of.
            patience: seconds that its boot may take.
        """
        self._lives.add(Record(key, self.mark(key), fork, patience, now, hope=UNKILLABLE))
        return self.tick(now)

    def delete(self, key: Key, now: float) -> list[Effect]:
        """End a life, without its help. Idempotent."""
        record = self._lives.records.get(key)
        if record is None or record.ending is not None:
            return self.tick(now)
        if record.joined:
            self._effects.append(Say(key, MachineEvent("delete")))  # it may be faster, and may have more to report
        note = "it was deleted before it was asked for" if record.queued and not record.attempts else ""
        self._lives.end(record, InstanceExit(note=note), now)
        return self.tick(now)

    def probe(self, key: Key, now: float) -> tuple[Liveness, list[Effect]]:
        """Return what was last seen of a silent machine, and check again."""
        record = self._lives.records.get(key)
        if record is None:
            return Liveness.GONE, []
        self._look, record.silent = True, now
        if record.absent is None:
            record.find_at = min(record.find_at, now)
        still = record.ending is None and condition(record.status) is Condition.STILL
        return Liveness.STOPPED if still else Liveness.RUNNING, self.tick(now)

    # -- what the machines say ---------------------------------------------------------------------------

    def joined(self, key: Key, now: float) -> list[Effect]:
        """Note that its guest program has joined."""
        record = self._lives.records.get(key)
        if record is not None:
            record.joined, record.silent = True, -math.inf
            if record.ending is not None:
                self._effects.append(Say(key, MachineEvent("delete")))
            elif record.queued and record.attempts:  # the create that was taken for lost has made it: look for it
                record.queued, record.unclear, record.since = False, True, now
            self._lives.sort(record)
        return self.tick(now)

    def spoke(self, key: Key) -> None:
        """Note that it has just reported something."""
        record = self._lives.records.get(key)
        if record is not None:
            record.silent = -math.inf

    def left(self, key: Key, now: float) -> list[Effect]:
        """Note that its guest program is no longer a member: its machine is checked."""
        record = self._lives.records.get(key)
        if record is not None:
            self._look, record.silent = True, math.inf
        return self.tick(now)

    def located(self, key: Key, address: str, now: float) -> list[Effect]:
        """Note the machine's own report of its address."""
        record = self._lives.records.get(key)
        if record is not None:
            record.voice = address
            self._lives.locate(record, address)
        return self.tick(now)

    def said_ended(self, key: Key, told: MachineSays, now: float) -> list[Effect]:
        """Note the machine's report: how its process ended, or (`fault`) why it has none, or (`why`) its own reason."""
        record = self._lives.records.get(key)
        if record is None:
            return self.tick(now)
        why = told.why
        if told.event == "failed":
            # A machine reports only on itself, not on the cloud.
            kind = NO_DIRECTORY if told.kind == NO_DIRECTORY else ""
            said = InstanceExit(fault=told.fault or "it could not be started", kind=kind)
        else:
            said = InstanceExit(_number(told.code), _number(told.signal), told.oom, why or told.note, outside=bool(why))
        if record.ending is None:
            self._lives.end(record, said, now)
        elif record.ending == InstanceExit() and not why:
            record.ending = said  # it was to be deleted; now it is also known how it ended
        return self.tick(now)

    # -- what the cloud answers ----------------------------------------------------------------------------

    def asked(self, key: Key, instance: str, now: float) -> list[Effect]:
        """Note that a machine exists."""
        record = self._lives.records[key]
        record.asking = False
        self._pace.made(key, now)
        self._lives.found(record, instance, now)
        return self.tick(now)

    def refused(self, key: Key, kind: str, words: str, now: float, *, retry_after: float | None = None) -> list[Effect]:
        """Note that there will be no machine; or that the result is unknown, or that it may be requested again.

        Args:
            key: the life's key.
            kind: "unclear": the result is unknown; "busy": not now; "called-off": it was not requested; others are
            final.
            words: the provider's message.
            now: seconds, monotonic.
            retry_after: seconds for which the cloud asks for no more requests, if it does.
        """
        record = self._lives.records[key]
        record.asking = False
        self._asking.refused(record, kind, words, retry_after, now)
        self._lives.sort(record)
        return self.tick(now)

    def listed(self, seen: Mapping[str, Seen] | Iterable[Seen], now: float) -> list[Effect]:
        """Process the cloud's list, the answer to the last `List`; there may be several machines with one mark."""
        self._listing, self._list_ended, self._failures = False, now, 0
        by_mark: dict[str, list[Seen]] = {}
        nobodys: list[Seen] = []
        for row in seen.values() if isinstance(seen, Mapping) else seen:
            if row.mark in self._lives.marks:
                by_mark.setdefault(row.mark, []).append(row)
            elif self._is_ours(row):
                nobodys.append(row)
        for record in list(self._lives.records.values()):
            rows = by_mark.get(record.mark, [])
            if self._list_began >= record.since and not _as_before(record, rows):
                nobodys += self._judging.by_list(record, rows, self._list_began, now)
                self._lives.sort(record)
        self._effects += self._strays.listed(nobodys, now)
        return self.tick(now)

    def list_failed(self, now: float) -> list[Effect]:
        """Note that a list failed: nothing is decided by that."""
        self._listing, self._list_ended = False, now
        self._failures += 1
        return self.tick(now)

    def found(self, key: Key, seen: Seen | None, now: float) -> list[Effect]:
        """Process the answer to a `Find`: the cloud's record of a machine by its name; None: there is none."""
        record = self._lives.records.get(key)
        if record is not None:
            self._judging.by_name(record, seen, now)
            self._lives.sort(record)
        return self.tick(now)

    def find_failed(self, key: Key, now: float) -> list[Effect]:
        """Note that the cloud could not answer a `Find`: that says nothing about the machine."""
        record = self._lives.records.get(key)
        if record is not None:
            record.finding, record.find_at = False, now + APART
        return self.tick(now)

    def removed(self, key: Key, gone: bool, words: str, console: str, now: float) -> list[Effect]:
        """Process the answer to a `Remove`: nothing is left, or it goes on (`words`: why, if the cloud says so)."""
        record = self._lives.records[key]
        assert record.ending is not None
        record.removing, record.since = False, now
        record.words = words or record.words
        if text := tail(console):
            record.ending = replace(record.ending, note=f"{record.ending.note}{text}".strip())
        if gone and not record.shown:
            self._tell_end(record, now)
        else:
            record.remove_at = now + PAUSES[min(record.removals, len(PAUSES)) - 1]
            self._lives.sort(record)
        return self.tick(now)

    def discarded(self, instance: str, now: float) -> list[Effect]:
        """Note that a `Discard` was answered, whatever the answer was."""
        self._strays.discarded(instance, now)
        return self.tick(now)

    def spare(self, retry_after: float | None, now: float) -> None:
        """Note that the cloud gets too many requests of any kind: it gets none for this many seconds."""
        self._pace.busy(None, retry_after, "", now)

    # -- time ------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> list[Effect]:
        """Do what is due; return all effects."""
        self._now = now
        for record in self._lives.ripe(now):
            self._step(record, now)
        self._asking.go_on(now)
        if len(self._strays):
            self._effects += self._strays.tick(now)
        if now >= self._list_due():
            self._listing, self._list_began, self._look = True, now, False
            self._effects.append(List())
        effects = self._effects[:]
        self._effects.clear()
        return effects

    def due(self) -> float:
        """Return the latest time at which `tick` has something to do."""
        return min(self._list_due(), self._lives.due(), self._asking.due(self._now))

    def _list_due(self) -> float:
        if self._listing:
            return math.inf
        lives, records, ended = self._lives, self._lives.records, self._list_ended
        due = min(self._list_began + LIST_SILENT if self._look else math.inf, self._strays.list_due(ended, self._now))
        for key in lives.unclear:
            due = min(due, max(records[key].since + SETTLE, ended + LIST_BOOTING))
        for key in lives.missing:
            due = min(due, max(records[key].find_at, ended + LIST_MISSING))
        for state, pause in (
            (lives.going, LIST_ENDING),
            (lives.booting, LIST_BOOTING),
            (lives.stuck, LIST_STUCK),
            (lives.steady, LIST_IDLE),
        ):
            if state:
                due = min(due, ended + pause)
        if due == math.inf:
            return due
        return max(due, ended + _FAILING[min(self._failures, len(_FAILING) - 1)], self._pace.free_at)

    def _is_ours(self, seen: Seen) -> bool:
        """Tell whether an unclaimed machine is one of this group's processes, or a duplicate of the supervisor's."""
        gid, _, rest = seen.mark.partition(".")
        pid, _, incarnation = rest.partition(".")
        if gid != self.gid or not (pid.isdecimal() and incarnation.isdecimal()):
            return False
        return pid != "1" or (self._own is not None and seen.instance != self._own)

    # -- ends ------------------------------------------------------------------------------------------------

    def _step(self, record: Record, now: float) -> None:
        """Do what is due for one machine."""
        if record.ending is not None:
            self._step_end(record, now)
        elif record.asked_at is not None and record.instance is None and not record.joined:
            self._asking.give_up(record, record.asked_at, now)
        if record.key in self._lives.records:
            self._lives.sort(record)

    def _step_end(self, record: Record, now: float) -> None:
        if not record.asking and not record.unclear:
            if not record.names and not record.lost and not record.removals:
                self._tell_end(record, now)  # there never was a machine
                return
            if not record.removing and now >= max(record.remove_at, self._pace.free_at):
                record.removing, record.removed_at, record.shown = True, now, False
                record.removals += 1
                self._effects.append(Remove(record.key, record.instance, record.console and record.removals == 1))
            elif not record.removing:
                record.remove_at = max(record.remove_at, self._pace.free_at)
        if not record.unkillable and now >= record.ending_since + record.hope:
            record.unkillable = True
            since = f"{now - record.ending_since:.0f} s after it was to be deleted, it is still not gone"
            self._effects.append(Tell(Unkillable(record.key, f"{since}: {record.words or 'no word from the cloud'}")))

    def _tell_end(self, record: Record, now: float) -> None:
        ending, key = record.ending, record.key
        assert ending is not None
        self._lives.drop(record)
        if record.lost and record.lost_at + DEBT > now:
            self._strays.owe(record.mark, record.lost_at + DEBT)
            self._effects.append(Tell(Owed(key, record.lost_at + DEBT - now)))
        if ending.fault is not None:
            note = f"\n{ending.note}" if ending.note else ""
            self._effects.append(Tell(CreateFailed(key, ending.fault + note, ending.kind)))
        else:
            how = (ending.code, ending.signal, ending.oom, ending.note, ending.outside, ending.deleted)
            self._effects.append(Tell(Ended(key, *how)))


def _as_before(record: Record, rows: list[Seen]) -> bool:
    """Tell whether a list repeats the last one's row for a running machine, the usual case."""
    if len(rows) != 1 or record.ending is not None or record.unclear or record.missing or record.doubles:
        return False
    [row] = rows
    known = row.instance == record.instance and row.status == record.status == "ACTIVE"
    return known and bool(record.address or not row.addresses)


def _number(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= 255 else None
