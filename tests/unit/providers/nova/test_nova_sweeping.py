"""What is removed from a cloud, and above all what is not: over real HTTP, with the real openstacksdk."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cloudmodel import made_group, supervisor_of
from faultynova import FaultyNova

pytest.importorskip("openstack")

import rackactor as rack
from rackactor.errors import StartError
from rackactor_runtime.providers.nova import gc
from rackactor_runtime.providers.nova.inventory import Inventory
from rackactor_runtime.providers.nova.marks import names as w
from rackactor_runtime.providers.nova.marks.removal import remove
from rackactor_runtime.providers.nova.provider.lookout import MISSING
from rackactor_runtime.providers.nova.provider.resources import Plan, Resources
from rackactor_runtime.providers.nova.provider.settings import NovaSettings
from rackactor_runtime.providers.nova.provider.watchdog import Keeper
from rackactor_runtime.providers.nova.session import Session

GID, OTHER = "01234567-89ab-4cde-8f01-23456789abcd", "11111111-89ab-4cde-8f01-23456789abcd"
#: Seconds since a group was made that is not in the making any more.
LONG = 5000.0


@pytest.fixture
def nova() -> Iterator[FaultyNova]:
    made = FaultyNova()
    yield made
    made.release.set()
    made.close()


@pytest.fixture
def log_in(nova: FaultyNova) -> Iterator[Callable[..., Session]]:
    made: list[Session] = []

    def log_in(project: str = "p", region: str = "R", **more: Any) -> Session:
        made.append(Session(credential={**nova.login(project, region), **more}))
        return made[-1]

    yield log_in
    for each in made:
        each.close()


class Time:
    """Time that passes when somebody sleeps, and what happens meanwhile."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self.then: Callable[[float], object] = lambda seconds: None

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)
        self.then(seconds)

    def __call__(self) -> float:
        return self.now


def sweep(session: Session, *gids: str, clock: Time | None = None, **more: Any) -> tuple[list[dict[str, str]], bool]:
    clock = clock or Time()
    return gc.sweep(session, gids, sleep=clock.sleep, clock=clock, **more)


def remove_group(session: Session, gid: str, known: list[str], patience: float = 30.0) -> tuple[list[str], str]:
    clock = Time()
    left, words = remove(Inventory(session, gid, known, clock).take, patience, clock.sleep, clock)
    return [each.kind for each in left], " ".join(words.values())


# -- whose it is -------------------------------------------------------------------------------------------


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


# -- lists that lack something ----------------------------------------------------------------------------


def test_a_group_that_looks_dead_twice_goes(nova: FaultyNova, log_in: Callable[..., Session]) -> None:
    made_group(nova, GID, time.time() - LONG, status="", network=True)
    clock = Time()
    rows, clean = sweep(log_in(), clock=clock)
    assert clean
    assert {row["result"] for row in rows} == {"deleted"}
    assert clock.slept[0] == gc.APART
    assert not nova.everything()


def hide_from_lists(nova: FaultyNova, number: str) -> None:
    nova.unlisted.add(number)


def take_its_cell_down(nova: FaultyNova, number: str) -> None:
    nova.down.add(number)


def lose_it(nova: FaultyNova, number: str) -> None:
    """Have Nova know nothing of it for now; it runs, and its port is wired."""
    del nova.servers[number]


def rename(nova: FaultyNova, number: str) -> None:
    nova.servers[number]["name"] = "precious"


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


# -- what is not ours -------------------------------------------------------------------------------------


def foreign(nova: FaultyNova, groups: list[str], **more: Any) -> dict[str, Any]:
    """Have a server of somebody else in the project, with a port that has something of the group's."""
    number = nova.add({"name": "precious", "metadata": {}})
    nova.servers[number]["status"] = "ACTIVE"
    nova.ports[number] |= {"status": "ACTIVE", "security_groups": groups, **more}
    return nova.ports[number]


@pytest.mark.parametrize("hidden", [False, True])
def test_a_server_of_somebody_else_keeps_its_port(
    nova: FaultyNova, log_in: Callable[..., Session], hidden: bool
) -> None:
    made_group(nova, GID, time.time() - LONG, status="", workers=0)
    default = nova.have("security-groups", "default", project_id="p")
    (group,) = set(nova.network["security-groups"]) - {default}
    alone, among = foreign(nova, [group]), foreign(nova, ["web", group])
    if hidden:
        nova.unlisted.update([alone["device_id"], among["device_id"]])
    kept = {default, alone["id"], among["id"], alone["device_id"], among["device_id"]}
    rows, clean = sweep(log_in())
    assert clean, rows
    assert nova.everything() == kept
    assert (alone["security_groups"], among["security_groups"]) == ([default], ["web"])


