"""Wait for late machines of a group that is over: `python -m rackactor_runtime.providers.nova.provider.late GID`.

A create that was given up (its answer was lost, or the launch was cancelled meanwhile) may be carried out minutes
later, when nothing of the group is left. A process that knows of such a create starts this program, which outlives it:
it removes what appears, until nothing can appear any more.
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
from rackactor_runtime.providers.nova.inventory import Inventory
from rackactor_runtime.providers.nova.marks.found import Found
from rackactor_runtime.providers.nova.marks.removal import remove
from rackactor_runtime.providers.nova.session import Session

#: Seconds between checks; the last value is repeated.
PAUSES = (2.0, 4.0, 8.0, 15.0, 30.0)
#: The longest extension of the time while the cloud cannot be asked, seconds.
PATIENCE = 900.0

_log = logging.getLogger(__name__)


def look_out(
    take: Callable[[], Sequence[Found]],
    seconds: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Remove whatever appears; tell whether nothing is left.

    Args:
        take: lists all that a group has, in the order of removal; it raises if the list fails.
        seconds: for which something may appear.
        sleep, clock: functions to wait, and to get the time.
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
    """Start a separate process that waits for late machines, and outlives this one; return its OS pid."""
    words = [sys.executable, "-m", __spec__.name, gid, "--seconds", f"{seconds:.0f}"]
    words += [] if cloud is None else ["--cloud", cloud]
    null = subprocess.DEVNULL
    return subprocess.Popen(words, stdin=null, stdout=null, stderr=null, start_new_session=True).pid


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; the exit status is 1 if something is left."""
    parser = argparse.ArgumentParser(prog=__spec__.name, description=(__doc__ or "").split("\n")[0])
    parser.add_argument("gid", metavar="GID", help="of a group that is over")
    parser.add_argument("--cloud", help="its name in clouds.yaml (default: what OS_* say)")
    parser.add_argument("--seconds", type=float, default=DEBT, help="for which something may come (%(default)g)")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # its parent, which cleans up, ignores this signal

    inventories: list[Inventory] = []

    def take() -> Sequence[Found]:
        if not inventories:  # the cloud may be unreachable just now
            inventories.append(Inventory(Session(given.cloud), given.gid))
        return inventories[0].take()

    try:
        return 0 if look_out(take, given.seconds) else 1
    except RackError as error:
        print(f"rackactor: {error}", file=sys.stderr)  # noqa: T201
        return 2


if __name__ == "__main__":
    sys.exit(main())
