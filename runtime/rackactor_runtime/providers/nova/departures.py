"""Which machines are gone, by what looks for them have found."""

from __future__ import annotations

#: Seconds between two looks at the least that must both have found nothing.
APART = 2.0


class Departures:
    """Judges looks. Nothing is believed of one that found nothing: what Nova has just begun, it may not show yet.

    A look's time is that at which it began, seconds, monotonic.
    """

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def there(self, mark: str) -> None:
        """Learn that a look has found something."""
        self._since.pop(mark, None)

    def nothing(self, mark: str, began: float) -> bool:
        """Learn that a look has found nothing; tell whether it is gone."""
        return began - self._since.setdefault(mark, began) >= APART

    def forget(self, mark: str) -> None:
        """Let go of what is over."""
        self._since.pop(mark, None)
