"""What the processes of the tests run, where it has to be importable, or is needed in more than one file."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import rackactor as rack


def add(left: int, right: int = 0) -> int:
    return left + right


def nap(seconds: float = 60.0) -> None:
    time.sleep(seconds)


def wait_for_a_signal() -> None:
    while True:
        signal.pause()


def fail(text: str) -> None:
    raise LookupError(text)


def answer() -> None:
    """Reply to asks with what was asked, until told to stop."""
    while (message := rack.receive()).value != "stop":
        message.reply(message.value)


def daemonise(path: str, count: int) -> None:
    """Leave `count` daemons behind in the classical way, then wait."""
    for number in range(count):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                with open(f"{path}/{number}.new", "w") as file:
                    file.write(str(os.getpid()))
                os.rename(f"{path}/{number}.new", f"{path}/{number}")
                wait_for_a_signal()
            os._exit(0)
        os.wait()
    wait_for_a_signal()


class Echo(rack.Actor):
    """Send back whatever comes."""

    def receiveUnrecognizedMessage(self, message: Any, sender: Any) -> None:
        self.send(sender, message)


class Collector(rack.Actor):
    """Collect messages and signals; an ask of "all" is answered with them."""

    def __init__(self) -> None:
        super().__init__()
        self.got: list[Any] = []

    def receiveMsg_str(self, message: str, sender: Any) -> None:
        if message == "all":
            self.send(sender, self.got)
        else:
            self.got.append(message)

    def receiveMsg_int(self, message: int, sender: Any) -> None:
        self.got.append(message)

    def receiveMsg_bytes(self, message: bytes, sender: Any) -> None:
        self.got.append(len(message))

    def receiveSignal(self, sig: str, sender: int) -> None:
        self.got.append(sig)


class Faulty(rack.Actor):
    """Cannot even be made."""

    def __init__(self) -> None:
        raise ValueError("no actor today")
