"""A program whose signal handlers make calls at whatever moment, or raise.

Its arguments are TRANSPORT WHERE HOW SECONDS.

WHERE: `script` or `process`. HOW: `catches` (its handler catches what its calls raise), `lets` (it does not), `raises`
(it makes none, and raises).
"""

from __future__ import annotations

import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import rackactor as rack

ENOUGH = 30.0


class Interruption(Exception):
    """What a handler raises."""


def answer() -> None:
    """Reply to what is asked; take what is told."""
    while True:
        message = rack.receive(None)
        if isinstance(message.value, tuple):
            message.reply(message.value)


class Alarms:
    """Interrupt the main thread again and again, also in the midst of the handler."""

    def __init__(self, how: str, calls: list[Callable[[], Any]]) -> None:
        self.how, self.calls = how, calls
        self.chance = random.Random(14)
        self.depth = 0
        #: Somebody catches what a handler raises.
        self.raising = False
        self.count: Counter[str] = Counter()

    def handle(self, *_: Any) -> None:
        if self.how == "raises":
            if self.raising:
                self.count["raised"] += 1
                raise Interruption
            return
        if self.depth > 2:
            return
        self.depth += 1
        if self.chance.random() < 0.3:
            self.arm(0.0005)
        try:
            self.chance.choice(self.calls)()
            self.count["worked"] += 1
        except rack.RackError as error:
            self.count[f"{type(error).__name__}: {error}"] += 1
            if self.how == "lets":
                raise
        finally:
            self.depth -= 1
            if self.depth == 0:
                self.arm(0.002)

    def arm(self, most: float) -> None:
        """Have the next one come soon."""
        signal.setitimer(signal.ITIMER_REAL, self.chance.uniform(0.00005, most))


def work(echo: rack.Process, how: str, seconds: float) -> dict[str, int]:
    """Make calls of every kind, interrupted all the while; whatever happens, all works in the end."""
    reader, writer = rack.pipe()
    rack.shm["n"] = 0
    calls: list[Callable[[], Any]] = [
        lambda: rack.shm.incr("n"),
        rack.ps,
        lambda: echo.tell("a word"),
        lambda: echo.ask(("handler",), timeout=ENOUGH),
        lambda: writer.send(b"x", timeout=ENOUGH),
    ]
    alarms = Alarms(how, calls * 9 + [lambda: rack.fork(abs, -1)])
    signal.signal(signal.SIGALRM, alarms.handle)
    until = time.monotonic() + seconds
    number = 0
    while time.monotonic() < until or alarms.count.total() < 50:
        number += 1
        try:
            alarms.raising = True
            if how == "raises" or number == 1:
                alarms.arm(0.005)
            assert echo.ask((number,), timeout=ENOUGH) == (number,)
            rack.shm["k"] = bytes(50_000)
            echo.tell("word" * 10_000)
            assert rack.ps()
            while reader.poll():
                assert reader.recv(ENOUGH) == b"x"
            alarms.raising = False
        except (Interruption, rack.RackError):
            pass
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    assert echo.ask(("last",), timeout=ENOUGH) == ("last",)
    rack.shm["k"] = "last"
    assert rack.shm["k"] == "last"
    assert rack.fork(abs, -3).result(ENOUGH) == 3
    return dict(alarms.count)


def main(transport: str, where: str, how: str, seconds: str) -> None:
    with rack.group(transport=transport, provider_settings={"warm": 4}, max_spawns=10_000) as group:
        echo = group.fork(answer)
        if where == "script":
            count = work(echo, how, float(seconds))
        else:
            count = group.fork(work, echo, how, float(seconds)).result(2 * ENOUGH)
    print(count)


if __name__ == "__main__":
    main(*sys.argv[1:])
