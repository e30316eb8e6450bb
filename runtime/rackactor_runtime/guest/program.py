"""The guest program: what a machine is, and for how long."""

from __future__ import annotations

import math
import sys

from rackactor_runtime.guest import power
from rackactor_runtime.guest.birth import Birth, BirthError, MachineBirth, parse

#: The exit code of a program whose birth data are none (EX_CONFIG of sysexits.h).
NO_BIRTH = 78


def main() -> int:
    """Be what the birth data on standard input say, until that has ended."""
    try:
        birth = parse(sys.stdin.read())
    except BirthError as error:
        power.say(str(error))
        return NO_BIRTH
    # First of all, before anybody is spoken to: whatever happens from here on, this machine has an end.
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
    # Imported when it is known which: an emulated processor takes its time for that.
    if isinstance(birth, MachineBirth):
        from rackactor_runtime.guest.process_machine import live

        return live(birth)
    from rackactor_runtime.guest.supervisor_machine import serve

    return serve(birth)