@pytest.mark.parametrize(
    "port",
    [
        {"device_owner": "Octavia", "device_id": "lb-1"},
        {"device_owner": "trunk:subport", "device_id": str(uuid.uuid4())},
        {"name": "for my next server"},
    ],
)
def test_so_does_whatever_else_somebody_has_there(
    nova: FaultyNova, log_in: Callable[..., Session], port: dict[str, Any]
) -> None:
    made_group(nova, GID, time.time() - LONG, status="", workers=0)
    (group,) = nova.network["security-groups"]
    number = nova.have("ports", **{"name": "", "security_groups": [group], **port})
    rows, clean = sweep(log_in())
    assert clean, rows
    assert nova.everything() == {number}
    assert nova.ports[number]["security_groups"] == []


def test_a_server_of_another_group_of_ours_keeps_its_port(nova: FaultyNova, log_in: Callable[..., Session]) -> None:
    """Its program has named this group's security group as one more of its own."""
    made_group(nova, GID, time.time(), workers=0)
    (group,) = nova.network["security-groups"]
    living = made_group(nova, OTHER, time.time(), workers=0)
    port = nova.ports[supervisor_of(nova, OTHER)["id"]]
    own = list(port["security_groups"])
    port["security_groups"] = [group, *own]
    assert remove_group(log_in(), GID, []) == ([], "")
    assert nova.everything() == living
    assert port["security_groups"] == own


def test_a_network_with_a_server_of_somebody_else_on_it_stays(nova: FaultyNova, log_in: Callable[..., Session]) -> None:
    made_group(nova, GID, time.time() - LONG, status="", workers=0, network=True)
    (network,) = nova.network["networks"]
    port = foreign(nova, ["web"], network_id=network)
    rows, clean = sweep(log_in())
    assert not clean
    left = {row["kind"]: row["result"] for row in rows if row["result"] != "deleted"}
    assert set(left) == {"network", "subnet", "router"}
    assert f"the port {port['id']} of the server {port['device_id']} uses it" in left["network"]
    assert port["security_groups"] == ["web"]
    assert any(row["device_owner"] == "network:router_interface" for row in nova.ports.values()), "its way out"


def test_so_does_a_router_that_a_network_of_somebody_else_is_joined_to(
    nova: FaultyNova, log_in: Callable[..., Session]
) -> None:
    made_group(nova, GID, time.time() - LONG, status="", workers=0, network=True)
    (router,) = nova.network["routers"]
    theirs = nova.have("networks", "precious", project_id="p")
    more = {"device_owner": "network:router_interface", "device_id": router, "network_id": theirs}
    joint = nova.have("ports", "", **more)
    rows, clean = sweep(log_in())
    assert not clean
    assert {row["kind"] for row in rows if row["result"] != "deleted"} == {"network", "subnet", "router"}
    assert {theirs, joint, router} <= nova.everything()


def test_and_a_floating_ip_that_somebody_has_taken_for_his_own(
    nova: FaultyNova, log_in: Callable[..., Session]
) -> None:
    now = time.time()
    made_group(nova, GID, now - LONG, status="", workers=0)
    port = foreign(nova, ["web"])
    about = w.description(GID, now - LONG, None, w.scope("p", "R"))
    taken = nova.have("floatingips", "", description=about, port_id=port["id"], floating_ip_address="192.0.2.1")
    free = nova.have("floatingips", "", description=about, port_id=None, floating_ip_address="192.0.2.2")
    rows, clean = sweep(log_in())
    assert not clean
    (left,) = [row for row in rows if row["result"] != "deleted"]
    assert (left["id"], left["name"]) == (taken, "192.0.2.1")
    assert f"of the server {port['device_id']} uses it" in left["result"]
    assert free not in nova.everything()
    assert {taken, port["id"], port["device_id"]} == nova.everything()


def test_a_floating_ip_of_the_supervisor_goes_with_it(nova: FaultyNova, log_in: Callable[..., Session]) -> None:
    made_group(nova, GID, time.time(), workers=0)
    about = w.description(GID, time.time(), None, w.scope("p", "R"))
    (number,) = nova.servers
    nova.have("floatingips", "", description=about, port_id=f"port-{number}", floating_ip_address="192.0.2.1")
    assert remove_group(log_in(), GID, []) == ([], "")
    assert not nova.everything()


