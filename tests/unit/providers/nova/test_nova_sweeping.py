"""What is removed from a cloud, and above all what is not: groups of others, lists that lack something, states."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from cloudmodel import made_group, supervisor_of
from faultynova import FaultyNova

pytest.importorskip("openstack")

from sweeping import GID, LONG, OTHER, Time, hide_from_lists, remove_group, rename, sweep, take_its_cell_down

from rackactor_runtime.providers.nova import gc
from rackactor_runtime.providers.nova.inventory import Inventory
from rackactor_runtime.providers.nova.marks import names as w
from rackactor_runtime.providers.nova.marks.removal import remove
from rackactor_runtime.providers.nova.provider.resources import Plan, Resources
from rackactor_runtime.providers.nova.provider.settings import NovaSettings
from rackactor_runtime.providers.nova.session import Session


@pytest.mark.parametrize("status", ["ACTIVE", ""])
@pytest.mark.parametrize("project, region", [("q", "R"), ("p", "S"), ("q", "S")])
def test_groups_of_other_projects_and_regions_are_none_of_ours(
    nova: FaultyNova, log_in: Callable[..., Session], project: str, region: str, status: str
) -> None:
    """Their key pairs and application credentials are listed here, as the user's; their servers are not."""
    theirs = made_group(nova, OTHER, time.time() - LONG, project=project, region=region, status=status, network=True)
    ours = made_group(nova, GID, time.time() - LONG, status="", workers=0, network=True)
    rows, clean = sweep(log_in())
    assert clean
    assert {row["gid"] for row in rows} == {GID[:12]}
    assert nova.everything() == theirs
    assert not ours & nova.everything()


def test_nor_where_regions_share_their_networks_and_key_pairs(nova: FaultyNova, log_in: Callable[..., Session]) -> None:
    theirs = made_group(nova, OTHER, time.time() - LONG, region="S", network=True)
    for rows in (*nova.network.values(), nova.keypairs, nova.server_groups):
        for row in rows.values():
            row["region"] = "R"
    assert sweep(log_in()) == ([], True)
    assert nova.everything() == theirs


def test_not_even_when_they_are_named(nova: FaultyNova, log_in: Callable[..., Session]) -> None:
    theirs = made_group(nova, OTHER, time.time() - LONG, project="q")
    assert sweep(log_in(), OTHER) == ([], True)
    assert nova.everything() == theirs


def test_what_does_not_say_where_it_is_of_stays(
    nova: FaultyNova, log_in: Callable[..., Session], caplog: pytest.LogCaptureFixture
) -> None:
    theirs = made_group(nova, OTHER, time.time() - LONG, project="q", old=True)
    for row in nova.credentials.values():
        del row["project_id"]  # as an old Keystone has it
    assert sweep(log_in()) == ([], True)
    assert nova.everything() == theirs
    assert "of which project and region" in caplog.text


def test_but_goes_with_what_is_here(nova: FaultyNova, log_in: Callable[..., Session]) -> None:
    made_group(nova, GID, time.time() - LONG, status="", workers=0, old=True)
    rows, clean = sweep(log_in())
    assert clean, rows
    assert not nova.everything()


def test_what_is_made_says_where(nova: FaultyNova, log_in: Callable[..., Session]) -> None:
    session = log_in("q", "S")
    found = Plan("i", "f", "f", {"id": "n"}, None, (), {})
    settings = NovaSettings.parse({"anti_affinity": True, "keypair": False})
    made = Resources(session, GID, time.time(), None, settings, found)
    made.security_group()
    made.server_group()
    made.credential(lambda text: None)
    name = made._name("key")
    scope = w.scope("q", "S")
    (group,), (apart,) = nova.network["security-groups"].values(), nova.server_groups.values()
    (right,) = nova.credentials.values()
    claims = [w.claim(row["name"], row["description"]) for row in (group, right)] + [w.claim(apart["name"])]
    assert [each and each.scope for each in [*claims, w.claim(name)]] == [scope] * 4


def test_a_region_that_nobody_names_is_the_catalogue_s(nova: FaultyNova) -> None:
    given = nova.login("q")
    del given["region_name"]
    session = Session(credential=given)
    assert (session.project, session.region, session.scope) == ("q", "R", w.scope("q", "R"))
    session.close()


