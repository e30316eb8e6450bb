"""Durations and sizes as people write them: "1h", "90s", "256M"."""

from __future__ import annotations

import math
import numbers
import re
from enum import Enum
from typing import Any, Final, Literal

from rackactor.errors import InvalidCall

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
#: A century, in seconds: anything longer is a mistake, and more than clocks and sockets can count.
_LONGEST = 36525 * 86400.0
#: Sizes are sent as 64-bit integers.
_LARGEST = (1 << 63) - 1
_BYTES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class _Default(Enum):
    """The type of `DEFAULT_TIMEOUT`."""

    TIMEOUT = "default"

    def __repr__(self) -> str:
        return f"{CALL_TIMEOUT:g}"  # what `help` shows as the default of an argument


#: Bound of what names none, seconds.
CALL_TIMEOUT = 60.0
#: Stands for a timeout that nobody has named: whoever names 60 means 60, also where a machine still boots.
DEFAULT_TIMEOUT: Final = _Default.TIMEOUT
Timeout = float | Literal[_Default.TIMEOUT] | None


def timeout(value: Any, name: str = "timeout") -> float | None:
    """Return a timeout in seconds; None: no bound. All timeouts are checked here.

    Args:
        value: a number of seconds; None or infinity: no bound; `DEFAULT_TIMEOUT`: `CALL_TIMEOUT`. More than a century
            counts as a century.
        name: what it is, for the error.

    Raises:
        InvalidCall: a string, NaN, a negative number, True or False.
    """
    if type(value) is float and 0.0 <= value <= _LONGEST:
        return value
    if value is None:
        return None
    if value is DEFAULT_TIMEOUT:
        return CALL_TIMEOUT
    number: Any = value if not isinstance(value, bool) and isinstance(value, numbers.Real) else math.nan
    if number >= 0:
        return float(number) if number <= _LONGEST else _LONGEST if number < math.inf else None
    raise InvalidCall(f"{name} is a number of seconds that is not negative, or None (no bound), not {value!r}")


def seconds(value: float | str | None, name: str) -> float | None:
    """Return a duration in seconds.

    Args:
        value: seconds as a number, or a string with a unit: ms, s, m, h, d ("1.5h"); None stays None. Infinity: None.
        name: what it is, for the error.

    Raises:
        InvalidCall: not a positive duration.
    """
    if value is None or value == math.inf:
        return None
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?\s*", value)
        number = float(match[1]) * _SECONDS[match[2] or "s"] if match else math.nan
    elif isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= _LONGEST:
        number = float(value)
    else:
        number = math.nan
    if not 0 < number <= _LONGEST:
        raise InvalidCall(f'{name} is a positive number of seconds, or a string such as "90s" or "1h", not {value!r}')
    return number


def size(value: int | str | None, name: str) -> int | None:
    """Return a size in bytes.

    Args:
        value: bytes as an integer, or a string with a unit: K, M, G, T (powers of 1024); None stays None.
        name: what it is, for the error.

    Raises:
        InvalidCall: not a positive size.
    """
    if value is None:
        return None
    number = -1
    if isinstance(value, str):
        # ASCII: without it, IGNORECASE takes the Kelvin sign for a K.
        match = re.fullmatch(r"\s*(\d{1,19})\s*([KMGT]?)(?:i?B)?\s*", value, re.IGNORECASE | re.ASCII)
        number = int(match[1]) * _BYTES[match[2].upper()] if match else -1
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    if not 0 < number <= _LARGEST:
        raise InvalidCall(f'{name} is a positive number of bytes, or a string such as "256M", not {value!r}')
    return number
