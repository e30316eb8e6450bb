"""Shared memory under load while the processes that use it are killed and stopped and paths are cut.

The work comes in rounds, each with keys of its own, so that what has to be judged at once has a bound.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import rackactor as rack

from . import faults, histories, journal, queues, watches
from .books import Books, Did, Kind
from .crew import PATIENCE, Crew, Member, strike
from .faults import Fault
from .parts import Orders, Outcome, recorded

#: Operations of a round.
_ROUND = 50_000
#: Processes that use the memory, and that watch it, at a time.
_USERS, _WATCHERS = 4, 2
#: Seconds from one fault to the next, on average; and that one lasts at the most.
_MEAN, _LONGEST = 0.8, 0.8
_LOOK = 0.1
#: Counters of one pipeline.
_MANY = 10
_COUNTERS, _REGISTERS, _PAIRED, _LISTS = 12, 6, 8, 2
#: How often what is done.
_WEIGHTS = {
    Kind.INCR: 4,
    Kind.MANY: 8,
    Kind.CAS: 8,
    Kind.BOTH: 6,
    Kind.PUT: 4,
    Kind.APPEND: 4,
    Kind.POP: 4,
    Kind.READ: 12,
    Kind.SYNC_READ: 3,
}
#: The last key that is written in a round, and no other is watched after it.
_LAST = "z"


# -- in the processes -----------------------------------------------------------------------------------


class User:
    """One process that uses the memory, and writes down what it does."""

    def __init__(self, prefix: str, label: int, seed: str, folder: Path) -> None:
        self.shm: Any = rack.shm
        self.prefix, self.label = prefix, label
        self.chance = random.Random(f"{seed} {label}")
        self.book = journal.Records(folder / f"u{label}")
        self.done = journal.Numbers(folder / f"d{label}", 1)
        self.own: str | None = None
        self.number = 0

    def run(self, amount: int) -> int:
        """Do so many operations."""
        kinds, weights = list(_WEIGHTS), list(_WEIGHTS.values())
        actions: dict[Kind, Callable[[], int]] = {kind: getattr(self, kind.name.lower()) for kind in kinds}
        done = 0
        while done < amount:
            done += actions[self.chance.choices(kinds, weights)[0]]()
            self.done.replace(done)
        return done

    def call(self, kind: Kind, *what: Any) -> None:
        """Write down what is about to be done."""
        self.book.append(Did.CALL, time.perf_counter(), kind, *what)

    def returned(self, result: Any) -> int:
        """Write down what came of it."""
        self.book.append(Did.RETURN, time.perf_counter(), result)
        return 1

    def version(self) -> str:
        """Return a version that nobody else makes."""
        self.number += 1
        return f"{self.label}.{self.number}"

    def some(self, letter: str, count: int, most: int) -> list[str]:
        """Return some of the keys of a kind."""
        return [f"{letter}{number}" for number in self.chance.sample(range(count), self.chance.randint(1, most))]

    def key(self, name: str) -> str:
        """Return a key by its name in this round."""
        return self.prefix + name

    # -- what is done ----------------------------------------------------------------------------------

    def incr(self) -> int:
        """Count one."""
        (name,) = self.some("n", _COUNTERS, 1)
        self.call(Kind.INCR, name)
        return self.returned(self.shm.incr(self.key(name)))

    def many(self) -> int:
        """Count several at once."""
        names = self.some("n", _COUNTERS, _MANY)
        self.call(Kind.MANY, names)
        pipeline = self.shm.pipeline()
        for name in names:
            pipeline.incr(self.key(name))
        self.returned(pipeline.execute())
        return len(names)

    def cas(self) -> int:
        """Look at a register and replace what is there."""
        (name,) = self.some("c", _REGISTERS, 1)
        self.call(Kind.READ, [name])
        expected = self.shm.get(self.key(name))
        self.returned([expected])
        new = self.version()
        self.call(Kind.CAS, name, expected, new)
        known = self.shm.ABSENT if expected is None else expected
        self.returned(bool(self.shm.cas(self.key(name), known, new)))
        return 2

    def both(self) -> int:
        """Replace several in a transaction."""
        names, new = self.some("t", _PAIRED, 3), self.version()
        self.call(Kind.BOTH, names, new)
        try:
            with self.shm.transaction() as transaction:
                self.book.append(Did.SAW, [transaction.get(self.key(name)) for name in names])
                for name in names:
                    transaction[self.key(name)] = new
        except rack.ConflictError:
            return self.returned(False)
        return self.returned(True)

    def put(self) -> int:
        """Put what only this process puts."""
        name, new = f"o{self.label}", self.version()
        self.call(Kind.PUT, name, self.own, new)
        self.shm.put(self.key(name), new)
        self.own = new
        return self.returned(None)

    def append(self) -> int:
        """Append to a list."""
        (name,), element = self.some("q", _LISTS, 1), self.version()
        self.call(Kind.APPEND, name, element)
        self.shm.append(self.key(name), element)
        return self.returned(None)

    def pop(self) -> int:
        """Take the first of a list."""
        (name,) = self.some("q", _LISTS, 1)
        return self.take(name)

    def take(self, name: str) -> int:
        """Take the first of this list; keeps what it was."""
        self.call(Kind.POP, name)
        self.taken = self.shm.pop(self.key(name), 0, default=None)
        return self.returned(self.taken)

    def read(self, kind: Kind = Kind.READ) -> int:
        """Read keys of all kinds at one revision."""
        names = self.some("n", _COUNTERS, 2) + self.some("c", _REGISTERS, 2) + self.some("t", _PAIRED, 3)
        self.call(kind, names)
        if kind == Kind.SYNC_READ:
            self.shm.sync()
        with self.shm.reading() as reading:
            seen = [reading.get(self.key(name)) for name in names]
        return self.returned(seen)

    def sync_read(self) -> int:
        """Read what is there now."""
        return self.read(Kind.SYNC_READ)


def use(prefix: str, label: int, seed: str, amount: int, folder: Path) -> int:
    """Run in a process: use the memory."""
    return User(prefix, label, seed, folder).run(amount)


def drain(prefix: str, label: int, folder: Path) -> int:
    """Run in a process: empty the lists; returns how many elements were left."""
    user = User(prefix, label, "", folder)
    left = 0
    for number in range(_LISTS):
        while user.take(f"q{number}") and user.taken is not None:
            left += 1
    return left


def watch(prefix: str, label: int, revision: int, folder: Path) -> int:
    """Run in a process: write down each change until the last key is written; returns how many there were."""
    book = journal.Records(folder / f"w{label}")
    count = 0
    with rack.shm.watch(prefix, from_revision=revision) as changes:
        while True:
            change = changes.next(timeout=3 * PATIENCE)
            name = change.key.removeprefix(prefix)
            if name == _LAST:
                return count
            if not name.startswith("q"):
                book.append(change.revision, name, change.value)
                count += 1


def look(prefix: str) -> tuple[int, str, dict[str, Any]]:
    """Run in a process: return (revision, digest of everything, the versions of this round) after a `sync`."""
    shm = rack.shm
    shm.sync()
    everything = hashlib.sha256()
    with shm.reading() as reading:
        for item in reading.items():
            everything.update(repr(item).encode())
        mine = {key.removeprefix(prefix): value for key, value in reading.items(prefix)}
        versions = {name: value for name, value in mine.items() if name != _LAST and not name.startswith("q")}
        return reading.revision, everything.hexdigest(), versions


# -- in the program -------------------------------------------------------------------------------------


def run(orders: Orders, where: str) -> Iterator[Outcome]:
    """Run rounds, in a group that reads one database and in one in which every process has a replica."""
    replicas = ("always",) if orders.lab is not None else ("auto", "always")
    for replica in replicas:
        what = "replicas" if replica == "always" else "one database"
        outcome = Outcome(f"shared memory, {what}, {where}")
        if orders.only not in outcome.title:
            continue
        orders.say(outcome.title)
        begin = time.monotonic()
        amount = orders.amount // len(replicas)
        with recorded(outcome), rack.group("chaos", **{"shm_replica": replica, **orders.group}) as group:
            number = 0
            while outcome.counts.get("operations", 0) < amount:
                number += 1
                left = amount - outcome.counts.get("operations", 0)
                Round(f"{number}/", min(_ROUND, left), orders, group, outcome).run()
                orders.say(f"    {outcome.counts['operations']:,} of {amount:,} operations; {outcome.faults}")
                if outcome.violations or orders.left <= 0:
                    break  # what comes after a violation tells nothing more
        if orders.left <= 0:
            outcome.violations.append("not all operations were done in the time that there was")
        outcome.seconds = time.monotonic() - begin
        yield outcome


class Round:
    """One round."""

    def __init__(self, prefix: str, amount: int, orders: Orders, group: rack.Group, outcome: Outcome) -> None:
        self.prefix, self.amount, self.orders, self.group, self.outcome = prefix, amount, orders, group, outcome
        self.seed = f"{orders.seed} {outcome.title} {prefix}"
        self.folder = orders.folder / outcome.title.replace(" ", "-").replace(",", "") / prefix.strip("/")
        self.folder.mkdir(parents=True)
        self.crew = Crew(hits=outcome.faults)
        self.quotas: dict[int, int] = {}

    def run(self) -> None:
        """Do it, and judge."""
        self.revision: int = self.group.shm.sync() + 1
        for _ in range(_WATCHERS):
            self._watcher()
        for _ in range(_USERS):
            self._user(self.amount // _USERS)
        self._while_they_work()
        drainer = self.crew.add("drainer", lambda n: self.group.fork(drain, self.prefix, n, self.folder))
        ended = self._end("user") and self._end("drainer")
        if ended:
            self.group.shm[self.prefix + _LAST] = drainer.label
            self._end("watcher")
        self._judge()

    def _user(self, quota: int) -> None:
        def start(label: int) -> rack.Process:
            self.quotas[label] = quota
            return self.group.fork(use, self.prefix, label, self.seed, quota, self.folder)

        self.crew.add("user", start)

    def _watcher(self) -> None:
        # One that takes the place of another hears of everything from the beginning, too.
        self.crew.add("watcher", lambda n: self.group.fork(watch, self.prefix, n, self.revision, self.folder))

    def _while_they_work(self) -> None:
        kinds = {"kill user": 4.0, "kill watcher": 1.0, "stop user": 2.0, "stop watcher": 1.0}
        kinds |= {"cut off": 4.0} if self.orders.lab is not None else {}
        upcoming = faults.schedule(self.seed, kinds, _MEAN, _LONGEST)
        fault = next(upcoming)
        due = time.monotonic() + fault.after
        while (working := self.crew.alive("user")) and self.orders.left > 0:
            time.sleep(_LOOK)
            if time.monotonic() >= due:
                self._strike(fault, working)
                fault = next(upcoming)
                due = time.monotonic() + fault.after

    def _strike(self, fault: Fault, working: list[Member]) -> None:
        watching = self.crew.alive("watcher")
        match fault.kind:
            case "kill user":
                self._kill_user(fault.target(working))
            case "kill watcher" if watching:
                self.crew.kill(fault.target(watching))
                self._watcher()
            case "stop user":
                self.crew.pause(fault.target(working), fault)
            case "stop watcher" if watching:
                self.crew.pause(fault.target(watching), fault)
            case "cut off":
                strike(self.orders.lab, fault, self.crew)

    def _kill_user(self, member: Member) -> None:
        self.crew.kill(member)
        path = self.folder / f"d{member.label}"
        done = next(iter(journal.numbers(path)), 0) if path.exists() else 0
        if member.killed and self.quotas[member.label] > done:
            self._user(self.quotas[member.label] - done)

    def _end(self, role: str) -> bool:
        """Wait for all of a role; tell whether they ended well."""
        wrong = self.crew.finish(role, self.orders.left)
        self.outcome.violations += wrong
        return not wrong

    # -- afterwards --------------------------------------------------------------------------------------

    def _judge(self) -> None:
        books = Books()
        for member in self.crew.all("user") + self.crew.all("drainer"):
            books.add(member.label, self._records("u", member))
        told = {
            str(member.label): [watches.Event(*record) for record in self._records("w", member)]
            for member in self.crew.all("watcher")
            if not member.killed
        }
        in_the_end, violations = self._look()
        books.seen = {(event.key, event.value) for events in told.values() for event in events}
        books.seen |= set(in_the_end.items())
        judged = histories.judge(books.history(), books.seen)
        violations += books.violations + judged.violations
        for name, appends in books.appends.items():
            violations += [f"{name}: {each}" for each in queues.judge(appends, books.pops[name])]
        violations += watches.judge(told, judged.orders)
        violations += [
            f"{key} is {in_the_end.get(key)!r} in the end, where {order[-1]!r} was the last version"
            for key, order in judged.orders.items()
            if in_the_end.get(key) != order[-1]
        ]
        self.outcome.violations += [f"round {self.prefix} {each}" for each in violations]
        lists = sum(map(len, books.appends.values())) + sum(map(len, books.pops.values()))
        self.outcome.add("operations", judged.operations + lists)
        self.outcome.add("changes told to watchers", sum(map(len, told.values())))

    def _records(self, letter: str, member: Member) -> Iterator[list[Any]]:
        path = self.folder / f"{letter}{member.label}"
        return journal.records(path) if path.exists() else iter(())

    def _look(self) -> tuple[dict[str, Any], list[str]]:
        """Return what is there in the end; each process of those asked has a replica, if the group has them."""
        seen = [self.group.fork(look, self.prefix).result(timeout=PATIENCE) for _ in range(2)]
        if seen[0] == seen[1]:
            return seen[0][2], []
        return seen[0][2], [f"two processes see different memories in the end: {seen[0][:2]} and {seen[1][:2]}"]
