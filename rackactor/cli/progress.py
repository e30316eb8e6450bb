"""A progress line: on a terminal only, and erased when it is over."""

from __future__ import annotations

import sys

from rackactor.cli.escaping import visible


class Progress:
    """One line on standard error."""

    def __init__(self) -> None:
        try:
            self._terminal = sys.stderr.isatty()
        except (AttributeError, ValueError):
            self._terminal = False
        self._shown = False

    def show(self, text: str) -> None:
        """Show a message in place of the one before."""
        if self._terminal:
            self._put(f"\r{visible(text)}\x1b[K")
            self._shown = True

    def clear(self) -> None:
        """Erase the line."""
        if self._shown:
            self._shown = False
            self._put("\r\x1b[K")

    @staticmethod
    def _put(text: str) -> None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except (OSError, ValueError):
            pass
