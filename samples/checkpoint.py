"""A long job that is killed half-way and goes on where it was: its checkpoints are files of the group.

rack run samples/checkpoint.py --upto 100000
python samples/checkpoint.py
"""

import json
import time

import rackactor as rack
from rackactor.script import call

STATE = "/primes/state.json"


def count_primes(upto: int, every: int) -> int:
    """Count primes below a bound; write down how far it is, again and again."""
    state = {"number": 2, "primes": 0}
    try:
        with rack.open(STATE) as file:
            state = json.load(file)
        print(f"process {rack.getpid()} goes on at {state['number']}")
    except FileNotFoundError:
        print(f"process {rack.getpid()} begins")
    for number in range(state["number"], upto):
        if number % every == 0:
            save({"number": number, "primes": state["primes"]})
        state["primes"] += all(number % divisor for divisor in range(2, int(number**0.5) + 1))
    return state["primes"]


def save(state: dict[str, int]) -> None:
    """Replace the checkpoint. A file appears as a whole when it is closed, or not at all: a kill leaves the old one."""
    with rack.open(STATE, "w") as file:
        json.dump(state, file)


def reached() -> int:
    """Return up to where the checkpoint is."""
    try:
        with rack.open(STATE) as file:
            return int(json.load(file)["number"])
    except FileNotFoundError:
        return 0


def main(upto: int = 100_000, every: int = 1_000) -> None:
    """Count primes; kill whoever does it after its second checkpoint; have another one finish.

    Args:
        upto: the bound.
        every: numbers between two checkpoints.
    """
    first = rack.fork(count_primes, upto, every)
    while first.is_alive() and reached() < 2 * every:
        time.sleep(0.01)
    if first.is_alive():
        first.kill("KILL")
    print(f"the first one: {first.wait()}")
    print(f"{rack.fork(count_primes, upto, every).result()} primes below {upto}")


if __name__ == "__main__":  # `rack run` calls main() by itself; this is for `python samples/checkpoint.py`
    call(main)
