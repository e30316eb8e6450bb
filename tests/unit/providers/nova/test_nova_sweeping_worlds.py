"""`gc` in many worlds: groups that live, are made and die, in two projects and two regions, while lists omit and fail.

Whatever the weather, nothing of a group that lives is touched; and when the cloud answers truly, everything of a group
that is over goes. `RACK_SWEEP_SEEDS` makes it more worlds.
"""

from __future__ import annotations

import itertools
import os
import random
import uuid
from dataclasses import dataclass
from typing import Any

import pytest
from cloudmodel import CloudModel, made_group, supervisor_of

pytest.importorskip("openstack")

from modelsession import ModelSession, Moment, Weather

from rackactor_runtime.providers.machines.provider import CloudFault
from rackactor_runtime.providers.nova import gc
from rackactor_runtime.providers.nova.inventory import Inventory
from rackactor_runtime.providers.nova.marks.removal import remove

SEEDS = int(os.environ.get("RACK_SWEEP_SEEDS", "80"))
NOW = 1_800_000_000.0
#: Worlds in one test.
BATCH = 10

batches = pytest.mark.parametrize("first", range(0, SEEDS, BATCH))


@dataclass
class Group:
    """A group, and what is true of it."""

    gid: str
    project: str
    region: str
    made: float
    deadline: float | None
    ids: set[str]
    #: Its supervisor runs.
    lives: bool
    #: Its supervisor has gone lately.
    ended: bool = False

    def over(self, now: float) -> bool:
        """Tell whether it is over, and nobody is on the way to remove it."""
        late = self.deadline is not None and self.deadline + gc.DEADLINE_MARGIN < now
        return late or (not self.lives and not self.ended and self.made + gc.MAKING < now)

    def safe(self, now: float) -> bool:
        """Tell whether nobody may touch it."""
        late = self.deadline is not None and self.deadline < now
        return not late and not self.ended and (self.lives or now < self.made + 600.0)


class World:
    """A cloud of one user, with groups in it, and other people's machines."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.moment = Moment(NOW)
        self.cloud = CloudModel()
        self.default = {project: self._default(project) for project in ("p", "q")}
        self.groups: list[Group] = []
        self.others: set[str] = set(self.default.values())
        for _ in range(self.dice.randint(2, 6)):
            self.launch(self.dice.uniform(0.0, 20_000.0))

    def _default(self, project: str) -> str:
        return self.cloud.have("security-groups", "default", project_id=project)

    def launch(self, age: float) -> None:
        """Have a group, of an age in seconds: it lives, is being made, or is over."""
        dice, gid = self.dice, str(uuid.UUID(int=self.dice.getrandbits(128), version=4))
        project, region = dice.choice("pq"), dice.choice("RS")
        made = self.moment.now - age
        deadline = None if dice.random() < 0.5 else made + dice.uniform(600.0, 20_000.0)
        status = dice.choice(["ACTIVE", "ACTIVE", "ACTIVE", "MIGRATING", "REBOOT", "UNKNOWN", "", "SHUTOFF", "SHELVED"])
        more: dict[str, Any] = {"workers": dice.randint(0, 2), "network": dice.random() < 0.3}
        where = {"project": project, "region": region}
        ids = made_group(self.cloud, gid, made, deadline=deadline, status=status, **where, **more)
        lives = status not in ("", "SHUTOFF", "SHELVED")
        self.groups.append(Group(gid, project, region, made, deadline, ids, lives))
        if dice.random() < 0.3:
            self._intrude(self.groups[-1])
        elif lives and dice.random() < 0.2:
            supervisor_of(self.cloud, gid)["name"] = "renamed"

    def _intrude(self, group: Group) -> None:
        """Have somebody's own server under a group's security group."""
        where = {"project_id": group.project, "region": group.region}
        number = self.cloud.add({"name": "precious", "metadata": {}, **where})
        (own,) = [each for each in self.cloud.network["security-groups"] if each in group.ids]
        self.cloud.ports[number] |= {"status": "ACTIVE", "security_groups": [own]}
        self.others |= {number, f"port-{number}"}

    def take_a_cell_down(self) -> None:
        """Have some machines' cell give no answer."""
        self.cloud.down = {each for each in self.cloud.servers if self.dice.random() < 0.4}

    def change(self) -> None:
        """Have something begin, and something end, while a sweep waits."""
        if self.dice.random() < 0.5:
            self.launch(0.0)
        living = [each for each in self.groups if each.lives]
        if living and self.dice.random() < 0.5:
            self.end(self.dice.choice(living))

    def end(self, group: Group) -> None:
        """Have a supervisor's machine deleted."""
        number = supervisor_of(self.cloud, group.gid)["id"]
        del self.cloud.servers[number]
        del self.cloud.ports[number]
        group.ids -= {number, f"port-{number}"}
        group.lives, group.ended = False, True

    def sweep(self, weather: Weather, project: str, region: str) -> None:
        """Have `rack gc` run, on a host with a clock of its own."""
        skew = self.dice.choice([0.0, -7200.0, 7200.0, 86_400.0])
        session = ModelSession(self.cloud, self.moment, weather, project, region, skew)
        try:
            gc.sweep(session, sleep=self.moment.sleep, clock=self.moment)
        except CloudFault:
            pass  # it could not be asked

    def touched(self, begun: float) -> list[str]:
        """Return what was taken from groups that have been safe all the time, and from others."""
        there = self.cloud.everything()
        lost = [
            f"{group}: {group.ids - there}"
            for group in self.groups
            if group.safe(max(begun, group.made)) and group.safe(self.moment.now) and group.ids - there
        ]
        return lost + [f"not ours: {each}" for each in self.others - there]


