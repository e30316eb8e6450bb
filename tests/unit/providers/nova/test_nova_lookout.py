"""When a supervisor that is not heard is over, what clocks say, and whose a port is: pure decisions."""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackactor_runtime.providers.machines.effects import CONDITIONS, Condition
from rackactor_runtime.providers.nova.access.clocks import CloudClock
from rackactor_runtime.providers.nova.marks import names as w
from rackactor_runtime.providers.nova.marks import ports
from rackactor_runtime.providers.nova.marks.ports import Whose
from rackactor_runtime.providers.nova.provider.lookout import CONFIRM, MISSING, PATIENCE, Lookout

NOW = 1_800_000_000.0


def over(*looks: tuple[float, str]) -> list[bool]:
    lookout = Lookout()
    return [lookout.look(status, now) for now, status in looks]


@pytest.mark.parametrize("status", [MISSING, "SHUTOFF", "SHELVED", "SHELVED_OFFLOADED", "DELETED", "SOFT_DELETED"])
def test_one_look_is_not_believed(status: str) -> None:
    assert over((0.0, status), (CONFIRM, status)) == [False, True]
    assert over((0.0, status), (0.5, status), (1.0, "ACTIVE"), (CONFIRM, status)) == [False] * 4


@pytest.mark.parametrize("status", ["PAUSED", "SUSPENDED", "RESCUE", "ERROR"])
def test_what_may_come_back_is_waited_for(status: str) -> None:
    assert over((0.0, status), (PATIENCE - 1, status), (PATIENCE, status)) == [False, False, True]
    assert over((0.0, status), (30.0, "ACTIVE"), (PATIENCE, status)) == [False] * 3


statuses = st.sampled_from([*CONDITIONS, MISSING, "A_WORD_OF_TOMORROW"])


#: Sums and differences of these have no rounding errors.
pauses = st.integers(0, 1600).map(lambda sixteenths: sixteenths / 16)


@given(st.lists(st.tuples(pauses, statuses), min_size=1))
def test_a_machine_that_showed_life_lately_is_never_given_up(steps: list[tuple[float, str]]) -> None:
    lookout, now, lively = Lookout(), 0.0, -1.0
    since = None
    for pause, status in steps:
        now += pause
        verdict = lookout.look(status, now)
        known = None if status == MISSING else CONDITIONS.get(status, Condition.UNKNOWN)
        if known in (Condition.RUNNING, Condition.COMING, Condition.UNKNOWN):
            lively, since = now, None
            assert not verdict
        else:
            since = now if since is None else since
            assert not verdict or now - since >= CONFIRM
            assert verdict or known in (None, Condition.OFF, Condition.GONE) or now - since < PATIENCE
    assert lively <= now


# -- clocks -----------------------------------------------------------------------------------------------


@given(st.floats(-1e6, 1e6), st.floats(0.0, 30.0))
def test_the_cloud_s_time_is_known_to_a_second_and_half_the_call(skew: float, took: float) -> None:
    clock = CloudClock(lambda: NOW)
    clock.note(formatdate(NOW + skew - took / 2, usegmt=True), took)
    assert abs(clock.now() - (NOW + skew)) <= 1.0
    assert bool(clock.warning()) is (abs(clock.skew) > 30.0)


@pytest.mark.parametrize("date", [None, "", "yesterday", "Fri, 99 Nov 2026 14:00:49 GMT"])
def test_an_answer_without_a_date_says_nothing(date: str | None) -> None:
    clock = CloudClock(lambda: NOW)
    clock.note(date)
    assert (clock.now(), clock.earliest(), clock.warning()) == (NOW, NOW, "")


def test_the_first_answer_s_clock_counts_and_the_one_that_is_most_behind_for_what_is_over() -> None:
    clock = CloudClock(lambda: NOW)
    for skew in (50.0, 3600.0, -7200.0, 10.0):
        clock.note(formatdate(NOW + skew, usegmt=True))
    assert clock.now() == pytest.approx(NOW + 50.0, abs=1.0)
    assert clock.earliest() == pytest.approx(NOW - 7200.0, abs=1.0)
    assert "50 s behind the cloud's" in clock.warning()


# -- ports ------------------------------------------------------------------------------------------------

OURS = {"sg": w.Claim("a"), "net": w.Claim("a"), "router": w.Claim("a"), "other": w.Claim("b")}
SERVER = "0d1ef7dc-4f0f-4c0b-8e9b-0f3a0a5d5f7e"


def port(**more: Any) -> ports.Port | None:
    row = {"id": "p", "name": "", "device_owner": "compute:nova", "device_id": SERVER, "status": "ACTIVE"}
    return ports.read({**row, "network_id": "provider", "security_groups": ["sg"], **more}, OURS, {})


def test_a_port_leads_to_its_server() -> None:
    found = port()
    assert found is not None
    assert (found.server, found.active, [each.gid12 for each in found.claims]) == (SERVER, True, ["a"])
    early = port(device_owner="")
    assert early is not None
    assert early.server == SERVER
    for whose in Whose:
        assert found.whose(whose) is whose


def test_it_may_have_something_of_several_groups() -> None:
    found = port(security_groups=["sg", "other", "web"], network_id="net")
    assert found is not None
    assert {each.gid12 for each in found.claims} == {"a", "b"}


@pytest.mark.parametrize(
    "row",
    [
        {"security_groups": []},
        {"security_groups": ["web"], "network_id": "theirs"},
        {"security_groups": [], "network_id": "net", "device_owner": "network:dhcp", "device_id": "dhcp-1"},
        {"security_groups": [], "network_id": "net", "device_owner": "network:router_interface", "device_id": "router"},
    ],
)
def test_of_others_nothing_is_said(row: dict[str, Any]) -> None:
    assert port(**row) is None


@pytest.mark.parametrize(
    "row, whose",
    [
        ({"device_owner": "", "device_id": ""}, Whose.GONE),
        ({"device_owner": "", "device_id": "", "name": "mine"}, Whose.FOREIGN),
        ({"device_owner": "Octavia", "device_id": "lb-7"}, Whose.FOREIGN),
        ({"device_owner": "network:router_interface", "device_id": "theirs", "network_id": "net"}, Whose.FOREIGN),
    ],
)
def test_a_port_without_a_server(row: dict[str, Any], whose: Whose) -> None:
    found = port(**row)
    assert found is not None
    assert found.server == ""
    assert found.whose(Whose.OURS) is whose
