"""The removal of what a group has in a cloud, in the order in which it can go.

Nothing is removed by memory: a removal lists the group's things, deletes what can go, and lists again, until there is
nothing. So it does not matter who made what, how far a launch had come, or whether another process removes it, too.
And nothing counts as gone because one list lacks it: no server may have appeared for `CONFIRM` seconds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from rackactor_runtime.providers.nova.access.faults import fault
from rackactor_runtime.providers.nova.marks.found import Found

#: Seconds between two checks of what is left.
PAUSES = (0.3, 0.5, 0.7, 1.0, 1.0, 1.5, 2.0)
#: Seconds for a removal.
PATIENCE = 240.0
#: Seconds without a server in any check after which none is left.
CONFIRM = 2.0
#: Stands for all groups.
_ALL = ""


def remove(
    take: Callable[[], Sequence[Found]],
    patience: float = PATIENCE,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[list[Found], dict[str, str]]:
    """Delete what a list contains until it is empty.

    Args:
        take: lists what must go, in the order of removal.
        patience: seconds for the removal.
        sleep, clock: functions to wait, and to get the time.

    Returns: what is left, and the cloud's messages on the reasons by id. If the last list failed: what
    was there before.
    """
    until, turn = clock() + patience, 0
    left: list[Found] = []
    words: dict[str, str] = {}
    servers = _Servers()
    while True:
        try:
            left = list(take())
            words.pop("", None)
            servers.look(left, clock())
        except Exception as error:
            words[""] = f"the cloud's lists could not be had: {fault(error)}"
        for each in _ready(left, servers):
            try:
                each.remove()
            except Exception as error:
                words[each.id] = str(fault(error))
        words |= {each.id: each.held for each in left if each.held}
        stuck = all(each.held for each in left) and "" not in words  # or there is nothing
        sure = stuck and servers.gone()
        if sure or clock() >= until:
            if not sure and not left:
                words.setdefault("", "it could not be made sure that nothing is left")
            there = {each.id for each in left} | {""}
            return left, {name: why for name, why in words.items() if name in there}
        sleep(PAUSES[min(turn, len(PAUSES) - 1)])
        turn += 1


class _Servers:
    """Since when no check has shown a server: of each group, and of all of them."""

    def __init__(self) -> None:
        self._absent: dict[str, float] = {}
        self._looked = -math.inf

    def look(self, left: Sequence[Found], now: float) -> None:
        """Record a check."""
        self._looked = now
        there = _serving(left)
        for group in {each.claim.gid12 for each in left} | {_ALL}:
            if group in there or (group == _ALL and there):
                self._absent.pop(group, None)
            else:
                self._absent.setdefault(group, now)

    def gone(self, group: str = _ALL) -> bool:
        """Tell whether none is left, as far as checks can show."""
        return self._looked >= self._absent.get(group, math.inf) + CONFIRM


def _ready(left: Sequence[Found], servers: _Servers) -> list[Found]:
    """Return what can go now.

    The resources of servers wait for them, and Nova removes their ports itself. The credential waits until all servers
    of the group are certainly gone: a supervisor that still runs needs it to delete them.
    """
    serving = _serving(left)
    return [
        each
        for each in left
        if not each.held
        and (each.kind in ("server", "volume") or each.claim.gid12 not in serving)
        and (each.kind != "application credential" or servers.gone(each.claim.gid12))
    ]


def _serving(left: Sequence[Found]) -> set[str]:
    """Return the groups that have servers."""
    return {each.claim.gid12 for each in left if each.kind == "server" and not each.fading}
