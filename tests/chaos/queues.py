"""Judge lists that are used as queues: appended to at one end, taken from the other, each element once."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass

#: Violations of a kind that are told one by one.
_TOLD = 5


@dataclass(slots=True)
class Append:
    """An element appended; `end` is infinity when its process was killed meanwhile."""

    element: str
    call: float
    end: float


@dataclass(slots=True)
class Pop:
    """An element taken, or None: the list was empty. A process that was killed meanwhile took an unknown one."""

    element: str | None
    call: float
    end: float
    unknown: bool = False


def judge(appends: Iterable[Append], pops: Iterable[Pop]) -> list[str]:
    """Judge one list that has been emptied at the end; return the violations."""
    appended = {each.element: each for each in appends}
    popped: dict[str, Pop] = {}
    empty, violations, lost_pops = [], [], 0
    for pop in pops:
        if pop.unknown:
            lost_pops += 1
        elif pop.element is None:
            empty.append(pop)
        elif pop.element not in appended:
            violations.append(f"{pop.element!r} was taken and never appended")
        elif pop.element in popped:
            violations.append(f"{pop.element!r} was taken twice")
        else:
            popped[pop.element] = pop
    missing = [each for each in appended.values() if each.element not in popped and each.end < math.inf]
    if len(missing) > lost_pops:
        violations.append(f"{len(missing)} elements lost, {missing[0].element!r} the first; {lost_pops} are excused")
    elements = [(append, popped[name]) for name, append in appended.items() if name in popped]
    return _first_few(violations) + _first_few(_overtaken(elements)) + _first_few(_not_empty(elements, empty))


def _overtaken(elements: list[tuple[Append, Pop]]) -> list[str]:
    """Find elements that were taken before others that had been appended before them."""
    found = []
    by_end = sorted(elements, key=lambda each: each[0].end)
    at, latest, name = 0, -math.inf, ""  # of those appended so far, the pop that was called last
    for append, pop in sorted(elements, key=lambda each: each[0].call):
        while by_end[at][0].end < append.call:
            if by_end[at][1].call > latest:
                latest, name = by_end[at][1].call, by_end[at][0].element
            at += 1
        if latest > pop.end:
            found.append(f"{append.element!r} was appended after {name!r} and taken before it")
    return found


def _not_empty(elements: list[tuple[Append, Pop]], empty: list[Pop]) -> list[str]:
    """Find answers that the list is empty while an element was in it all the time."""
    found = []
    arrivals = sorted(elements, key=lambda each: each[0].end)
    at = 0
    there: list[tuple[float, str]] = []  # those appended so far, the one that is taken last first
    for pop in sorted(empty, key=lambda each: each.call):
        while at < len(arrivals) and arrivals[at][0].end < pop.call:
            append, taken = arrivals[at]
            heapq.heappush(there, (-taken.call, append.element))
            at += 1
        if there and -there[0][0] > pop.end:
            found.append(f"the list was called empty while {there[0][1]!r} was in it")
    return found


def _first_few(violations: list[str]) -> list[str]:
    if len(violations) <= _TOLD:
        return violations
    return [*violations[:_TOLD], f"{len(violations)} like these"]