def test_a_port_that_nova_left_behind_goes(nova: FaultyNova, log_in: Callable[..., Session]) -> None:
    made_group(nova, GID, time.time(), workers=0)
    nova.plan("delete", (True, 500))
    assert remove_group(log_in(), GID, []) == ([], "")
    assert not nova.everything()


# -- states -----------------------------------------------------------------------------------------------


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


# -- clocks -----------------------------------------------------------------------------------------------


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


# -- the keeper's looks, versions, and words ----------------------------------------------------------------


def test_what_a_keeper_sees(nova: FaultyNova, log_in: Callable[..., Session]) -> None:
    made_group(nova, GID, time.time(), workers=0)
    (number,) = nova.servers
    keeper = Keeper.__new__(Keeper)
    keeper._session, keeper._instance, keeper._card = log_in(), number, {"gid": GID}
    assert keeper._look() == "ACTIVE"
    nova.unlisted.add(number)
    assert keeper._look() == "ACTIVE"
    nova.down.add(number)
    assert keeper._look() is None
    nova.down.clear()
    nova.unlisted.clear()
    nova.plan("get", (False, 404))
    assert keeper._look() == "ACTIVE", "the list has it"
    nova.servers.clear()
    assert keeper._look() == MISSING


@pytest.fixture
def keeper(nova: FaultyNova, log_in: Callable[..., Session], monkeypatch: pytest.MonkeyPatch) -> Keeper:
    """Have a keeper that has lost its supervisor, in a time that passes when it waits."""
    made_group(nova, GID, time.time(), workers=0)
    clock = Time()
    monkeypatch.setattr("rackactor_runtime.providers.nova.provider.watchdog.time", SimpleNamespace(monotonic=clock))
    monkeypatch.setattr(
        "rackactor_runtime.providers.nova.provider.watchdog.readable", lambda files, seconds: clock.sleep(seconds) or []
    )
    made = Keeper.__new__(Keeper)
    made._session, made._instance, made._card = log_in(), next(iter(nova.servers)), {"gid": GID}
    made._owner, made._told_to_end, made._kernel = None, False, None
    made._waker = SimpleNamespace(fileno=lambda: -1)  # type: ignore[assignment]
    return made


class Joins:
    """Stands for coming back to a supervisor: it answers at the n-th time."""

    def __init__(self, *, at: int) -> None:
        self.left = at

    def __call__(self) -> object:
        self.left -= 1
        if self.left:
            raise StartError("no answer")
        return object()


@pytest.mark.parametrize("how", [hide_from_lists, take_its_cell_down, rename])
def test_a_keeper_does_not_believe_one_list(
    nova: FaultyNova, keeper: Keeper, how: Callable[[FaultyNova, str], None]
) -> None:
    how(nova, keeper._instance)
    keeper._join = Joins(at=60)  # type: ignore[method-assign]
    assert keeper._rejoin()


def test_a_keeper_does_not_believe_one_word(nova: FaultyNova, keeper: Keeper) -> None:
    """ERROR of a migration that failed, of a machine that runs."""
    nova.servers[keeper._instance]["status"] = "ERROR"
    keeper._join = Joins(at=20)  # type: ignore[method-assign]
    assert keeper._rejoin()


@pytest.mark.parametrize("status, looks", [("SHUTOFF", 2), ("SHELVED", 2), ("PAUSED", 31), ("ERROR", 31), ("", 2)])
def test_a_keeper_gives_up_what_does_not_come_back(nova: FaultyNova, keeper: Keeper, status: str, looks: int) -> None:
    if status:
        nova.servers[keeper._instance]["status"] = status
    else:
        nova.servers.clear()
    keeper._join = Joins(at=1000)  # type: ignore[method-assign]
    assert not keeper._rejoin()
    assert nova.calls.count("get") == looks


def test_the_version_that_we_know_is_the_one_that_is_asked_for(
    nova: FaultyNova, log_in: Callable[..., Session]
) -> None:
    session = log_in(compute_default_microversion="2.79", network_default_microversion="1.1")
    sweep(session)
    said = {headers.get("openstack-api-version") for _, path, headers in nova.heard if "/compute/" in path}
    assert said == {"compute 2.1"}


