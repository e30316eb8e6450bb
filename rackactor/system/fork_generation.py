"""How many times os.fork has copied the program on the way to this process.

Code that holds something which a copy must not use compares `generation` with an earlier value. The check is made for
each message, and os.getpid would be a system call.
"""

from __future__ import annotations

import os

#: Grows in each child.
generation = 0


def _count() -> None:
    global generation
    generation += 1


os.register_at_fork(after_in_child=_count)
