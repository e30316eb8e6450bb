"""How a machine ends itself, whatever happens to its program."""

from __future__ import annotations

import faulthandler
import os
import shutil
import subprocess
import sys
import time

#: The exit code of a guest program that ended because its time was over.
OVERDUE = 75
#: Seconds after a limit within which the program itself should have acted on it.
GRACE = 10.0
#: Seconds in a year: more than any limit.
_LONG = 366 * 86400.0
#: Commands that power a machine off; the first existing one is used.
_PROGRAMS = (["/opt/rackactor/bin/rackactor-poweroff"], ["systemctl", "poweroff"], ["poweroff"])
#: Seconds within which such a command must begin.
_PATIENCE = 20.0


def arm(seconds: float) -> None:
    """End this process after this many seconds at the latest; the last call counts.

    It needs no Python lock, so nothing that hangs can delay it. The script that has started this program then powers
    the machine off.
    """
    faulthandler.dump_traceback_later(max(seconds, 0.001), exit=True, file=sys.stderr)


def arm_for_life(deadline: float | None) -> None:
    """Set the end by the deadline alone, since what the machine waited for has come."""
    arm(until(deadline, _LONG) + GRACE)


def until(deadline: float | None, seconds: float) -> float:
    """Return the seconds left until the earlier of a deadline (since the epoch) and a time from now."""
    return seconds if deadline is None else min(seconds, deadline - time.time())


def say(text: str) -> None:
    """Print a message on the console, which is standard error."""
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
