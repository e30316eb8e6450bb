"""Members on the supervisor's own host are left asleep; the verdicts on those that do not answer stay what they are."""

from __future__ import annotations

import pytest
from driving import House
from hypothesis import given
from hypothesis import strategies as st

from rackactor.status import Cause
from rackactor_runtime.providers.base import Key, Liveness
from rackactor_runtime.supervisor.decisions import messages as m
from rackactor_runtime.supervisor.decisions.settings import Settings


@pytest.fixture
def house() -> House:
    return House(nearby=True)


@pytest.fixture
def child(house: House) -> int:
    return house.spawn(house.script())


def _pass(house: House, pid: int, seconds: float, liveness: Liveness, *, answers: bool = False) -> tuple[int, int]:
    """Let time pass in ticks, the provider seeing this; return how often it was looked at, and asked."""
    looks = asks = 0
    for _ in range(round(seconds / 0.1)):
        for effect in house.pass_time(0.1):
            if effect == m.Probe(Key(pid, 1)):
                looks += 1
                house.probed(pid, liveness)
                asked = len(house.told(pid, "heartbeat"))
                asks += asked
                if asked and answers:
                    house.hear(m.Heard([pid]))
    return looks, asks


def _killed(house: House, pid: int) -> bool:
    return any(effect == m.Delete(Key(pid, 1)) for effect in house.effects)


def test_a_process_that_sleeps_is_not_asked(house: House, child: int) -> None:
    looks, asks = _pass(house, child, 40.0, Liveness.RUNNING)
    assert asks == 0
    assert 35 <= looks <= 40
    assert not _killed(house, child)


def test_its_own_heartbeats_are_enough(house: House, child: int) -> None:
    for _ in range(10):
        assert _pass(house, child, 40.0, Liveness.RUNNING)[1] == 0
        house.hear(m.Heard([child]))
    assert not _killed(house, child)


def test_one_whose_heartbeat_is_missing_is_asked_once_and_lost_after_the_limit(house: House, child: int) -> None:
    assert _pass(house, child, 46.0, Liveness.RUNNING)[1] == 1
    assert _pass(house, child, 56.0, Liveness.RUNNING)[1] == 0
    assert not _killed(house, child)
    _pass(house, child, 8.0, Liveness.RUNNING)
    assert _killed(house, child)
    house.die(child, None, 9)
    status = house.record(child).status
    assert status is not None
    assert status.cause is Cause.LOST
    assert "running" in status.evidence


def test_one_that_answers_when_it_is_asked_lives(house: House, child: int) -> None:
    _, asks = _pass(house, child, 200.0, Liveness.RUNNING, answers=True)
    assert 4 <= asks <= 6
    assert not _killed(house, child)


@pytest.mark.parametrize("slept", [0.0, 2.0, 30.0])
def test_one_that_is_stopped_is_lost_as_soon_as_ever(house: House, child: int, slept: float) -> None:
    """However long it had slept before, and no sooner than `lost_after` since it was last known to run."""
    _pass(house, child, slept, Liveness.RUNNING)
    assert _pass(house, child, 1.4, Liveness.STOPPED)[1] <= 1
    assert not _killed(house, child)
    _pass(house, child, 1.3, Liveness.STOPPED)
    assert _killed(house, child)


def test_one_of_which_nothing_can_be_seen_is_asked_first(house: House, child: int) -> None:
    assert _pass(house, child, 60.0, Liveness.UNKNOWN)[1] == 1
    assert not _killed(house, child)  # that nobody can see it is no evidence
    _pass(house, child, 3.0, Liveness.UNKNOWN)
    assert _killed(house, child)


def test_one_of_which_nothing_can_be_seen_and_that_answers_lives(house: House, child: int) -> None:
    _pass(house, child, 60.0, Liveness.UNKNOWN, answers=True)
    assert not _killed(house, child)


def test_one_that_goes_on_in_time_lives(house: House, child: int) -> None:
    _pass(house, child, 30.0, Liveness.RUNNING)
    _pass(house, child, 1.4, Liveness.STOPPED)
    house.hear(m.Heard([child]))
    _pass(house, child, 30.0, Liveness.RUNNING)
    assert not _killed(house, child)


def test_an_idle_process_that_ends_itself_has_not_been_cut_off(house: House, child: int) -> None:
    _pass(house, child, 39.0, Liveness.RUNNING)
    house.die(child, 3)
    status = house.record(child).status
    assert status is not None
    assert status.cause is Cause.EXITED


def test_a_command_line_is_not_left_asleep(house: House) -> None:
    script = house.script()
    operator = house.operator()
    welcomes = {e.pid: e.fields["heartbeat"] for e in house.effects if isinstance(e, m.Welcome)}
    assert welcomes == {script: 40.0, operator: 1.0}
    house.pass_time(2.6)
    assert not house.record(operator).alive


def test_over_a_network_silence_is_silence(child: int, house: House) -> None:
    house.state.nearby = False
    _pass(house, child, 3.0, Liveness.STOPPED)
    assert _killed(house, child)


@given(st.floats(0.1, 5), st.floats(0.2, 100), st.floats(0.2, 100), st.floats(1, 200))
def test_an_idle_heartbeat_comes_within_every_limit(beat: float, lease: float, after: float, limit: float) -> None:
    settings = Settings(heartbeat=beat, lease=lease, lost_after=after, silence_limit=limit)
    assert beat <= settings.idle_beat <= max(beat, min(40.0, 4 * lease, limit))
