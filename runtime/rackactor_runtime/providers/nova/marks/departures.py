"""Which machines are gone, decided by the results of checks."""

from __future__ import annotations

#: Least seconds between two checks that must both have found nothing.
APART = 2.0


class Departures:
    """Evaluates checks. A single check that found nothing is not trusted: Nova may not show yet what it has just begun.

    A check's time is its beginning, seconds, monotonic.
    """

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def there(self, mark: str) -> None:
        """Note that a check has found something."""
        self._since.pop(mark, None)

    def nothing(self, mark: str, began: float) -> bool:
        """Note that a check has found nothing; tell whether the machine is gone."""
        return began - self._since.setdefault(mark, began) >= APART

    def forget(self, mark: str) -> None:
        """Forget a mark."""
        self._since.pop(mark, None)