def test_a_group_that_looks_dead_twice_goes(nova: FaultyNova, log_in: Callable[..., Session]) -> None:
    made_group(nova, GID, time.time() - LONG, status="", network=True)
    clock = Time()
    rows, clean = sweep(log_in(), clock=clock)
    assert clean
    assert {row["result"] for row in rows} == {"deleted"}
    assert clock.slept[0] == gc.APART
    assert not nova.everything()


def lose_it(nova: FaultyNova, number: str) -> None:
    """Have Nova know nothing of it for now; it runs, and its port is wired."""
    del nova.servers[number]


@pytest.mark.parametrize("how", [hide_from_lists, take_its_cell_down, lose_it, rename])
def test_a_supervisor_that_the_list_lacks_keeps_its_group(
    nova: FaultyNova, log_in: Callable[..., Session], how: Callable[[FaultyNova, str], None]
) -> None:
    made_group(nova, GID, time.time() - LONG)
    how(nova, supervisor_of(nova, GID)["id"])
    before = nova.everything()
    assert sweep(log_in()) == ([], True)
    assert nova.everything() == before


def test_why_it_is_spared_is_said(
    nova: FaultyNova, log_in: Callable[..., Session], caplog: pytest.LogCaptureFixture
) -> None:
    made_group(nova, GID, time.time() - LONG)
    number = supervisor_of(nova, GID)["id"]
    nova.down.add(number)
    sweep(log_in())
    assert f"the group {GID[:12]} is spared: Nova gives no answer on its server {number}" in caplog.text


def test_a_supervisor_that_shows_at_the_second_look_keeps_its_group(
    nova: FaultyNova, log_in: Callable[..., Session]
) -> None:
    made_group(nova, GID, time.time() - LONG)
    number = supervisor_of(nova, GID)["id"]
    nova.unlisted.add(number)
    port = nova.ports.pop(number)  # nor does a port of it show
    before = nova.everything()
    clock = Time()
    clock.then = lambda seconds: nova.unlisted.clear()
    assert sweep(log_in(), clock=clock) == ([], True)
    assert nova.everything() == before
    nova.ports[number] = port


def test_and_one_that_shows_during_the_removal_keeps_the_rest(nova: FaultyNova, log_in: Callable[..., Session]) -> None:
    made_group(nova, GID, time.time() - LONG, workers=0)
    number = supervisor_of(nova, GID)["id"]
    nova.unlisted.add(number)
    del nova.ports[number]
    clock = Time()
    looks: list[float] = []

    def show(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) > 1:
            nova.unlisted.clear()

    clock.then = show
    rows, clean = sweep(log_in(), clock=clock)
    assert not clean
    assert number in nova.servers
    assert nova.credentials, "what it deletes its machines with"
    assert {row["result"] for row in rows if row["kind"] == "application credential"} == {
        "left: its group lives after all"
    }


@pytest.mark.parametrize("how", [hide_from_lists, rename])
def test_the_end_of_a_group_finds_what_the_list_lacks(
    nova: FaultyNova, log_in: Callable[..., Session], how: Callable[[FaultyNova, str], None]
) -> None:
    made_group(nova, GID, time.time(), workers=2, network=True)
    for number in list(nova.servers):
        how(nova, number)
    assert remove_group(log_in(), GID, []) == ([], "")
    assert not nova.everything()


def test_a_server_without_a_port_that_is_known_is_asked_for(nova: FaultyNova, log_in: Callable[..., Session]) -> None:
    made_group(nova, GID, time.time(), workers=0)
    (number,) = nova.servers
    nova.ports.clear()
    nova.unlisted.add(number)
    assert remove_group(log_in(), GID, [number]) == ([], "")
    assert not nova.everything()


def test_a_cell_that_is_down_is_not_nothing(nova: FaultyNova, log_in: Callable[..., Session]) -> None:
    made_group(nova, GID, time.time(), workers=0)
    nova.down.update(nova.servers)
    kinds, words = remove_group(log_in(), GID, list(nova.servers))
    assert kinds.count("server") == 1
    assert "its cell is not responding" in words
    assert nova.credentials, "the supervisor may still need it"


