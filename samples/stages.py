"""A pipeline of three stages whose slow one is scaled out: pipes join them, each item goes to whoever is free.

rack run samples/stages.py --slow 8
python samples/stages.py
"""

import time

import rackactor as rack
from rackactor.script import call


def make(raw: rack.PipeWriter, items: int) -> None:
    """First stage: quick."""
    for number in range(items):
        raw.send(number)


def refine(raw: rack.PipeReader, refined: rack.PipeWriter, seconds: float) -> int:
    """Second stage: slow, so there are several of it. Return how many items came here."""
    taken = 0
    for number in raw:  # until the first stage has ended
        time.sleep(seconds)
        refined.send(number * number)
        taken += 1
    return taken


def collect(refined: rack.PipeReader) -> tuple[int, float]:
    """Third stage: quick. Return the sum of what has come, and how long it took to come."""
    total, began = refined.recv(), time.perf_counter()
    return total + sum(refined), time.perf_counter() - began


def main(items: int = 200, slow: int = 4, seconds: float = 0.02) -> None:
    """Run a pipeline.

    Args:
        items: how many items pass through it.
        slow: processes of the slow stage.
        seconds: what each item costs there.
    """
    raw_reader, raw_writer = rack.pipe()
    refined_reader, refined_writer = rack.pipe()
    last = rack.fork(collect, refined_reader, name="collect")
    workers = rack.fork(refine, raw_reader, refined_writer, seconds, n=slow, name="refine")
    rack.fork(make, raw_writer, items, name="make")
    for end in (raw_reader, raw_writer, refined_reader, refined_writer):
        end.close()  # as with Unix pipes: whoever keeps a writer open keeps its readers waiting
    total, took = last.result()
    print(f"sum of the squares below {items}: {total}")
    print(f"{slow} processes shared the slow stage: {', '.join(str(w.result()) for w in workers)} items each")
    print(f"{took:.2f} s; one process alone would have slept for {items * seconds:.2f} s")


if __name__ == "__main__":  # `rack run` calls main() by itself; this is for `python samples/stages.py`
    call(main)
