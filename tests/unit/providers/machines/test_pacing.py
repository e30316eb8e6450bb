"""The pace of creates: whatever a cloud answers, it is not asked more than it can take, and nobody is forgotten."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from rackactor_runtime.providers.machines.pacing import BURST, IN_A_ROW, LONGEST_REST, RATE, REST, SLOWEST, Pace


def steady() -> Pace:
    return Pace(jitter=lambda: 0.0)


def begun(pace: Pace, seconds: float, now: float = 0.0, answer: str = "made") -> tuple[int, float]:
    """Begin as many as may be within a time, each answered at once; return their number, and the time then."""
    count, until = 0, now + seconds
    while (due := pace.due(now)) < until:
        now = max(now, due)
        if pace.begin(count, now):
            getattr(pace, answer)(count, *(["503"] if answer == "unclear" else []), now)
            count += 1
    return count, until


def test_a_rate_and_a_burst() -> None:
    count, _ = begun(steady(), 20.0)
    assert BURST + 19 * RATE <= count <= BURST + 20 * RATE + 1


def test_a_cloud_without_clear_answers_is_left_alone_and_then_asked_once() -> None:
    pace = steady()
    count, now = begun(pace, REST, answer="unclear")
    assert count == IN_A_ROW
    assert pace.troubled == 0.0
    assert pace.due(now) == REST
    assert pace.begin("probe", REST)
    assert not pace.begin("another", REST)
    assert pace.due(REST) == math.inf
    pace.unclear("probe", "503", REST)
    assert pace.due(REST) == 3 * REST  # twice as long
    assert pace.begin("probe", 3 * REST)
    pace.made("probe", 3 * REST + 1.0)
    assert pace.troubled is None
    assert begun(pace, 10.0, 3 * REST + 1.0)[0] > 10


def test_a_probe_that_nobody_wants_any_more_does_not_hold_up_the_others() -> None:
    pace = steady()
    begun(pace, REST, answer="unclear")
    assert pace.begin("probe", REST)
    pace.called_off("probe")
    assert pace.begin("another", REST + 1.0)


def test_half_of_the_answers_unclear() -> None:
    pace, now = steady(), 0.0
    for number in range(100):
        now = max(now, pace.due(now))
        assert pace.begin(number, now)
        if number % 3:
            pace.unclear(number, "503", now)
        else:
            pace.made(number, now)
        if pace.resting:
            break
    assert pace.resting
    assert number == 19


def test_too_much_for_the_cloud() -> None:
    pace = steady()
    assert [pace.begin(number, 0.0) for number in range(5)] == [True] * 5
    for number in range(4):
        pace.busy(number, 60.0, "429", 1.0)
    assert pace.free_at == 61.0
    pace.busy(4, 10.0, "429", 1.5)
    assert pace.due(2.0) == 61.0  # the longest counts
    pace.busy(None, 100.0, "", 2.0)  # a list was told so
    assert pace.free_at == 102.0
    assert pace.begin(5, 102.0)


def test_pauses_grow_for_each_crowd_not_for_each_answer() -> None:
    pace = steady()
    assert [pace.begin(number, 0.0) for number in range(5)] == [True] * 5
    for number in range(5):
        pace.busy(number, None, "429", 0.5)
    first = pace.free_at
    assert first < 3.0
    assert pace.begin("next", first)
    pace.busy("next", None, "429", first)
    assert pace.free_at - first > first - 0.5


Answers = st.lists(
    st.tuples(st.sampled_from(["made", "unclear", "busy", "called_off"]), st.floats(0.0, 100.0), st.booleans()),
    max_size=80,
)


@given(Answers, st.floats(0.0, 1.0))
def test_whatever_comes_in_whichever_order(answers: list[tuple[str, float, bool]], jitter: float) -> None:
    pace, now, number = Pace(lambda: jitter), 0.0, 0
    under_way: list[int] = []
    starts: list[float] = []
    for answer, pause, wait in answers:
        now += pause if wait else 0.0
        free = pace.free_at
        while pace.begin(number, now):
            assert now >= free, "asked before the cloud wanted to be"
            starts.append(now)
            under_way.append(number)
            number += 1
            if len(under_way) >= 10:
                break
        if not under_way:
            now = max(now, pace.due(now))
            assert now < math.inf, "nothing is under way, and nothing may begin any more"
            continue
        key = under_way.pop(0)
        match answer:
            case "made":
                pace.made(key, now)
            case "unclear":
                pace.unclear(key, "503", now)
            case "busy":
                pace.busy(key, pause if wait else None, "429", now)
            case "called_off":
                pace.called_off(key)
    for begin in starts:
        within = sum(begin <= each < begin + 10.0 for each in starts)
        assert within <= BURST + 10.0 * RATE + 1
    for key in under_way:
        pace.made(key, now)
    assert pace.due(now) - now <= max(1.2 * LONGEST_REST, 100.0) + 1.0 / SLOWEST, "it recovers"
