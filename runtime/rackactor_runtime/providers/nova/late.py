"""Look out for what may still come of a group that is over: `python -m rackactor_runtime.providers.nova.late GID`.

A create that was given up (its answer was lost, or the launch was called off meanwhile) may be carried out minutes
later, when nobody of the group is left. Whoever knows that of a group starts this program, which outlives him: it looks
for what comes, and removes it, until nothing can come any more.
"""

from __future__ import annotations

import argparse
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from rackactor.errors import RackError
from rackactor_runtime.providers.machines.strays import DEBT
from rackactor_runtime.providers.nova.found import Found
from rackactor_runtime.providers.nova.inventory import Inventory
from rackactor_runtime.providers.nova.removal import remove
from rackactor_runtime.providers.nova.session import Session

#: Seconds between looks; the last one goes on.
PAUSES = (2.0, 4.0, 8.0, 15.0, 30.0)
#: Seconds beyond the time that it goes on at the most, while the cloud cannot be asked.
PATIENCE = 900.0

_log = logging.getLogger(__name__)


def look_out(
    take: Callable[[], Sequence[Found]],
    seconds: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Remove whatever comes; tell whether nothing is left.

    Args:
        take: lists all that a group has, in the order in which it can go; it raises when it cannot be had.
        seconds: for which something may come.
        sleep, clock: how to wait, and what time it is.
    """
    began, turn = clock(), 0
    while True:
        try:
            clean = not take()
            if not clean:
                left, words = remove(take, sleep=sleep, clock=clock)
                clean = not left and not words
        except Exception as error:
            _log.info("the cloud could not be asked: %s", error)
            clean = False
        over = clock() - began
        if over >= seconds and (clean or over >= seconds + PATIENCE):
            return clean
        sleep(PAUSES[min(turn, len(PAUSES) - 1)])
        turn += 1


def start(cloud: str | None, gid: str, seconds: float) -> int:
    """Have a program of its own look out, which outlives this one; return its OS pid."""
    words = [sys.executable, "-m", __spec__.name, gid, "--seconds", f"{seconds:.0f}"]
    words += [] if cloud is None else ["--cloud", cloud]
    null = subprocess.DEVNULL
    return subprocess.Popen(words, stdin=null, stdout=null, stderr=null, start_new_session=True).pid


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; the exit status is 1 when something is left."""
    parser = argparse.ArgumentParser(prog=__spec__.name, description=(__doc__ or "").split("\n")[0])
    parser.add_argument("gid", metavar="GID", help="of a group that is over")
    parser.add_argument("--cloud", help="its name in clouds.yaml (default: what OS_* say)")
    parser.add_argument("--seconds", type=float, default=DEBT, help="for which something may come (%(default)g)")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # who has started this cleans up, and is deaf to it

    inventories: list[Inventory] = []

    def take() -> Sequence[Found]:
        if not inventories:  # the cloud may be away just now
            inventories.append(Inventory(Session(given.cloud), given.gid))
        return inventories[0].take()

    try:
        return 0 if look_out(take, given.seconds) else 1
    except RackError as error:
        print(f"rackactor: {error}", file=sys.stderr)  # noqa: T201
        return 2


if __name__ == "__main__":
    sys.exit(main())
