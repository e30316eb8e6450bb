"""Judge what watchers were told: every revision of what they watch, once, in order, and all of them the same."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

#: Violations of a kind that are told one by one.
_TOLD = 5


class Event(NamedTuple):
    """One change, as a watcher was told of it."""

    revision: int
    key: str
    value: Hashable


def judge(told: Mapping[str, Sequence[Event]], orders: Mapping[str, Sequence[Hashable]]) -> list[str]:
    """Judge all watchers of a prefix.

    Args:
        told: what each watcher was told from the beginning to the end, by the watcher's name.
        orders: each key's versions in their order, the first one being that of an absent key.
    """
    violations: list[str] = []
    for name, events in told.items():
        violations += _in_order(name, events)
        violations += _complete(name, events, orders)
    return violations


def _in_order(name: str, events: Sequence[Event]) -> list[str]:
    found = []
    for one, other in pairwise(events):
        # A transaction is one revision with a change for each of its keys.
        if other.revision < one.revision or (other.revision == one.revision and other.key == one.key):
            found.append(f"watcher {name} was told of {other} after {one}")
    return _first_few(found)


def _complete(name: str, events: Sequence[Event], orders: Mapping[str, Sequence[Hashable]]) -> list[str]:
    told: dict[str, list[Hashable]] = {key: [] for key in orders}
    found = []
    for event in events:
        if event.key in told:
            told[event.key].append(event.value)
        else:
            found.append(f"watcher {name} was told of {event}, which was never written")
    for key, order in orders.items():
        if told[key] != list(order[1:]):
            found.append(f"watcher {name}, key {key}: {_difference(told[key], order[1:])}")
    return _first_few(found)


def _difference(told: Sequence[Hashable], order: Sequence[Hashable]) -> str:
    for place, (one, other) in enumerate(zip(told, order, strict=False)):
        if one != other:
            return f"told of {one!r} where {other!r} came, in place {place} of {len(order)}"
    return f"told of {len(told)} versions of {len(order)}"


def _first_few(violations: list[str]) -> list[str]:
    if len(violations) <= _TOLD:
        return violations
    return [*violations[:_TOLD], f"{len(violations)} like these"]
