"""Whether a silent supervisor may still come back, decided by checks of its machine; pure.

No single check is trusted: Nova's list may lack a running machine, and a running machine is often shown as ERROR.
A check without an answer does not count.
"""

from __future__ import annotations

from rackactor_runtime.providers.machines.effects import Condition, condition

#: The result of a check if there is no such machine, neither by its id nor in the list.
MISSING = "missing"
#: Least seconds between the first and the last check that must show a machine off or gone.
CONFIRM = 2.0
#: Seconds for which a machine may be paused, suspended, or in ERROR. The machines of its group have ended themselves by
#: then, since they have no contact to it either.
PATIENCE = 60.0

#: The results of checks, and how long each must be seen before the machine's supervisor is taken for dead.
_BOUNDS = {
    Condition.OFF: CONFIRM,
    Condition.GONE: CONFIRM,
    Condition.STILL: PATIENCE,
    Condition.FAILED: PATIENCE,
}


class Lookout:
    """The checks since a supervisor was last heard."""

    def __init__(self) -> None:
        self._dead_since: float | None = None
        self._down_since: float | None = None

    def look(self, status: str, now: float) -> bool:
        """Record a check; tell whether the supervisor will not come back.

        Args:
            status: Nova's status, or `MISSING`.
            now: seconds.
        """
        bound = CONFIRM if status == MISSING else _BOUNDS.get(condition(status))
        if bound is None:
            self._dead_since = self._down_since = None
            return False
        self._down_since = now if self._down_since is None else self._down_since
        if bound == CONFIRM:
            self._dead_since = now if self._dead_since is None else self._dead_since
        else:
            self._dead_since = None
        return now >= (self._down_since if self._dead_since is None else self._dead_since) + bound
