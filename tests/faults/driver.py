"""A group that works while the operating system refuses: what is asked of it is done or is an error, and it goes on.

In each round a group is made, the injector (`plugin/injector.py`) is armed, and operations of all kinds are tried for a
while. Each must give the right value, or raise an error that the docs name: never a wrong value, a hang, or the end of
the group. Then the injector is disarmed, and everything must work again in the very same group.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rackactor as rack

PLUGIN = Path(__file__).parent / "plugin"
ROLES = ("supervisor", "forkserver", "service")
#: Seconds that one operation may take, and that a group has to be well again.
BOUND, RECOVERY = 30.0, 40.0


@dataclass
class Figures:
    """What was tried, and what came of it."""

    rounds: int = 0
    #: Of operations: done, or answered by an error.
    done: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    #: What must not be.
    violations: list[str] = field(default_factory=list)
    #: (role, call, errno, place): how often.
    injected: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)

    def text(self) -> str:
        """Return it for people."""
        by_errno: dict[str, Counter[str]] = {}
        for (_, call, number, _), count in self.injected.items():
            by_errno.setdefault(call, Counter())[number] += count
        roles = Counter[str]()
        for (role, *_), count in self.injected.items():
            roles[role] += count
        each = ", ".join(f"{role} {count}" for role, count in sorted(roles.items()))
        places = len({where for *_, where in self.injected})
        lines = [
            f"{self.rounds} groups, of which {self.rounds - len(self.violations)} went on",
            f"{sum(self.done.values())} operations done, {sum(self.errors.values())} answered by an error",
            f"{sum(self.injected.values())} faults at {places} places: {each}",
            *(f"  {call}: {_list(counts)}" for call, counts in sorted(by_errno.items())),
            f"done: {_list(self.done)}",
            f"errors: {_list(self.errors)}",
            *(f"VIOLATION: {each}" for each in self.violations),
        ]
        return "\n".join(lines)


def _list(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"


class Arm:
    """The switch of the injector, and the list of what it has done."""

    def __init__(self, place: Path) -> None:
        self.place = place
        (place / "armed").write_bytes(b"\0")
        (place / "injected").touch()

    def set(self, on: bool) -> None:
        with (self.place / "armed").open("r+b") as file:
            file.write(b"\1" if on else b"\0")

    def count(self, figures: Figures) -> None:
        for line in (self.place / "injected").read_text().splitlines():
            role, call, number, where = line.split()
            figures.injected[role, call, number, where] += 1


@contextmanager
def injector(seed: int, roles: tuple[str, ...]) -> Iterator[Arm]:
    """Have supervisors that are started meanwhile get faults when the injector is armed."""
    place = Path(tempfile.mkdtemp(prefix="rack-faults-"))
    arm = Arm(place)
    before = dict(os.environ)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PLUGIN), before.get("PYTHONPATH", "")]))
    os.environ["RACK_TEST_FAULTS"] = json.dumps({"place": str(place), "seed": seed, "roles": list(roles)})
    try:
        yield arm
    finally:
        os.environ.clear()
        os.environ.update(before)
        shutil.rmtree(place, ignore_errors=True)


# -- operations: each raises AssertionError for a wrong value -------------------------------------------------


def function(g: rack.Group, dice: random.Random) -> None:
    n = dice.randrange(1000)
    assert g.fork(pow, n, 2).result(timeout=BOUND) == n * n


def command(g: rack.Group, dice: random.Random) -> None:
    child = g.fork(["echo", "words"])
    said = child.stdout.read()
    status = child.wait(BOUND)
    if status.cause is rack.Cause.EXITED:
        assert (status.code, said) == (0, b"words\n"), (said, status.evidence)
    else:
        raise rack.ForkError(f"{status.cause}: {status.evidence}")


def chatter(count: int) -> None:
    for _ in range(count):
        print("x" * 99)


def output(g: rack.Group, dice: random.Random) -> None:
    child = g.fork(chatter, 3000)
    status = child.wait(BOUND)
    if status.cause is not rack.Cause.EXITED:
        raise rack.ForkError(f"{status.cause}: {status.evidence}")
    said = child.stdout.read()
    assert said == (b"x" * 99 + b"\n") * 3000, len(said)


def killed(g: rack.Group, dice: random.Random) -> None:
    child = g.fork(time.sleep, 3600)
    child.kill("KILL")
    status = child.wait(BOUND)
    assert status.cause in (rack.Cause.SIGNALLED, rack.Cause.BOOT_FAILED), status


def memory(g: rack.Group, dice: random.Random) -> None:
    key, value = f"k{dice.randrange(5)}", dice.randbytes(dice.choice((10, 1000, 100_000)))
    g.shm[key] = value
    assert g.shm[key] == value
    assert g.shm.incr("n") > 0
    del g.shm[key]


def snapshot(g: rack.Group, dice: random.Random) -> None:
    with tempfile.TemporaryDirectory() as place:
        g.shm["s"] = dice.randrange(1000)
        kept = g.shm["s"]
        g.shm.snapshot(f"{place}/s")
        g.shm.restore(f"{place}/s")
        assert g.shm["s"] == kept


def files(g: rack.Group, dice: random.Random) -> None:
    path, data = f"/d{dice.randrange(3)}/f{dice.randrange(5)}", dice.randbytes(dice.choice((10, 100_000)))
    with g.open(path, "wb") as file:
        file.write(data)
    with g.open(path, "rb") as file:
        assert file.read() == data
    assert path in g.fs.ls(os.path.dirname(path), detail=False)
    g.fs.rm(path)


def pipe(g: rack.Group, dice: random.Random) -> None:
    reader, writer = g.pipe()
    with writer:
        child = g.fork(send_some, writer)
    with reader:
        try:
            got = list(reader)
        except rack.PipeBroken:
            got = []
    status = child.wait(BOUND)
    if status.cause is not rack.Cause.EXITED:
        raise rack.ForkError(f"{status.cause}: {status.evidence}")
    assert got == list(range(100)), got


def send_some(writer: rack.PipeWriter) -> None:
    for number in range(100):
        writer.send(number)


class Adder(rack.Actor):
    def receiveMsg_int(self, number: int, sender: Any) -> None:
        self.send(sender, number + 1)


def actor(g: rack.Group, dice: random.Random) -> None:
    made = g.fork(Adder)
    assert made.ask(1, BOUND) == 2
    made.kill()
    made.wait(BOUND)


def looks(g: rack.Group, dice: random.Random) -> None:
    assert all(row["pid"] for row in g.ps())


OPERATIONS: tuple[Callable[[rack.Group, random.Random], None], ...] = (
    function,
    command,
    output,
    killed,
    memory,
    snapshot,
    files,
    pipe,
    actor,
    looks,
)


# -- rounds -----------------------------------------------------------------------------------------------------


def run(
    figures: Figures, seed: int, count: int, transport: str, seconds: float = 60.0, roles: tuple[str, ...] = ROLES
) -> None:
    """Do one round: `count` operations, or as many as can be tried in this time."""
    until = time.monotonic() + seconds
    dice = random.Random(seed)
    figures.rounds += 1
    with injector(seed, roles) as arm:
        try:
            _round(figures, dice, arm, count, until, transport)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            words = f"{type(error).__name__}: {error} ({where.name}: {where.line})"
            figures.violations.append(f"seed {seed}, {transport}: {words}")
        finally:
            arm.set(False)
            arm.count(figures)


def _round(figures: Figures, dice: random.Random, arm: Arm, count: int, until: float, transport: str) -> None:
    options: dict[str, Any] = {"transport": transport, "provider_settings": {"warm": dice.choice((0, 2, 4))}}
    with rack.group("faulty", echo=False, **options) as g:
        arm.set(True)
        for number in range(count):
            if time.monotonic() >= until:
                break
            operation = OPERATIONS[number % len(OPERATIONS)] if number < len(OPERATIONS) else dice.choice(OPERATIONS)
            try:
                operation(g, dice)
            except (rack.GroupEnded, rack.RackTimeout) as error:
                raise AssertionError(f"{operation.__name__}: {type(error).__name__}: {error}") from error
            except (rack.RackError, OSError, MemoryError) as error:
                figures.errors[f"{operation.__name__}: {type(error).__name__}"] += 1
            else:
                figures.done[operation.__name__] += 1
        arm.set(False)
        try:
            _recover(g, dice)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{_log(g)}") from error


def _log(g: rack.Group) -> str:
    """Return what the supervisor and its fork server have said last."""
    with (Path(os.environ["XDG_RUNTIME_DIR"]) / "rackactor" / g.gid[:12] / "supervisor.log").open() as file:
        return "".join(file.readlines()[-30:])


def _recover(g: rack.Group, dice: random.Random) -> None:
    """See that all works again."""
    give_up = time.monotonic() + RECOVERY
    for operation in OPERATIONS:
        while True:
            try:
                operation(g, dice)
                break
            except rack.GroupEnded:
                raise
            except (rack.RackError, OSError, MemoryError) as error:
                if time.monotonic() >= give_up:
                    raise AssertionError(f"{operation.__name__} still fails: {error!r}") from error
                time.sleep(0.5)
