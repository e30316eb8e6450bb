"""How many times the program has been copied by os.fork on its way here.

Whoever keeps something that a copy must not use compares `generation` with what it was: os.getpid is a system call,
and the check is made for each message.
"""

from __future__ import annotations

import os

#: Grows in each child.
generation = 0


def _count() -> None:
    global generation
    generation += 1


os.register_at_fork(after_in_child=_count)
