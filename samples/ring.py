"""Processes that talk to each other by pid: a token goes round a ring of them.

As a process of a group, or as an ordinary program that makes its own:

    rack run samples/ring.py --stations 5 --laps 1000
    python samples/ring.py
"""

import time

import rackactor as rack
from rackactor.script import call


def station() -> int:
    """Pass the token on to the neighbour until told to stop; return how often.

    The first message says who the neighbour is. The token is the number of steps it still has to go.
    """
    neighbour = rack.process(rack.receive().value)
    home = rack.process(rack.getppid())
    passed = 0
    while (steps := rack.receive().value) is not None:
        if steps == 0:
            home.tell("the token has arrived")
        else:
            neighbour.tell(steps - 1)
            passed += 1
    return passed


def main(stations: int = 5, laps: int = 1000) -> None:
    """Send a token round a ring of processes.

    Args:
        stations: how many processes form the ring.
        laps: how often the token goes round.
    """
    ring = rack.fork(station, n=stations, name="station")
    for here, there in zip(ring, ring[1:] + ring[:1], strict=True):
        here.tell(there.pid)
    ring[0].tell(0)  # comes straight home: the ring is up
    rack.receive()
    began = time.perf_counter()
    ring[0].tell(stations * laps)
    print(rack.receive().value)
    seconds = time.perf_counter() - began
    for process in ring:
        process.tell(None)
    steps = sum(process.result() for process in ring)
    print(f"{steps} steps through {stations} processes: {seconds / steps * 1e6:.0f} us each")


if __name__ == "__main__":  # `rack run` calls main() by itself; this is for `python samples/ring.py`
    call(main)
