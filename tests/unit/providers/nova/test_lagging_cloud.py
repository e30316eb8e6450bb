"""Lives on a cloud that lags, leaves out, and does things late; and that each of the rules about that is needed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("openstack")

from laggingnova import World

from rackactor_runtime.providers.machines import judging, lifecycle, pacing, strays
from rackactor_runtime.providers.machines.effects import Seen
from rackactor_runtime.providers.machines.register import Record
from rackactor_runtime.providers.nova import cloud
from rackactor_runtime.providers.nova.marks import departures

#: Runs in which a rule that is not kept must be found out.
ENOUGH = 250


@given(st.integers(0, 1 << 32))
@settings(max_examples=120, deadline=None)
def test_nothing_is_left_and_nobody_who_is_well_is_killed(seed: int) -> None:
    assert World(seed).run() == []


@pytest.mark.parametrize("seed", range(25))
def test_the_same_of_the_same_seeds(seed: int) -> None:
    assert World(seed).run() == []


def test_a_seed_says_all() -> None:
    first, again = World(7), World(7)
    assert first.run() == again.run()
    assert first.told == again.told != []


_by_name = judging.Judging.by_name
_delete = cloud.NovaCloud.delete


def _list_believed(self: judging.Judging, record: Record, seen: Seen | None, now: float) -> None:
    _by_name(self, record, None, now)


def _first_listed(
    self: judging.Judging, record: Record, rows: list[Seen], now: float
) -> tuple[Seen | None, list[Seen]]:
    return (rows[0], rows[1:]) if rows else (None, [])


def _known_one(self: judging.Judging, record: Record, rows: list[Seen], now: float) -> tuple[Seen | None, list[Seen]]:
    mine = next((row for row in rows if row.instance == record.instance), None)
    return mine, [row for row in rows if row is not mine]


def _first_404(self: cloud.NovaCloud, mark: str, instance: str | None) -> bool:
    if instance is None or instance in self._asked:
        return _delete(self, mark, instance)
    self._asked[instance] = self._clock()
    return self._session.delete("compute", f"/servers/{instance}")


def _without_a_look(self: cloud.NovaCloud, instance: str) -> None:
    self._session.delete("compute", f"/servers/{instance}")
    self._asked[instance] = self._clock()


def _asked_once(self: cloud.NovaCloud, instance: str, row: Any) -> None:
    if instance not in self._asked:
        self._delete_server(instance)


#: What is changed, and so which rule is not kept.
BROKEN: dict[str, list[tuple[Any, str, Any]]] = {
    "what lists lack is asked for by name": [(judging.Judging, "by_name", _list_believed)],
    "who is heard runs": [(judging, "heard", lambda record, now: False)],
    "of two the one that joined counts, not the older": [(judging.Judging, "_choose", _first_listed)],
    "of two the one that joined counts, not the one that is known": [(judging.Judging, "_choose", _known_one)],
    "what no life claims is deleted": [(strays.Strays, "listed", lambda self, rows, now: [])],
    "what may still come is looked for": [(strays.Strays, "owe", lambda self, mark, until: None)],
    "who is killed is not created": [(lifecycle.Machines, "wants", lambda self, key: True)],
    "a 404 for a delete is a hint": [(cloud.NovaCloud, "delete", _first_404)],
    "two looks": [(departures, "APART", 0.0)],
    "a delete is asked for again": [(cloud.NovaCloud, "_end", _asked_once)],
    "three creates": [(judging, "ATTEMPTS", 6)],
    "the supervisor knows its own server": [
        (lifecycle.Machines, "_is_ours", lambda self, seen: True),
        (cloud.NovaCloud, "_delete_server", _without_a_look),
    ],
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_is_needed(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, name, broken in BROKEN[rule]:
        monkeypatch.setattr(owner, name, broken)
    assert any(World(seed).run() for seed in range(ENOUGH)), "nobody has found out"


def test_a_run_asks_a_cloud_that_answers_nothing_a_few_times_only() -> None:
    assert _creates() <= 20


def test_and_without_a_pace_many_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing.Pace, "due", lambda self, now: now)
    assert _creates() > 100


def _creates() -> int:
    """Count the creates of 50 processes within a minute, of which nothing comes."""
    from rackactor_runtime.providers.base import Key
    from rackactor_runtime.providers.machines.effects import Ask, List, Remove

    lives, count, now = lifecycle.Machines("gid", 10), 0, 0.0
    effects = [each for pid in range(3, 53) for each in lives.order(Key(pid, 1), now)]
    while now < 60.0:
        again = []
        for effect in effects:
            match effect:
                case Ask(key):
                    count += 1
                    again += lives.refused(key, "unclear", "503", now)
                case List():
                    again += lives.listed([], now)
                case Remove(key):
                    again += lives.removed(key, True, "", "", now)
        now += 0.1
        effects = [*again, *lives.tick(now)]
    return count