def test_a_server_that_shows_late_is_not_left(nova: FaultyNova, log_in: Callable[..., Session]) -> None:
    """It has no port yet, and the first lists do not have it."""
    made_group(nova, GID, time.time(), workers=0)
    (number,) = nova.servers
    nova.unlisted.add(number)
    nova.ports.clear()
    clock = Time()
    clock.then = lambda seconds: nova.unlisted.clear() if clock.now > 1.0 else None
    assert remove(Inventory(log_in(), GID, clock=clock).take, 30.0, clock.sleep, clock) == ([], {})
    assert not nova.everything()


def test_the_right_to_delete_goes_last(nova: FaultyNova, log_in: Callable[..., Session]) -> None:
    made_group(nova, GID, time.time(), network=True)
    nova.plan("delete", (False, 503), (False, 503))
    answer, servers = nova.answer, set(nova.servers)
    there: dict[str, set[str]] = {}

    def watch(method: str, url: str, *more: Any) -> Any:
        if method == "DELETE":
            there[url.split("/")[-2]] = nova.everything()
        return answer(method, url, *more)

    nova.answer = watch  # type: ignore[method-assign]
    assert remove_group(log_in(), GID, []) == ([], "")
    assert len(there["application_credentials"]) == 1, "itself"
    assert not servers & there["os-keypairs"]


@pytest.mark.parametrize("status", ["SHUTOFF", "SHELVED", "SHELVED_OFFLOADED", "STOPPED"])
def test_a_supervisor_that_is_off_claims_nothing(nova: FaultyNova, log_in: Callable[..., Session], status: str) -> None:
    made_group(nova, GID, time.time() - LONG, status=status)
    rows, clean = sweep(log_in())
    assert clean, rows
    assert not nova.everything()


@pytest.mark.parametrize("status", ["PAUSED", "SUSPENDED", "BUILD", "ERROR"])
@pytest.mark.parametrize("age, kept", [(1000.0, True), (gc.PATIENCE + 100, False)])
def test_one_that_may_come_back_claims_for_a_time(
    nova: FaultyNova, log_in: Callable[..., Session], status: str, age: float, kept: bool
) -> None:
    made_group(nova, GID, time.time() - age, status=status)
    supervisor_of(nova, GID)["OS-EXT-STS:power_state"] = 1  # ERROR is said of machines that run, too
    sweep(log_in())
    assert bool(nova.servers) is kept


def test_a_server_that_is_kept_after_its_deletion_goes(nova: FaultyNova, log_in: Callable[..., Session]) -> None:
    made_group(nova, GID, time.time(), workers=0, status="SOFT_DELETED")
    assert remove_group(log_in(), GID, list(nova.servers)) == ([], "")
    assert not nova.everything()


@pytest.mark.parametrize("skew", [-7200.0, 7200.0])
def test_the_cloud_s_clock_counts(nova: FaultyNova, log_in: Callable[..., Session], skew: float) -> None:
    nova.skew = skew
    session = log_in()
    now = session.clock.now()
    assert now == pytest.approx(time.time() + skew, abs=5.0)
    living = made_group(nova, GID, now - LONG, deadline=now + 60)
    making = made_group(nova, OTHER, now - 60, status="", workers=0)
    assert sweep(session) == ([], True)
    assert nova.everything() == living | making
    assert re.search(r"this host's clock is 2\.0 h (behind|ahead of) the cloud's", session.clock.warning())


def test_a_clock_that_is_right_needs_no_word(nova: FaultyNova, log_in: Callable[..., Session]) -> None:
    assert log_in().clock.warning() == ""
    nova.skew = None  # a proxy leaves the date out
    session = log_in()
    assert (session.clock.skew, session.clock.warning()) == (0.0, "")


def test_where_services_differ_nothing_is_over_too_soon(nova: FaultyNova, log_in: Callable[..., Session]) -> None:
    session = log_in()
    nova.skew = -3600.0  # of Nova's host, not of Keystone's
    living = made_group(nova, GID, time.time() - LONG, deadline=time.time() - 3000)
    assert sweep(session) == ([], True)
    assert nova.everything() == living
