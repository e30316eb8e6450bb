"""The supervisor does not grow with the number of things that are over."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from driving import House
from growth import grown, weigh

from rackactor.wire.frames import PROTOCOL
from rackactor_runtime.supervisor.decisions.table import VISITS
from rackactor_runtime.supervisor.members.authentication import REVOKED, Door

Thing = Callable[[House, int], None]


def _process(house: House, script: int) -> None:
    pid = house.spawn(script, name=f"worker-{house.now}")
    house.exit(pid)
    house.call(script, "wait", pids=[pid])


def _failed_birth(house: House, script: int) -> None:
    (pid,) = house.fork(script)
    house.die(pid, None, fault="no room")
    house.call(script, "wait", pids=[pid])


def _command_line(house: House, script: int) -> None:
    house.cast(house.operator(), "bye")


def _lost_command_line(house: House, script: int) -> None:
    house.operator()
    house.pass_time(60.0, heard=[script])


def _family(house: House, script: int) -> None:
    parent = house.spawn(script)
    child, heir = house.spawn(parent), house.spawn(parent, on_orphan="adopt")
    house.die(parent, signal=9)
    house.die(child, signal=15)
    house.call(script, "wait", pids=[parent])
    house.exit(heir)


def _wait_that_is_given_up(house: House, script: int) -> None:
    pid = house.spawn(script)
    rid = house.cast(script, "wait", pids=[pid])
    house.cast(script, "cancel", rid=rid)
    house.exit(pid)
    house.call(script, "wait", pids=[pid])


def _global_name(house: House, script: int) -> None:
    (pid,) = house.fork(script, kind="actor", global_name=f"name-{house.now}")
    house.up(pid)
    house.exit(pid)
    house.call(script, "wait", pids=[pid])


def _start_that_is_awaited(house: House, script: int) -> None:
    pid = house.spawn(script)
    house.call(script, "started", pids=[pid], count=1)
    house.exit(pid)
    house.call(script, "wait", pids=[pid])


def _signal(house: House, script: int) -> None:
    house.call(script, "kill", pids=[0], signal="word")


def _correspondence(house: House, script: int) -> None:
    first, second = house.spawn(script), house.spawn(script)
    house.record(first).correspondents.add(second)
    house.record(second).correspondents.add(first)
    for pid in (first, second):
        house.exit(pid)
        house.call(script, "wait", pids=[pid])


@pytest.mark.parametrize(
    "thing",
    [
        _process,
        _failed_birth,
        _command_line,
        _lost_command_line,
        _family,
        _wait_that_is_given_up,
        _global_name,
        _start_that_is_awaited,
        _signal,
        _correspondence,
    ],
    ids=lambda thing: str(thing.__name__).strip("_"),
)
def test_nothing_grows(thing: Thing) -> None:
    house = House(history=20, max_spawns=1_000_000)
    script = house.script()

    def run(count: int) -> None:
        for _ in range(count):
            house.now += 1.0
            thing(house, script)
            house.effects.clear()
            house.last.clear()

    run(VISITS + 20)
    before = weigh(house.state)
    run(300)
    assert not grown(before, weigh(house.state), most=50)


def test_the_door_forgets_the_keys_of_those_who_have_gone() -> None:
    house = House()
    process = house.spawn(house.script())
    door = Door(house.state, house.arrive, b"operator", None)
    for number in range(2 * REVOKED):
        token = house.call(process, "guest").fields["token"]
        pid = house.join(door, b"connection %d" % number, token, PROTOCOL, b"key %d" % number).pid
        house.call(pid, "ps")
        house.cast(pid, "bye")
        door.dismiss(pid)
        house.effects.clear()
    assert [len(each) for each in (door._revoked, door._keys, door._speakers, door._connections)] == [REVOKED, 0, 0, 0]
