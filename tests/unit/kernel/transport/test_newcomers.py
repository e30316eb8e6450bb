"""Which connections are cut that have not joined."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from rackactor.kernel.transport.newcomers import FAREWELL, PATIENCE, Newcomers


def waits(newcomers: Newcomers, seconds: float, begin: float = 0.0) -> list[int]:
    """Look ten times a second; return who is cut."""
    return [late for look in range(int(seconds * 10) + 1) for late in newcomers.overdue(begin + look / 10)]


def test_who_does_not_join_is_cut_when_its_time_is_over_and_once() -> None:
    newcomers = Newcomers(10)
    newcomers.came(5, "a")
    newcomers.came(6, "a")
    newcomers.gone(6)  # it has joined
    assert waits(newcomers, PATIENCE - 0.5) == []
    assert waits(newcomers, 2.0, PATIENCE) == [5]


def test_who_is_refused_goes_when_it_has_been_told() -> None:
    newcomers = Newcomers(10, math.inf)
    newcomers.came(5, "")
    assert not newcomers.limited
    newcomers.refused(5)
    newcomers.refused(7)  # a member's
    assert newcomers.limited
    assert newcomers.overdue(0.0) == []
    assert waits(newcomers, FAREWELL + 0.25) == [5]


def test_time_in_which_nobody_looked_does_not_count() -> None:
    newcomers = Newcomers(10)
    newcomers.came(5, "a")
    newcomers.overdue(0.0)
    assert newcomers.overdue(3600.0) == []


def test_whoever_floods_us_suffers_and_nobody_from_elsewhere() -> None:
    newcomers = Newcomers(8)
    for number in range(3):
        newcomers.came(number, "friend")
    cut = [newcomers.came(number, "flood") for number in range(100, 200)]
    assert None in cut
    assert all(victim is None or victim >= 100 for victim in cut)
    assert set(range(3)) <= set(newcomers)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("came"), st.integers(0, 30), st.sampled_from("abc")),
            st.tuples(st.sampled_from(["gone", "refused"]), st.integers(0, 30)),
            st.tuples(st.just("overdue"), st.floats(0, 100)),
        )
    ),
    st.integers(1, 10),
)
def test_never_more_wait_than_there_is_room_for(events: list[tuple[object, ...]], room: int) -> None:
    newcomers = Newcomers(room)
    there: set[int] = set()
    for name, *arguments in events:
        told = getattr(newcomers, str(name))(*arguments)
        if name == "came":
            there.add(arguments[0])  # type: ignore[arg-type]
            if told is not None:
                assert told in there
                there.remove(told)
        elif name == "gone":
            there.discard(arguments[0])  # type: ignore[arg-type]
        elif name == "overdue":
            assert set(told) <= there
            there -= set(told)
        assert set(newcomers) == there
        assert len(there) <= room
