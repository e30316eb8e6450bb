"""Estimate pi with darts that actors throw.

As a process of a group, or as an ordinary program that makes its own:

    rack run samples/pi.py --workers 4 --throws 4_000_000
    python samples/pi.py --workers 4
"""

import random

import rackactor as rack
from rackactor.script import call


class Dart(rack.Actor):
    """Throw darts at the unit square; answer how many hit the quarter of the circle."""

    def receiveMsg_int(self, throws: int, sender: object) -> None:
        self.send(sender, sum(random.random() ** 2 + random.random() ** 2 <= 1 for _ in range(throws)))


def main(workers: int = 4, throws: int = 1_000_000) -> None:
    """Estimate pi by throwing darts, on several processes at once.

    Args:
        workers: how many processes throw.
        throws: how many darts they throw together.
    """
    darts = rack.fork(Dart, n=workers)
    asked = [dart.submit(throws // workers) for dart in darts]  # each is a concurrent.futures.Future
    hits = sum(answer.result() for answer in asked)
    print(4 * hits / (throws // workers * workers))


if __name__ == "__main__":  # `rack run` calls main() by itself; this is for `python samples/pi.py`
    call(main)
