"""`python -m faults`: rounds of faults, and the figures of what came of them."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time

from . import driver


def main() -> int:
    """Run; the exit status tells whether every group went on."""
    parser = argparse.ArgumentParser(prog="faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the first round; the next has one more")
    parser.add_argument("--rounds", type=int, default=20, help="groups that are tried (20)")
    parser.add_argument("--operations", type=int, default=200, help="that are tried in each (200)")
    parser.add_argument("--roles", default=",".join(driver.ROLES), help="that get faults; also: agent")
    options = parser.parse_args()
    place = tempfile.mkdtemp(prefix="rk-", dir="/tmp")
    os.environ["XDG_RUNTIME_DIR"] = os.environ["TMPDIR"] = place
    figures = driver.Figures()
    try:
        for number in range(options.rounds):
            seed, transport = options.seed + number, ("ipc", "tcp")[number % 2]
            roles = tuple(options.roles.split(","))
            driver.run(figures, seed, options.operations, transport, roles=roles)
            print(f"seed {seed} ({transport}): {sum(figures.injected.values())} faults so far", flush=True)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    print(figures.text())
    return 1 if figures.violations else 0


if __name__ == "__main__":
    sys.exit(main())