def sweep_everywhere(world: World, weather: Weather) -> None:
    for project, region in itertools.product("pq", "RS"):
        world.sweep(weather, project, region)


@batches
def test_in_any_weather_nothing_of_the_living_is_touched(first: int) -> None:
    for seed in range(first, first + BATCH):
        world = World(seed)
        dice = random.Random(f"weather {seed}")
        skews = {each: dice.choice([0.0, 0.0, 5.0, -1800.0, 1800.0]) for each in ("compute", "network")}
        weather = Weather(seed, dice.choice([0.0, 0.03]), dice.choice([0.0, 0.1, 0.3]), skews)
        if dice.random() < 0.3:
            world.take_a_cell_down()
        world.moment.later.append(world.change)
        begun = world.moment.now
        sweep_everywhere(world, weather)
        assert world.touched(begun) == [], f"seed {seed}"


@batches
def test_in_good_weather_what_is_over_goes(first: int) -> None:
    for seed in range(first, first + BATCH):
        world = World(seed)
        over = [group for group in world.groups if group.over(world.moment.now)]
        sweep_everywhere(world, Weather(seed))
        there = world.cloud.everything()
        assert [group for group in over if group.ids & there] == [], f"seed {seed}"
        assert world.touched(NOW) == [], f"seed {seed}"


@batches
def test_a_group_s_end_leaves_nothing_in_any_weather(first: int) -> None:
    """Its supervisor's machine is known by id, as to a keeper; the others by their ports at the least."""
    for seed in range(first, first + BATCH):
        world = World(seed)
        group = next((each for each in world.groups if each.lives), None)
        if group is None:
            continue
        dice = random.Random(f"end {seed}")
        weather = Weather(seed, dice.choice([0.0, 0.1]), dice.choice([0.0, 0.1, 0.3, 0.6]))
        session = ModelSession(world.cloud, world.moment, weather, group.project, group.region)
        known = [supervisor_of(world.cloud, group.gid)["id"]]
        inventory = Inventory(session, group.gid, known, world.moment)
        left, words = remove(inventory.take, sleep=world.moment.sleep, clock=world.moment)
        assert (left, words) == ([], {}), f"seed {seed}"
        assert not group.ids & world.cloud.everything(), f"seed {seed}"
        assert [each for each in world.touched(NOW) if group.gid not in each] == [], f"seed {seed}"
