"""How a machine ends itself, whatever happens to the program on it."""

from __future__ import annotations

import faulthandler
import os
import shutil
import subprocess
import sys
import time

#: The exit code of a guest program that has ended because its time was over.
OVERDUE = 75
#: Seconds beyond a bound within which the program itself should have kept it.
GRACE = 10.0
#: Seconds that a year has: more than any bound.
_LONG = 366 * 86400.0
#: What powers a machine off, the first that there is.
_PROGRAMS = (["/opt/rackactor/bin/rackactor-poweroff"], ["systemctl", "poweroff"], ["poweroff"])
#: Seconds that such a program may take to begin.
_PATIENCE = 20.0


def arm(seconds: float) -> None:
    """Have this process end so many seconds from now at the latest; the last call counts.

    It needs no lock of Python's, so that nothing that hangs can hold it up. The script that has started this program
    then powers the machine off.
    """
    faulthandler.dump_traceback_later(max(seconds, 0.001), exit=True, file=sys.stderr)


def arm_for_life(deadline: float | None) -> None:
    """Arm the end by the deadline alone: what the machine waited for has come."""
    arm(until(deadline, _LONG) + GRACE)


def until(deadline: float | None, seconds: float) -> float:
    """Return how many seconds are left to the nearer of a deadline (since the epoch) and a time from now."""
    return seconds if deadline is None else min(seconds, deadline - time.time())


def say(text: str) -> None:
    """Say something on the console, which standard error leads to."""
    try:
        os.write(2, f"rackactor: {text}\n".encode())
    except OSError:
        pass


def power_off() -> None:
    """Power this machine off."""
    for words in _PROGRAMS:
        if shutil.which(words[0]) is None:
            continue
        try:
            if subprocess.run(words, stdin=subprocess.DEVNULL, timeout=_PATIENCE, check=False).returncode == 0:
                return
        except (OSError, subprocess.TimeoutExpired) as error:
            say(f"{words[0]}: {error}")
    say("nothing here can power this machine off")
