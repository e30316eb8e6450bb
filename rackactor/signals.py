"""Signal names and numbers: POSIX's, and RACK's free strings."""

from __future__ import annotations

import re
import signal as _signal

from rackactor.errors import InvalidCall
from rackactor.status import Signal

#: Longest free string, in characters: a signal carries a name, not a message.
MAX_NAME = 255
_REAL_TIME = re.compile(r"SIGRT(?:MIN\+(\d{1,2})|MAX-(\d{1,2}))")


def parse_signal(sig: int | str) -> Signal:
    """Return a POSIX signal's number, or a free string as it is.

    Args:
        sig: a number (0 tests for existence); a POSIX name in any case, with or without SIG ("TERM", "sigterm",
            "RTMIN+1"), as the shells' own `kill` takes them; or any other string: a free-string signal, as in RACK.

    Raises:
        InvalidCall: a number that is no signal, an empty or overlong string.
    """
    if isinstance(sig, int) and not isinstance(sig, bool):
        if sig == 0:
            return 0
        try:
            return int(_signal.Signals(sig))
        except ValueError:
            if _signal.SIGRTMIN <= sig <= _signal.SIGRTMAX:
                return int(sig)
            raise InvalidCall(f"{sig} is not the number of a signal (see `kill -l`)") from None
    if not isinstance(sig, str) or not sig or len(sig) > MAX_NAME:
        raise InvalidCall(f"a signal is a number, a POSIX name or a string of 1-{MAX_NAME} characters, not {sig!r}")
    if sig.isascii() and sig.isdigit():
        return parse_signal(int(sig))
    known = _named(sig)
    return sig if known is None else known


def _named(word: str) -> int | None:
    """Return the POSIX signal of this name, or None."""
    if not word.isascii():  # a non-ASCII letter may turn into an ASCII one in upper case
        return None
    name = "SIG" + word.upper().removeprefix("SIG")
    known = _signal.Signals.__members__.get(name)
    if known is not None:
        return int(known)
    found = _REAL_TIME.fullmatch(name)
    if found is None:
        return None
    number = _signal.SIGRTMIN + int(found[1]) if found[1] else _signal.SIGRTMAX - int(found[2])
    return int(number) if _signal.SIGRTMIN <= number <= _signal.SIGRTMAX else None