def test_no_answer_is_kept(nova: FaultyNova, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a clouds.yaml says of caches: a list of an hour ago would tell of groups of an hour ago."""
    kept = {"compute.servers": 3600, "compute.servers.detail": 3600, "network.ports": 3600}
    write_clouds(nova, tmp_path, cache={"class": "dogpile.cache.memory", "expiration_time": 3600, "expiration": kept})
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    session = Session("mine")
    looks = [("compute", "/servers/detail"), ("network", "/ports")]
    assert [session.list(*look) for look in looks] == [[], []]
    made_group(nova, GID, time.time(), workers=0)
    assert [len(session.list(*look)) for look in looks] == [1, 1]
    session.close()


_HOMELESS = """
import os, pwd, runpy, sys

def nobody(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")

pwd.getpwuid = nobody
os.environ.pop("HOME", None)
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    "program, words",
    [("gc", ["--cloud", "x"]), ("images", ["list", "--cloud", "x"])],
)
def test_a_user_without_a_home_is_told_in_one_line(program: str, words: list[str]) -> None:
    """As in a container that runs under a number that nobody has."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    command = [sys.executable, "-P", "-c", _HOMELESS, f"rackactor_runtime.providers.nova.{program}", *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(
        r"(rack: )?openstacksdk cannot be used by this user \(.*\): set HOME to a directory\n", done.stderr
    )
    assert done.stderr.startswith("rack: ") is (program == "gc")


def test_so_is_a_program_whose_group_is_to_be_on_a_cloud() -> None:
    order = {"provider": "nova", "provider_settings": {"cloud": "x"}, "settings": {}, "gid": GID, "transport": "tcp"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    done = subprocess.run(
        [sys.executable, "-P", "-c", _HOMELESS, "rackactor_runtime.supervisor"],
        input=json.dumps({**order, "name": "trial"}),
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    told = json.loads(done.stdout)
    assert told["error"]["type"] == "InvalidCall"
    assert "set HOME to a directory" in told["error"]["message"]


# -- from outside, as people run it ---------------------------------------------------------------------------


@pytest.fixture
def clouds_yaml(nova: FaultyNova, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the cloud in a clouds.yaml: as `mine` and `other`, two projects."""
    write_clouds(nova, tmp_path)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    monkeypatch.delenv("OS_CLOUD", raising=False)


def write_clouds(nova: FaultyNova, directory: Path, **more: Any) -> None:
    """Write a clouds.yaml with two projects, `mine` and `other`."""
    entries = {}
    for name, project in (("mine", "p"), ("other", "q")):
        given = nova.login(project)
        url = given.pop("auth_url")
        region = given.pop("region_name")
        entries[name] = {
            "auth_type": "v3applicationcredential",
            "auth": {"auth_url": url, **given},
            "region_name": region,
        }
    (directory / "clouds.yaml").write_text(json.dumps({"clouds": entries, **more}))


def rack_gc(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("rack")), "gc", *words]
    known = {**os.environ, "PYTHONWARNINGS": "ignore", **environment}
    return subprocess.run(command, env=known, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.usefixtures("clouds_yaml")
def test_the_command(nova: FaultyNova) -> None:
    living = made_group(nova, OTHER, time.time() - LONG, project="q")
    over = made_group(nova, GID, time.time() - LONG, status="", workers=0)
    seen = rack_gc("--dry-run", OS_CLOUD="mine")
    assert (seen.returncode, seen.stderr) == (0, "")
    assert "would be deleted" in seen.stdout
    assert OTHER[:12] not in seen.stdout
    assert nova.everything() == living | over
    done = rack_gc("--os-cloud", "mine", GID)
    assert (done.returncode, done.stderr) == (0, "")
    assert nova.everything() == living
    again = rack_gc("--cloud", "mine")
    assert (again.returncode, again.stdout, again.stderr) == (0, "nothing that no group claims\n", "")
    elsewhere = rack_gc("--cloud", "mine", OTHER)
    assert (elsewhere.returncode, elsewhere.stdout) == (0, "nothing of that in this project and region\n")


@pytest.mark.usefixtures("clouds_yaml")
def test_a_cloud_that_cannot_be_asked(nova: FaultyNova) -> None:
    nova.plan("list", *[(False, 500)] * 20)
    done = rack_gc("--cloud", "mine")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"rack: the cloud could not be asked: planned 500\n", done.stderr)


@pytest.mark.usefixtures("clouds_yaml")
def test_clocks_that_differ_are_said_at_a_launch(nova: FaultyNova, caplog: pytest.LogCaptureFixture) -> None:
    nova.skew = 600.0
    with pytest.raises(rack.errors.InvalidCall, match="the cloud has no image 'rackactor'"):
        rack.group("trial", cloud="mine")
    assert "this host's clock is 10 min behind the cloud's" in caplog.text
