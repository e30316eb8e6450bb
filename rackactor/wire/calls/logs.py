"""The system call of what processes print."""

from __future__ import annotations

from rackactor.wire.checks import Count, Flag
from rackactor.wire.schema import Call

#: The pid under which all output of actors and functions is read, in the order it came.
FEED = 0


class Logs(Call, op="logs"):
    """Give what a process has printed, from an offset on."""

    #: 0: all output of actors and functions, in the order it came.
    pid: Count
    offset: Count
    #: Wait for more, and meanwhile hold the writer back.
    follow: Flag = False
    #: Tells several readers of one caller apart.
    reader: Count = 0
    #: Follow no more; nothing is answered.
    leave: Flag = False
