"""The part of a machine's console that is worth showing.

A whole system prints a hundred more lines while it shuts down, so the last lines alone would hide the reason. So the
lines before the guest program's own last message are shown first.
"""

from __future__ import annotations

import re

#: Lines of a console that are searched: a system prints so many when it starts and shuts down.
LINES = 600
#: Prefixes of the messages of the user-data's script, the guest program and the image's own init.
_OWN = re.compile(r"\brackactor(-init [\d.]+)?: ")
#: Lines to show: up to the guest's own last message, and the very last.
_BEFORE, _LAST = 20, 10
#: Characters of a line to show.
_WIDTH = 300
#: Colours, and other escape sequences of terminals.
_ESCAPE = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|[@-Z\\-_])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def worth_showing(console: str) -> str:
    """Return the lines of a console that say what became of the machine, "" if there is nothing."""
    lines = [line.rstrip() for line in _CONTROL.sub("", _ESCAPE.sub("", console)).splitlines()]
    lines = [line[:_WIDTH] for line in lines if line]
    own = max((number for number, line in enumerate(lines) if _OWN.search(line)), default=None)
    if own is None or len(lines) - own <= _LAST + 1:
        return "\n".join(lines[-_BEFORE - _LAST :])
    return "\n".join([*lines[max(0, own - _BEFORE) : own + 1], "[...]", *lines[-_LAST:]])


def tail(console: str) -> str:
    """Return the same under a heading, as the end of a message; "" if there is nothing."""
    shown = worth_showing(console)
    return f"\nthe last lines of its console:\n{shown}" if shown else ""
