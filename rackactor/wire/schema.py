"""Messages with fields: each system call and each event is a frozen dataclass, which both ends of the wire import.

A field says what it may be: `pids: Pids`, where `Pids` is `Annotated[..., check]` (see `rackactor.wire.checks`). What
comes is checked once, by `from_wire`; what is sent is not, for whoever receives it trusts nobody anyway.

As plain values a message is a map. A field that is None is left out, one that is missing has its default, and what a
receiver does not know has no consequence: so fields can be added.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any, ClassVar, NamedTuple, Self, dataclass_transform, get_type_hints

from rackactor.errors import InvalidCall
from rackactor.records import dataclass
from rackactor.wire.checks import Check


class Field(NamedTuple):
    """What is known of a field of a message."""

    name: str
    check: Check
    #: MISSING: it must be there.
    default: Any


class Message:
    """What calls and events have in common.

    Attributes:
        op: its name on the wire.
    """

    op: ClassVar[str] = ""

    def to_wire(self) -> dict[str, Any]:
        """Return its fields as plain values."""
        return {name: value for name, value in vars(self).items() if value is not None}

    @classmethod
    def from_wire(cls, told: Mapping[str, Any]) -> Self:
        """Make it of what has come.

        Raises:
            InvalidCall: names a field, and says what it may be.
        """
        made = cls.__new__(cls)
        values = vars(made)  # a frozen dataclass sets its fields one by one, and slowly
        for name, fits, build, check, default in _PLANS.get(cls) or _plan(cls):
            value = told.get(name)
            if value is None:
                if default is MISSING:
                    raise InvalidCall(f"{cls.op} needs {name}: {check.words}")
                values[name] = default
            elif fits(value):
                values[name] = value if build is None else build(value)
            else:
                check.take(value, name)
        return made


@dataclass_transform(frozen_default=True)
class Call(Message):
    """A system call: `class Wait(Call, op="wait")` makes a frozen dataclass, which `CALLS` has by its name."""

    def __init_subclass__(cls, op: str) -> None:
        _enter(cls, op, CALLS)


@dataclass_transform(frozen_default=True)
class Event(Message):
    """What the supervisor tells a member that has not asked: the same for `EVENTS`."""

    def __init_subclass__(cls, op: str) -> None:
        _enter(cls, op, EVENTS)


#: By their names; those of the modules that have been imported.
CALLS: dict[str, type[Call]] = {}
EVENTS: dict[str, type[Event]] = {}


def _enter(cls: type[Any], op: str, table: dict[str, type[Any]]) -> None:
    cls.op = op
    table[op] = dataclass(frozen=True)(cls)


def fields_of(cls: type[Message]) -> tuple[Field, ...]:
    """Return the fields of a message, in order."""
    hints = get_type_hints(cls, include_extras=True)
    return tuple(Field(each.name, _check_of(hints[each.name]), each.default) for each in fields(cls))  # type: ignore[arg-type]


def _check_of(hint: Any) -> Check:
    """Return the check that an annotation has, which may be one of a union with None."""
    candidates = [hint, *getattr(hint, "__args__", ())]
    (check,) = [each for hint in candidates for each in getattr(hint, "__metadata__", ()) if isinstance(each, Check)]
    return check


_Step = tuple[str, Callable[[Any], bool], Callable[[Any], Any] | None, Check, Any]
_PLANS: dict[type[Message], tuple[_Step, ...]] = {}


def _plan(cls: type[Message]) -> tuple[_Step, ...]:
    """Note down what `from_wire` has to do for each field, so that nothing is looked up for each message."""
    steps = tuple((each.name, each.check.fits, each.check.made, each.check, each.default) for each in fields_of(cls))
    _PLANS[cls] = steps
    return steps
