"""Guests: commands that run inside a process and come with a token that its agent has asked for."""

from __future__ import annotations

import pytest
from driving import House

from rackactor.errors import AuthenticationError
from rackactor.wire.frames import PROTOCOL
from rackactor_runtime.supervisor.decisions.calls.operators import COME_BY, MAX_EXPECTED
from rackactor_runtime.supervisor.members.authentication import Door


def test_a_token_lets_one_guest_in_once(house: House) -> None:
    process = house.spawn(house.script())
    answer = house.call(process, "guest")
    assert (answer.fields["gid"], answer.fields["name"]) == ("gid", "house")
    door = Door(house.state, house.arrive, b"operator", None)
    guest = house.join(door, b"connection", answer.fields["token"], PROTOCOL, None)
    assert house.record(guest.pid).kind == "operator"
    with pytest.raises(AuthenticationError):
        house.join(door, b"another", answer.fields["token"], PROTOCOL, None)


def test_a_token_that_nobody_comes_with_expires(house: House) -> None:
    process = house.spawn(house.script())
    token = house.call(process, "guest").fields["token"]
    house.pass_time(COME_BY + 0.1, heard=[process])
    assert token not in house.state.tokens
    assert [record.pid for record in house.state.table if record.kind == "operator"] == []


def test_only_processes_have_guests(house: House) -> None:
    assert house.call(house.script(), "guest").fields["type"] == "NotAllowed"
    assert house.call(house.operator(), "guest").fields["type"] == "NotAllowed"


def test_guests_are_bounded(house: House) -> None:
    process = house.spawn(house.script())
    answers = [house.call(process, "guest") for _ in range(MAX_EXPECTED + 1)]
    assert [answer.ok for answer in answers] == [True] * MAX_EXPECTED + [False]
