"""Pipes under load while readers and writers are killed and stopped and paths are cut."""

from __future__ import annotations

import shutil
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import eventually

import rackactor as rack

from . import deliveries, faults, journal
from .crew import PATIENCE, Crew, Member, strike
from .faults import Fault
from .parts import Orders, Outcome, recorded

_HEAD = struct.Struct("<Q")
#: Seconds from one fault to the next, on average; and that one lasts at the most: less than makes a process a dead one.
_MEAN, _LONGEST = 0.35, 0.6
#: Bytes that a reader may be given and has not confirmed, of each writer, and what a message costs beside its size.
_WINDOW, _OVERHEAD = 4 << 20, 64
#: Bytes that a killed writer is likely to take with it, for each reader and itself.
_LOST = 1 << 20
#: Seconds between looks at how far the writers are.
_LOOK = 0.2
#: Seconds between two lines that say how far it is.
_SAY = 5.0


@dataclass(frozen=True)
class Shape:
    """One pipe and who uses it."""

    name: str
    writers: int
    readers: int
    size: int
    #: Its part of all messages.
    share: float
    #: Whether a command (`cat`) passes on what the writers write, as bytes: its reader is not killed, since with bytes
    #: nobody could go on where another one left off.
    command: bool = False

    @property
    def source(self) -> str:
        """The pipe that readers read from."""
        return f"{self.name}, passed on" if self.command else self.name

    @property
    def kinds(self) -> dict[str, float]:
        """What goes wrong, and how often relative to each other."""
        if self.command:
            return {"kill writer": 3.0, "stop command": 3.0, "stop reader": 2.0, "stop writer": 1.0}
        return {"kill reader": 4.0, "kill writer": 3.0, "stop reader": 2.0, "stop writer": 1.0}

    @property
    def window(self) -> int:
        """Messages that a killed reader may have been given by all writers together and has not confirmed."""
        return self.writers * (_WINDOW // (self.size + _OVERHEAD) + 1)

    @property
    def lost(self) -> int:
        """Messages that a killed writer is likely to take with it."""
        return (self.readers + 1) * _LOST // (self.size + _OVERHEAD)


SHAPES = (
    Shape("one reader", 3, 1, 100, 0.37),
    Shape("many readers", 3, 3, 100, 0.5),
    Shape("through a command", 2, 1, 100, 0.1, command=True),
    Shape("larger messages", 2, 2, 20_000, 0.03),
)


def write(name: str, label: int, last: int, size: int, folder: Path) -> int:
    """Run in a process: send messages 1 to `last`; returns the last one."""
    handed = journal.Numbers(folder / f"w{label}", 1)
    end = rack.pipe(name, "w")
    filling = b"." * max(0, size - _HEAD.size)
    for number in range(1, last + 1):
        message = _HEAD.pack(deliveries.word(label, number)) + filling
        _send(end, message)
        handed.replace(number)
    end.close()
    return last


def _send(end: Any, message: bytes) -> None:
    """Send, if need be when there is a reader again."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            end.send(message, timeout=PATIENCE)
            return
        except BrokenPipeError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)


def read(name: str, label: int, most: int, folder: Path) -> str:
    """Run in a process: take messages until the pipe has ended; returns how it has."""
    end = rack.pipe(name, "r")
    taken = journal.Numbers(folder / f"r{label}", most)  # says, too, that it has opened its end
    unpack = _HEAD.unpack_from
    while True:
        try:
            message = end.recv(timeout=3 * PATIENCE)
        except EOFError:
            return "ended"
        except ConnectionResetError:
            return "broken"
        taken.append(unpack(message)[0])


def read_bytes(name: str, label: int, most: int, size: int, folder: Path) -> str:
    """Run in a process: take messages of this size from a pipe of bytes until it has ended."""
    with rack.pipe(name, "r", binary=True).file("rb") as file:
        taken = journal.Numbers(folder / f"r{label}", most)
        while message := file.read(size):
            taken.append(_HEAD.unpack_from(message)[0])
    return "ended"


def run(orders: Orders, where: str) -> Iterator[Outcome]:
    """Run all pipes, one after the other; `where` says in which group."""
    for shape in SHAPES:
        amount = round(orders.amount * shape.share)
        outcome = Outcome(f"pipe, {shape.name}, {where}")
        if orders.only not in outcome.title:
            continue
        folder = orders.folder / shape.name.replace(" ", "-")
        folder.mkdir()
        orders.say(outcome.title)
        begin = time.monotonic()
        with recorded(outcome), rack.group("chaos", **orders.group) as group:
            Load(shape, amount, orders, folder, group, outcome).run()
        outcome.seconds = time.monotonic() - begin
        shutil.rmtree(folder)
        yield outcome


class Load:
    """One pipe."""

    def __init__(
        self, shape: Shape, amount: int, orders: Orders, folder: Path, group: rack.Group, outcome: Outcome
    ) -> None:
        self.shape, self.amount, self.orders, self.folder, self.group = shape, amount, orders, folder, group
        self.crew = Crew()
        self.outcome = outcome
        #: What each writer was to send.
        self.quotas: dict[int, int] = {}

    def run(self) -> None:
        """Send all messages, and judge."""
        keeper = self.group.pipe(self.shape.name, "w")  # without it, the pipe ends with a writer that is killed
        for _ in range(self.shape.readers):
            self._reader()
        if self.shape.command:
            self._command()
        for number in range(self.shape.writers):
            self._writer(len(range(number, self.amount, self.shape.writers)))
        self._while_they_write()
        self._wait_for_readers()  # one that opens a pipe that has ended begins a new one, as with any FIFO
        keeper.close()
        ends = self._ends()
        self._judge(ends)

    def _reader(self) -> None:
        # Any one reader may take all that there is, and some of it again.
        most = self.amount + 50 * self.shape.window
        name, size, folder = self.shape.source, self.shape.size, self.folder
        if self.shape.command:
            self.crew.add("reader", lambda label: self.group.fork(read_bytes, name, label, most, size, folder))
        else:
            self.crew.add("reader", lambda label: self.group.fork(read, name, label, most, folder))

    def _command(self) -> None:
        """Start the command between the two pipes."""
        with self.group.pipe(self.shape.name, "r") as come, self.group.pipe(self.shape.source, "w") as go:
            self.crew.add("command", lambda _: self.group.fork(["cat"], stdin=come, stdout=go))

    def _writer(self, quota: int) -> None:
        def start(label: int) -> rack.Process:
            self.quotas[label] = quota
            return self.group.fork(write, self.shape.name, label, quota, self.shape.size, self.folder)

        self.crew.add("writer", start)

    # -- while it goes on -------------------------------------------------------------------------------

    def _while_they_write(self) -> None:
        upcoming = faults.schedule(f"{self.orders.seed} {self.outcome.title}", self._kinds(), _MEAN, _LONGEST)
        fault = next(upcoming)
        due, said = time.monotonic() + fault.after, time.monotonic()
        while (writing := self.crew.alive("writer")) and self.orders.left > 0:
            time.sleep(_LOOK)
            if time.monotonic() >= due:
                self._strike(fault, writing)
                fault = next(upcoming)
                due = time.monotonic() + fault.after
            if time.monotonic() - said > _SAY:
                said = time.monotonic()
                handed = sum(self._handed(member.label) for member in self.crew.all("writer"))
                self.orders.say(f"    {handed:,} of {self.amount:,} messages; {self._hits()}")
        if self.orders.left <= 0:
            self.outcome.violations.append("not all messages were sent in the time that there was")

    def _kinds(self) -> dict[str, float]:
        return self.shape.kinds | ({"cut": 4.0, "cut off": 3.0} if self.orders.lab is not None else {})

    def _strike(self, fault: Fault, writing: list[Member]) -> None:
        lab, reading = self.orders.lab, self.crew.alive("reader")
        match fault.kind:
            case "kill reader":
                self.crew.kill(fault.target(reading))
                self._reader()
            case "kill writer":
                self._kill_writer(fault.target(writing))
            case "stop reader":
                self.crew.pause(fault.target(reading), fault)
            case "stop command":
                self._stop_command(fault)
            case "stop writer":
                self.crew.pause(fault.target(writing), fault)
            case _:
                strike(lab, fault, self.crew)

    def _stop_command(self, fault: Fault) -> None:
        """Stop the command itself, by the group's own means: its agent goes on."""
        for command in self.crew.alive("command"):
            command.process.kill("STOP")
            self.crew.count("commands stopped for a while")
            time.sleep(fault.lasts)
            command.process.kill("CONT")

    def _kill_writer(self, member: Member) -> None:
        self.crew.kill(member)
        handed = self._handed(member.label)
        rest = self.quotas[member.label] - handed
        if member.killed and rest > 0:
            self._writer(rest + min(handed, self.shape.lost))

    def _wait_for_readers(self) -> None:
        """Wait until all readers have opened their end."""
        alive = self.crew.alive("reader")
        if not eventually(lambda: all((self.folder / f"r{member.label}").exists() for member in alive), PATIENCE):
            self.outcome.violations.append("a reader has not opened its end")

    def _handed(self, label: int) -> int:
        path = self.folder / f"w{label}"
        return next(iter(journal.numbers(path)), 0) if path.exists() else 0

    def _hits(self) -> str:
        return ", ".join(f"{count} {what}" for what, count in self.crew.hits.items()) or "no faults yet"

    # -- afterwards --------------------------------------------------------------------------------------

    def _ends(self) -> set[str]:
        """Wait for everybody; return how the pipe has ended for its readers."""
        for role in ("writer", "reader"):
            self.outcome.violations += self.crew.finish(role, self.orders.left)
        return {str(member.result) for member in self.crew.all("reader") if member.result is not None}

    def _judge(self, ends: set[str]) -> None:
        outcome, crew, shape = self.outcome, self.crew, self.shape
        killed = any(member.killed for member in crew.all("writer"))
        if not shape.command and (unheard := ends - {"broken" if killed else "ended"}):
            outcome.violations.append(
                f"the pipe {unheard.pop()} for a reader, {'and' if killed else 'but no'} writer was killed"
            )
        writers = [deliveries.Writer(m.label, self._handed(m.label), m.killed) for m in crew.all("writer")]
        readers = [deliveries.Reader(m.label, self._taken(m.label), m.killed) for m in crew.all("reader")]
        # What each reader was given, and what has come back of one that was killed.
        lanes = (shape.readers + 1) * shape.window // shape.writers if shape.readers > 1 else 0
        found = deliveries.judge(writers, readers, shape.window, lanes)
        outcome.violations += found.violations
        outcome.faults = dict(crew.hits)
        outcome.add("messages", found.messages)
        outcome.add("taken again after a reader was killed", found.redelivered)
        outcome.add("taken late after a reader was killed", found.late)
        outcome.add("in the hands of killed readers", found.in_hand)
        outcome.add("not handed over by killed writers", found.cut_off)
        outcome.add("under way from killed writers", found.under_way)

    def _taken(self, label: int) -> Sequence[int]:
        path = self.folder / f"r{label}"
        return journal.numbers(path) if path.exists() else ()
