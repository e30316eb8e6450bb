"""What the fields of messages may be: each check in words, for errors and for `docs/wire.md`, and in code."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from rackactor.errors import InvalidCall
from rackactor.signals import parse_signal
from rackactor.status import Signal as _Signal
from rackactor.strings import show


class Check(NamedTuple):
    """What a field may be."""

    #: "an integer from 1 to 9": what errors and people are told.
    words: str
    fits: Callable[[Any], bool]
    #: What is made of a value that fits; it may refuse it in words of its own.
    made: Callable[[Any], Any] | None = None

    def take(self, value: Any, name: str) -> Any:
        """Return the value of a field.

        Raises:
            InvalidCall: names the field, and says what it may be.
        """
        if not self.fits(value):
            raise InvalidCall(f"{name} is {self.words}, not {show(value)}")
        return value if self.made is None else self.made(value)


def integer(low: int, high: int) -> Check:
    """Return the check of an integer within bounds; True and False are none."""
    return Check(f"an integer from {low} to {high}", lambda value: type(value) is int and low <= value <= high)


def one_of(*allowed: str) -> Check:
    """Return the check of one of several words."""
    return Check(f"one of {', '.join(allowed)}", lambda value: type(value) is str and value in allowed)


def instance(kind: type, words: str) -> Check:
    """Return the check of a type."""
    return Check(words, lambda value: isinstance(value, kind))


def list_of(each: Check) -> Check:
    """Return the check of a list, which becomes a tuple."""

    def fits(value: Any) -> bool:
        return type(value) in (list, tuple) and all(map(each.fits, value))

    return Check(f"a list, each of it {each.words}", fits, tuple)


def map_of(each: Check, what: str) -> Check:
    """Return the check of a map with strings as keys."""

    def fits(value: Any) -> bool:
        return isinstance(value, Mapping) and all(type(key) is str and each.fits(value[key]) for key in value)

    return Check(f"a map of {what}", fits)


def either(one: Check, other: Check) -> Check:
    """Return the check of what may be either."""
    return Check(f"{one.words}, or {other.words}", lambda value: one.fits(value) or other.fits(value))


def _is_seconds(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < math.inf


_TEXT = instance(str, "a string")
_PID = integer(1, 1 << 32)
_NOTHING = Check("None", lambda value: value is None)
_SIGNAL = Check("a signal: a number, a name, or a free string", lambda value: value is not None, parse_signal)

Flag = Annotated[bool, instance(bool, "True or False")]
Text = Annotated[str, _TEXT]
Texts = Annotated[Sequence[str], list_of(_TEXT)]
Bytes = Annotated[bytes, instance(bytes, "bytes")]
#: A map with strings as keys; its values are looked at by whoever uses them.
Map = Annotated[Mapping[str, Any], map_of(Check("anything", lambda value: True), "anything by name")]
TextMap = Annotated[Mapping[str, str], map_of(_TEXT, "strings")]
OptionalTextMap = Annotated[Mapping[str, str | None], map_of(either(_TEXT, _NOTHING), "strings")]
BytesMap = Annotated[
    Mapping[str, bytes | None],
    map_of(either(instance(bytes, "bytes"), _NOTHING), "packed values by name, or None to remove one"),
]
#: A list whose elements are looked at by whoever uses them.
Items = Annotated[Sequence[Any], Check("a list", lambda value: type(value) in (list, tuple), tuple)]
Pid = Annotated[int, _PID]
Pids = Annotated[Sequence[int], list_of(_PID)]
#: The number of a call, of an introduction, of an end of a pipe; a count of messages or bytes.
Number = Annotated[int, integer(1, 1 << 62)]
Numbers = Annotated[Sequence[int], list_of(integer(1, 1 << 62))]
Count = Annotated[int, integer(0, 1 << 62)]
Seconds = Annotated[float, Check("a positive number of seconds", _is_seconds, float)]
Signal = Annotated[_Signal, _SIGNAL]
