"""Creates: when which machine is requested, and what follows from a failure."""

from __future__ import annotations

import math

from rackactor_runtime.providers.base import InstanceExit, Unanswered
from rackactor_runtime.providers.machines.effects import Ask, Tell
from rackactor_runtime.providers.machines.lives import GRACE, Lives
from rackactor_runtime.providers.machines.pacing import Pace
from rackactor_runtime.providers.machines.register import Record

#: Seconds between checks of machines that wait for a cloud without clear answers.
_LOOK = 1.0


class Asking:
    """Requests machines, a limited number at a time, in one pace.

    Args:
        lives: the lives of the machines.
        pace: their pace.
        concurrency: how many come up at the same time, at most.
    """

    def __init__(self, lives: Lives, pace: Pace, concurrency: int) -> None:
        self._lives = lives
        self._pace = pace
        self._concurrency = concurrency
        self._look_at = -math.inf

    def go_on(self, now: float) -> None:
        """Request the machines whose turn it is; give up those that have waited too long for a clear answer."""
        self._give_up_the_queue(now)
        lives = self._lives
        while lives.queued and len(lives.coming) < self._concurrency:
            record = lives.records[next(iter(lives.queued))]
            if not self._pace.begin(record.key, now):
                return
            record.queued, record.asking = False, True
            record.attempts += 1
            record.asked_at = now if record.asked_at is None else record.asked_at
            lives.sort(record)
            lives.effects.append(Ask(record.key))

    def due(self, now: float) -> float:
        """Return when `go_on` has something to do."""
        if not self._lives.queued:
            return math.inf
        due = self._look_at if self._pace.troubled is not None else math.inf
        if len(self._lives.coming) < self._concurrency:
            due = min(due, self._pace.due(now))
        return due

    def refused(self, record: Record, kind: str, words: str, retry_after: float | None, now: float) -> None:
        """Process a create that has made nothing, or whose result is unknown."""
        if kind == "unclear":
            self._unclear(record, words, retry_after, now)
        elif kind in ("busy", "called-off"):
            self._put_back(record, kind, words, retry_after, now)
        else:
            self._pace.made(record.key, now)
            if record.ending is None and not record.joined:
                self._lives.end(record, InstanceExit(fault=words, kind=kind), now)
            if kind == "quota":
                self._fail_the_rest(record, words, now)
        if record.joined and record.ending is None:  # an earlier create has made it after all: look for it
            record.queued, record.unclear, record.since = False, True, now

    def give_up(self, record: Record, since: float, now: float) -> None:
        """End a life for which the cloud has given no clear answer since then."""
        words = record.words or self._pace.words or "it says nothing"
        fault = f"the cloud has given no clear answer for {now - since:.0f} s: {words}"
        self._lives.end(record, InstanceExit(fault=fault, kind="unclear"), now)

    def _unclear(self, record: Record, words: str, retry_after: float | None, now: float) -> None:
        rested = self._pace.resting
        self._pace.unclear(record.key, words, now)
        if retry_after is not None:
            self._pace.busy(None, retry_after, words, now)
        record.unclear, record.since, record.words = True, now, words
        record.lost, record.lost_at = record.lost + 1, now
        self._tell(record, now)
        if self._pace.resting and not rested:  # those that wait for the cloud must wait longer now
            for key in self._lives.queued:
                self._tell(self._lives.records[key], now)

    def _put_back(self, record: Record, kind: str, words: str, retry_after: float | None, now: float) -> None:
        """Queue a create again that has done nothing, before others; unless it is not wanted any more."""
        record.attempts -= 1
        if kind == "busy":
            record.words = words
            self._pace.busy(record.key, retry_after, words, now)
            self._tell(record, now)
        else:
            self._pace.called_off(record.key)
        if record.ending is None:
            record.queued = True
            self._lives.sort(record)
            self._lives.queued.move_to_end(record.key, last=False)
        elif record.ending == InstanceExit() and not record.attempts:
            record.ending = InstanceExit(note="it was deleted before it was asked for")

    def _tell(self, record: Record, now: float) -> None:
        """Report that there is no clear answer, and since when."""
        since = self._pace.troubled
        if record.ending is None and since is not None:
            seconds = now - max(record.ordered, since)
            self._lives.effects.append(Tell(Unanswered(record.key, seconds, self._pace.words)))

    def _fail_the_rest(self, refused: Record, words: str, now: float) -> None:
        """End the waiting lives of a fork if the quota has refused one of them: it would refuse them, too."""
        if not refused.fork:
            return
        for key in list(self._lives.queued):
            record = self._lives.records[key]
            if record.fork == refused.fork and not record.lost and not record.joined:
                why = f"{words} (said of process {refused.key.pid} of the same fork; this one was not asked for)"
                self._lives.end(record, InstanceExit(fault=why, kind="quota"), now)

    def _give_up_the_queue(self, now: float) -> None:
        since = self._pace.troubled
        if since is None or not self._lives.queued or now < self._look_at:
            return
        self._look_at = now + _LOOK
        for key in list(self._lives.queued):
            record = self._lives.records[key]
            waits = max(record.ordered, since)
            if record.asked_at is None and now >= waits + record.patience + GRACE:
                self.give_up(record, waits, now)
