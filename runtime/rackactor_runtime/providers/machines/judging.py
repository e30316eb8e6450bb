"""What a cloud's answers say about a machine: it exists, or nobody can tell, or it is over.

No answer is trusted alone. A list may lack an existing machine, so the cloud is asked for it by its name. A name may be
unknown for a moment, so the cloud is asked again. And a machine that reports runs, whatever the cloud says.
"""

from __future__ import annotations

from rackactor_runtime.providers.base import InstanceExit
from rackactor_runtime.providers.machines.effects import Condition, Find, Seen, classify, condition
from rackactor_runtime.providers.machines.lives import Lives, heard
from rackactor_runtime.providers.machines.register import Record

#: Seconds within which the cloud must show what it has made: after an unclear answer, and after a clear one.
SETTLE = 4.0
#: The most creates of one machine; and how many lists in a row must lack it before it is asked for by name.
ATTEMPTS, MISSING = 3, 2
#: Least seconds between the two checks that must both find nothing of a machine before it is gone.
APART = 2.0
#: Seconds between requests for a machine that lists lack and the cloud knows: while it comes up, and when it exists.
AGAIN_BOOTING, AGAIN = 1.0, 10.0
#: Seconds that the cloud has to give the reason for ERROR, which it writes down a moment later.
FAULT_PATIENCE = 5.0
#: In these states a machine is useless.
_USELESS = frozenset({Condition.FAILED, Condition.OFF, Condition.GONE})


class Judging:
    """Decides on lives by the cloud's answers."""

    def __init__(self, lives: Lives) -> None:
        self._lives = lives

    def by_list(self, record: Record, rows: list[Seen], began: float, now: float) -> list[Seen]:
        """Process a list that began after the last one processed; return the machines that count for nobody."""
        for row in rows:
            if row.instance not in record.names and not record.asking:  # otherwise it may be the one that is being made
                record.names.add(row.instance)
                record.lost = max(0, record.lost - 1)  # this is the result of one such create
        if record.unclear:
            if rows or began >= record.since + SETTLE:
                self._clear_up(record, rows, now)
            return []
        if record.ending is not None:
            _going(record, rows, began, now)
            return []
        if record.instance is None:
            return []
        mine, useless = self._choose(record, rows, now)
        if mine is not None:
            record.missing, record.absent = 0, None
            self._lives.locate(record, next(iter(mine.addresses), ""))
            self.by_status(record, mine, now)
            if record.failed is not None and record.ending is None and not mine.fault:
                self._find(record, now)  # lists may never contain the reason for ERROR
        else:
            record.missing += 1
            if record.missing >= MISSING:
                self._find(record, now)
        return useless

    def _find(self, record: Record, now: float) -> None:
        """Ask the cloud for a machine by its own name for it, unless that was done a moment ago."""
        if record.instance is not None and not record.finding and now >= record.find_at:
            record.finding = True
            self._lives.effects.append(Find(record.key, record.instance))

    def by_name(self, record: Record, seen: Seen | None, now: float) -> None:
        """Process the cloud's record of a machine by its name; None: there is none."""
        record.finding = False
        if record.ending is not None:
            return
        if record.missing < MISSING and (seen is None or record.failed is None):
            return  # it was found meanwhile
        if seen is not None:
            again = AGAIN if record.joined and record.failed is None else AGAIN_BOOTING
            record.absent, record.find_at = None, now + again
            self._lives.locate(record, next(iter(seen.addresses), ""))
            self.by_status(record, seen, now)
        elif record.absent is None:
            record.absent, record.find_at = now, now + APART
        elif now - record.absent < APART or now - record.since < SETTLE:
            record.find_at = now + APART
        elif heard(record, now):
            record.find_at = now + AGAIN
        elif record.doubles:
            self._lives.found(record, record.doubles[0].instance, now)
        else:
            words = f"{record.instance} is not in the cloud's list any more, and nobody in the group had it deleted"
            self._lives.end(record, InstanceExit(note=words, outside=True, deleted=True), now)

    def by_status(self, record: Record, seen: Seen, now: float) -> None:
        """Process the cloud's status of a machine."""
        record.status, means = seen.status, condition(seen.status)
        if means not in _USELESS or heard(record, now):
            record.failed = None
        elif means is Condition.FAILED:
            record.failed = now if record.failed is None else record.failed
            if not seen.fault and now - record.failed < FAULT_PATIENCE:
                return
            words = seen.fault or f"{seen.instance} went into ERROR, and the cloud does not say why"
            if record.joined:
                self._lives.end(record, InstanceExit(note=f"{seen.instance} is in ERROR: {words}", outside=True), now)
            else:
                self._lives.end(record, InstanceExit(fault=words, kind=classify(words)), now)
        else:
            # A machine that goes before its first report has failed to boot: its image may lack the guest program.
            outside = record.joined or means is Condition.GONE
            why = "and nobody in the group had asked for that" if outside else "before it had joined"
            note, deleted = f"{seen.instance} is {seen.status}, {why}", means is Condition.GONE
            self._lives.end(record, InstanceExit(note=note, outside=outside, deleted=deleted), now)

    def _choose(self, record: Record, rows: list[Seen], now: float) -> tuple[Seen | None, list[Seen]]:
        """Return the one that counts of the machines with one mark, if it is listed, and those that must go."""
        mine = next((row for row in rows if row.instance == record.instance), None)
        others = [row for row in rows if row is not mine]
        record.doubles = tuple(others)
        if not others:
            return mine, []
        there = [row for row in rows if record.voice and record.voice in row.addresses]
        if record.joined and len(there) == 1:  # the machine itself has reported its address
            return self._take(record, there[0], now), [row for row in rows if row is not there[0]]
        alive = [row for row in others if condition(row.status) not in _USELESS]
        if mine is not None and condition(mine.status) in _USELESS and alive:
            return self._take(record, alive[0], now), [row for row in rows if condition(row.status) in _USELESS]
        return mine, [row for row in others if condition(row.status) in _USELESS]  # each of the others may join

    def _take(self, record: Record, seen: Seen, now: float) -> Seen:
        if seen.instance != record.instance:
            self._lives.found(record, seen.instance, now)
        return seen

    def _clear_up(self, record: Record, rows: list[Seen], now: float) -> None:
        """Process a list after an unclear answer."""
        if rows:
            alive = [row for row in rows if condition(row.status) not in _USELESS]
            self._lives.found(record, (alive or rows)[0].instance, now)
        elif record.joined and record.ending is None:
            record.since = now  # it exists, and lists are late
        elif record.ending is not None or record.attempts < ATTEMPTS:
            record.unclear, record.queued = False, record.ending is None
        else:
            record.unclear = False
            words = f"asked {record.attempts} times, the cloud gave no clear answer: {record.words}"
            self._lives.end(record, InstanceExit(fault=words, kind="unclear"), now)


def _going(record: Record, rows: list[Seen], began: float, now: float) -> None:
    """Note whether a machine that is being removed is still listed."""
    if rows:
        record.missing, record.shown = 0, record.shown or began > record.removed_at
        record.words = f"{rows[0].instance} is listed as {rows[0].status}"
    elif record.removals and not record.removing:
        record.missing += 1
        again = now if record.missing == 1 else record.since + APART  # once more, for anything else there was of it
        record.remove_at = max(now, min(record.remove_at, again))
