"""The guest program: the role of a machine, and its time limits."""

from __future__ import annotations

import math
import sys

from rackactor_runtime.guest import power
from rackactor_runtime.guest.birth import Birth, BirthError, MachineBirth, parse

#: The exit code for invalid birth data (EX_CONFIG of sysexits.h).
NO_BIRTH = 78


def main() -> int:
    """Serve in the role given by the birth data on standard input, until that has ended."""
    try:
        birth = parse(sys.stdin.read())
    except BirthError as error:
        power.say(str(error))
        return NO_BIRTH
    # First of all, before any communication: from here on this machine ends in any case.
    first = birth.boot_timeout if isinstance(birth, MachineBirth) else birth.patience
    left = power.until(birth.deadline, math.inf)
    if left <= 0:
        power.say("its deadline has passed before it was born")
        code = power.OVERDUE
    else:
        power.arm(min(left, first) + power.GRACE)
        code = _live(birth)
    if birth.poweroff:
        power.power_off()
    return code


def _live(birth: Birth) -> int:
    # Imported once the role is known: an import takes its time on an emulated processor.
    if isinstance(birth, MachineBirth):
        from rackactor_runtime.guest.process_machine import live

        return live(birth)
    from rackactor_runtime.guest.supervisor_machine import serve

    return serve(birth)
