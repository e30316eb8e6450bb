"""What runs at the ends of pipes, and the bound of these tests."""

from __future__ import annotations

import time

import rackactor as rack

ENOUGH = 30.0


def count(reader: rack.PipeReader, pause: float = 0.0) -> int:
    number = 0
    for _ in reader:
        number += 1
        time.sleep(pause)
    return number


def produce(writer: rack.PipeWriter, number: int, start: int = 0) -> None:
    for value in range(start, start + number):
        writer.send(value)
