"""The lives of a group's virtual machines: what follows from what a cloud answers, and from what each machine says.

Events go in, effects come out; time comes in as an argument. Three rules are kept whatever comes in which order: after
an unclear answer nothing is asked for again before a list has shown that it is not there; a life's end is told once,
and only when the cloud's own lists have nothing of it any more; a delete that is not confirmed is asked for again for
ever.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rackactor_runtime.providers.base import Created, CreateFailed, Ended, Key, Located, Unkillable, Vital
from rackactor_runtime.providers.consoles import tail
from rackactor_runtime.providers.machinewords import (
    Ask,
    Condition,
    Effect,
    List,
    Remove,
    Say,
    Seen,
    Tell,
    classify,
    condition,
)

#: Seconds between lists: while something is being deleted, while something comes up, and while nothing happens.
LIST_ENDING, LIST_BOOTING, LIST_IDLE = 0.4, 1.0, 10.0
#: Seconds between lists at the least when somebody has fallen silent, and when a machine was missing in the last one.
LIST_SILENT, LIST_MISSING = 1.0, 0.3
#: Seconds after an unclear answer that the cloud has to show what it has made after all.
SETTLE = 2.0
#: Creates of one machine at the most, and lists in a row that it must be missing from.
ATTEMPTS, MISSING = 3, 2
#: Seconds between deletes of one machine; the last one goes on for ever. And when the first has been in vain too long.
PAUSES = (3.0, 6.0, 12.0, 24.0, 45.0)
UNKILLABLE = 30.0
#: Seconds between lists after so many that failed in a row; the last one goes on.
_FAILING = (0.0, 1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True)
class _Ending:
    """Why and how a life ends."""

    code: int | None = None
    signal: int | None = None
    oom: bool = False
    note: str = ""
    #: Why there never was one.
    fault: str | None = None
    kind: str = ""
    outside: bool = False


@dataclass
class _Machine:
    key: Key
    queued: bool = True
    #: A create is under way; its answer was unclear.
    asking: bool = False
    unclear: bool = False
    attempts: int = 0
    instance: str | None = None
    #: Lists that began before this time say nothing about it.
    since: float = 0.0
    status: str = ""
    address: str = ""
    missing: int = 0
    joined: bool = False
    ending: _Ending | None = None
    #: Since when, and whether and how often it was asked to be removed; when it is next.
    ending_since: float = 0.0
    removing: bool = False
    removals: int = 0
    remove_at: float = 0.0
    console: bool = False
    unkillable: bool = False
    words: str = ""

    @property
    def coming_up(self) -> bool:
        """Tell whether it takes one of the places of those that come up."""
        if self.queued or self.ending is not None:
            return self.asking
        return self.asking or self.unclear or not (self.joined or self.status == "ACTIVE")


@dataclass
class Machines:
    """All machines of a group.

    Args:
        gid: of the group, with which each machine's mark begins.
        concurrency: how many come up at once at the most.
    """

    gid: str
    concurrency: int = 10
    _machines: dict[Key, _Machine] = field(default_factory=dict)
    _effects: list[Effect] = field(default_factory=list)
    _listing: bool = False
    _list_began: float = -math.inf
    _list_ended: float = -math.inf
    _failures: int = 0
    _look: bool = False

    def mark(self, key: Key) -> str:
        """Return what a machine is found again by."""
        return f"{self.gid}.{key.pid}.{key.incarnation}"

    def __contains__(self, key: Key) -> bool:
        return key in self._machines

    def __len__(self) -> int:
        return len(self._machines)

    # -- what the supervisor wants ---------------------------------------------------------------------

    def order(self, key: Key, now: float) -> list[Effect]:
        """Begin a life."""
        self._machines[key] = _Machine(key)
        return self.tick(now)

    def delete(self, key: Key, now: float) -> list[Effect]:
        """End a life, without its help. Idempotent."""
        machine = self._machines.get(key)
        if machine is None or machine.ending is not None:
            return self.tick(now)
        if machine.joined:
            self._effects.append(Say(key, {"do": "delete"}))  # it may be quicker, and has last words perhaps
        note = "it was deleted before it was asked for" if machine.queued and not machine.attempts else ""
        self._end(machine, _Ending(note=note), now)
        return self.tick(now)

    def examine(self, key: Key, now: float) -> tuple[Vital, list[Effect]]:
        """Tell what was last seen of it, and look again."""
        machine = self._machines.get(key)
        if machine is None:
            return Vital.GONE, []
        self._look = True
        still = machine.ending is None and condition(machine.status) is Condition.STILL
        return Vital.STOPPED if still else Vital.RUNNING, self.tick(now)

    # -- what the machines say ---------------------------------------------------------------------------

    def joined(self, key: Key, now: float) -> list[Effect]:
        """Learn that its guest program has joined."""
        machine = self._machines.get(key)
        if machine is not None:
            machine.joined = True
            if machine.ending is not None:
                self._effects.append(Say(key, {"do": "delete"}))
        return self.tick(now)

    def left(self, key: Key, now: float) -> list[Effect]:
        """Learn that its guest program is no member any more: worth a look."""
        self._look = self._look or key in self._machines
        return self.tick(now)

    def located(self, key: Key, address: str, now: float) -> list[Effect]:
        """Learn from the machine itself where it is."""
        machine = self._machines.get(key)
        if machine is not None:
            self._locate(machine, address)
        return self.tick(now)

    def said_ended(self, key: Key, fields: Mapping[str, Any], now: float) -> list[Effect]:
        """Learn from the machine how its process has ended, or (`fault`) why it has none, or (`why`) its own reason."""
        machine = self._machines.get(key)
        if machine is None:
            return self.tick(now)
        why = str(fields.get("why") or "")
        said = _Ending(
            _number(fields.get("code")),
            _number(fields.get("signal")),
            bool(fields.get("oom")),
            why or str(fields.get("note") or ""),
            None if fields.get("fault") is None else str(fields["fault"]),
            str(fields.get("kind") or ""),
            outside=bool(why),
        )
        if machine.ending is None:
            self._end(machine, said, now)
        elif machine.ending == _Ending() and not why:
            machine.ending = said  # we were about to delete it: now we even know how it went
        return self.tick(now)

    # -- what the cloud answers ----------------------------------------------------------------------------

    def asked(self, key: Key, instance: str, now: float) -> list[Effect]:
        """Learn that a machine exists."""
        machine = self._machines[key]
        machine.asking = False
        self._found(machine, instance, now)
        return self.tick(now)

    def refused(self, key: Key, kind: str, words: str, now: float) -> list[Effect]:
        """Learn that there will be no machine, or (kind "unclear") that nobody knows."""
        machine = self._machines[key]
        machine.asking = False
        if kind == "unclear":
            machine.unclear, machine.since, machine.words = True, now, words
        elif machine.ending is None:
            self._end(machine, _Ending(fault=words, kind=kind), now)
        return self.tick(now)

    def listed(self, seen: Mapping[str, Seen], now: float) -> list[Effect]:
        """Learn what the cloud has, in answer to the last `List`."""
        self._listing, self._list_ended, self._failures = False, now, 0
        for machine in list(self._machines.values()):
            if self._list_began >= machine.since:
                self._judge(machine, seen.get(self.mark(machine.key)), now)
        return self.tick(now)

    def list_failed(self, now: float) -> list[Effect]:
        """Learn that a list could not be had: nobody is judged by that."""
        self._listing, self._list_ended = False, now
        self._failures += 1
        return self.tick(now)

    def removed(self, key: Key, gone: bool, words: str, console: str, now: float) -> list[Effect]:
        """Learn what came of a `Remove`: nothing is left, or it goes on (`words`: why, if the cloud says so)."""
        machine = self._machines[key]
        assert machine.ending is not None
        machine.removing, machine.since = False, now
        machine.words = words or machine.words
        if text := tail(console):
            machine.ending = replace(machine.ending, note=f"{machine.ending.note}{text}".strip())
        if gone:
            self._tell_end(machine)
        else:
            machine.remove_at = now + PAUSES[min(machine.removals, len(PAUSES)) - 1]
        return self.tick(now)

    # -- time ------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> list[Effect]:
        """Do what is due; return all that is to be done."""
        for machine in list(self._machines.values()):
            if machine.ending is not None:
                self._step_end(machine, machine.ending, now)
        self._ask(now)
        if now >= self._list_due():
            self._listing, self._list_began, self._look = True, now, False
            self._effects.append(List())
        effects, self._effects = self._effects, []
        return effects

    def due(self) -> float:
        """Return when `tick` has something to do, at the latest."""
        times = [self._list_due()]
        for machine in self._machines.values():
            if machine.ending is not None:
                if machine.removals and not machine.removing:
                    times.append(machine.remove_at)
                if not machine.unkillable:
                    times.append(machine.ending_since + UNKILLABLE)
        return min(times)

    def _list_due(self) -> float:
        if self._listing:
            return math.inf
        due = self._list_began + LIST_SILENT if self._look else math.inf
        for machine in self._machines.values():
            if machine.unclear:
                due = min(due, max(machine.since + SETTLE, self._list_ended + LIST_BOOTING))
            elif machine.ending is not None:
                if machine.removals and not machine.removing:
                    due = min(due, self._list_ended + LIST_ENDING)
            elif machine.missing:
                due = min(due, self._list_ended + LIST_MISSING)
            elif machine.instance is not None:
                due = min(due, self._list_ended + (LIST_IDLE if machine.joined else LIST_BOOTING))
        pause = _FAILING[min(self._failures, len(_FAILING) - 1)]
        return max(due, self._list_ended + pause)

    def _ask(self, now: float) -> None:
        free = self.concurrency - sum(machine.coming_up for machine in self._machines.values())
        for machine in self._machines.values():
            if free <= 0:
                return
            if machine.queued and machine.ending is None:
                machine.queued, machine.asking = False, True
                machine.attempts += 1
                free -= 1
                self._effects.append(Ask(machine.key))

    # -- judging ---------------------------------------------------------------------------------------------

    def _found(self, machine: _Machine, instance: str, now: float) -> None:
        machine.instance, machine.unclear, machine.since = instance, False, now
        self._effects.append(Tell(Created(machine.key, instance)))

    def _locate(self, machine: _Machine, address: str) -> None:
        if address and not machine.address:
            machine.address = address
            self._effects.append(Tell(Located(machine.key, address)))

    def _judge(self, machine: _Machine, seen: Seen | None, now: float) -> None:
        """Learn whether and how a machine is in a list that began after the last that was known of it."""
        if machine.unclear:
            if self._list_began >= machine.since + SETTLE:
                self._clear_up(machine, seen, now)
        elif machine.ending is not None:
            if seen is None and machine.removals and not machine.removing:
                machine.remove_at = now  # once more, for what else there was of it
            elif seen is not None:
                machine.words = f"{seen.instance} is listed as {seen.status}"
        elif machine.instance is not None:
            machine.missing = 0 if seen is not None else machine.missing + 1
            if seen is not None:
                machine.status = seen.status
                self._locate(machine, next(iter(seen.addresses), ""))
                self._judge_status(machine, seen, now)
            elif machine.missing >= MISSING:
                words = (
                    f"{machine.instance} is not in the cloud's list any more, and nobody in the group had it deleted"
                )
                self._end(machine, _Ending(note=words, outside=True), now)

    def _judge_status(self, machine: _Machine, seen: Seen, now: float) -> None:
        means = condition(seen.status)
        if means is Condition.FAILED:
            words = seen.fault or f"{seen.instance} went into ERROR, and the cloud does not say why"
            if machine.joined:
                self._end(machine, _Ending(note=f"{seen.instance} is in ERROR: {words}", outside=True), now)
            else:
                self._end(machine, _Ending(fault=words, kind=classify(words)), now)
        elif means in (Condition.OFF, Condition.GONE):
            # What goes off before anybody has heard of it has failed to boot: its image may have no guest program.
            outside = machine.joined or means is Condition.GONE
            why = "and nobody in the group had asked for that" if outside else "before it had joined"
            self._end(machine, _Ending(note=f"{seen.instance} is {seen.status}, {why}", outside=outside), now)

    def _clear_up(self, machine: _Machine, seen: Seen | None, now: float) -> None:
        """Learn what came of an unclear answer."""
        if seen is not None:
            self._found(machine, seen.instance, now)
            return
        machine.unclear = False
        if machine.ending is None and machine.attempts < ATTEMPTS:
            machine.queued = True
        elif machine.ending is None:
            words = f"asked {machine.attempts} times, the cloud gave no clear answer: {machine.words}"
            self._end(machine, _Ending(fault=words, kind="unclear"), now)

    # -- ends ------------------------------------------------------------------------------------------------

    def _end(self, machine: _Machine, ending: _Ending, now: float) -> None:
        machine.ending, machine.ending_since, machine.remove_at = ending, now, now
        machine.console = machine.instance is not None and (ending.outside or not machine.joined)

    def _step_end(self, machine: _Machine, ending: _Ending, now: float) -> None:
        if not machine.asking and not machine.unclear:
            refused = ending.fault is not None and ending.kind != "unclear" and machine.instance is None
            if not machine.attempts or (refused and not machine.removals):
                self._tell_end(machine)  # there never was one
                return
            if not machine.removing and now >= machine.remove_at:
                machine.removing = True
                machine.removals += 1
                self._effects.append(Remove(machine.key, machine.instance, machine.console and machine.removals == 1))
        if not machine.unkillable and now >= machine.ending_since + UNKILLABLE:
            machine.unkillable = True
            since = f"{now - machine.ending_since:.0f} s after it was to be deleted, it is still not gone"
            self._effects.append(Tell(Unkillable(machine.key, f"{since}: {machine.words or 'no word from the cloud'}")))

    def _tell_end(self, machine: _Machine) -> None:
        ending, key = machine.ending, machine.key
        assert ending is not None
        del self._machines[key]
        if ending.fault is not None:
            note = f"\n{ending.note}" if ending.note else ""
            self._effects.append(Tell(CreateFailed(key, ending.fault + note, ending.kind)))
        else:
            end = Ended(key, ending.code, ending.signal, ending.oom, ending.note, ending.outside)
            self._effects.append(Tell(end))


def _number(value: object) -> int | None:
    return value if type(value) is int and 0 <= value <= 255 else None
