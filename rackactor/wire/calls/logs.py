"""The system call of what processes print."""

from __future__ import annotations

from rackactor.wire.checks import Count, Flag
from rackactor.wire.schema import Call

#: The pid under which everything that actors and functions print is read in the order it came.
FEED = 0


class Logs(Call, op="logs"):
    """Give what a process has printed, from an offset on."""

    #: 0: what all actors and functions print, in the order it came.
    pid: Count
    offset: Count
    #: Wait for more, and hold the writer back meanwhile.
    follow: Flag = False
    #: Tells several readers of one caller apart.
    reader: Count = 0
    #: Follow no more; nothing is answered.
    leave: Flag = False
