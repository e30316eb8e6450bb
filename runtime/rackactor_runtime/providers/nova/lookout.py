"""Whether a supervisor that is not heard may still come back, by looks at its machine; pure.

One look is not believed: Nova's list may lack a machine that runs, and ERROR is often said of one that does. What the
cloud cannot answer is no news.
"""

from __future__ import annotations

from rackactor_runtime.providers.machines.effects import Condition, condition

#: What looks tell when there is no such machine: neither by its id nor in the list.
MISSING = "missing"
#: Seconds between the first and the last look, at the least, that must show a machine off or gone.
CONFIRM = 2.0
#: Seconds for which a machine may be paused, suspended, or in ERROR. Those of its group have ended themselves by then,
#: since they do not hear it either.
PATIENCE = 60.0

#: What a look may show, and for how long it must be shown before the machine's supervisor is taken for dead.
_BOUNDS = {
    Condition.OFF: CONFIRM,
    Condition.GONE: CONFIRM,
    Condition.STILL: PATIENCE,
    Condition.FAILED: PATIENCE,
}


class Lookout:
    """The looks since a supervisor was last heard."""

    def __init__(self) -> None:
        self._dead_since: float | None = None
        self._down_since: float | None = None

    def look(self, status: str, now: float) -> bool:
        """Learn what a look has shown; tell whether the supervisor will not come back.

        Args:
            status: Nova's word, or `MISSING`.
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
