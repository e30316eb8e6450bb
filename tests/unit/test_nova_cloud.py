"""The cloud's unclear answers, given by a real HTTP server to the real openstacksdk: never two servers for a key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from faultynova import FaultyNova

pytest.importorskip("openstack")

from rackactor.errors import StartError
from rackactor_runtime.providers.machines import CloudFault, Machine
from rackactor_runtime.providers.nova import cloud as module
from rackactor_runtime.providers.nova.cloud import NovaCloud, Site
from rackactor_runtime.providers.nova.session import Session

GID = "01234567-89ab-4cde-8f01-23456789abcd"
MACHINE = Machine(f"{GID}.7.1", 7, 2, "Dart worker", "#!/bin/sh\n", args={"alpha": "1"}, deadline=2e9)


@pytest.fixture
def nova() -> Iterator[FaultyNova]:
    made = FaultyNova()
    yield made
    made.close()


@pytest.fixture
def credential(nova: FaultyNova, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setattr("rackactor_runtime.providers.nova.session.API_TIMEOUT", 0.5)
    pair = {"application_credential_id": "i", "application_credential_secret": "s"}
    return {"auth_url": f"{nova.url}/v3", **pair, "region_name": "R"}


@pytest.fixture
def cloud(nova: FaultyNova, credential: dict[str, str]) -> Iterator[NovaCloud]:
    session = Session(credential=credential)
    site = Site(GID, "net", "img", "flv", ("group",), known={"big": "flv-big"})
    made = NovaCloud(session, site, sleep=lambda seconds: None)
    yield made
    nova.release.set()
    made.close()


def marks(nova: FaultyNova) -> list[str]:
    return [server["metadata"]["rack_key"] for server in nova.servers.values()]


def test_a_server_carries_who_it_is(cloud: NovaCloud, nova: FaultyNova) -> None:
    instance = cloud.create(MACHINE)
    asked: dict[str, Any] = nova.servers[instance]["asked"]
    assert asked["name"] == "rack-01234567-89a-7-Dart-worker"
    ours = {"gid": GID, "pid": "7", "ppid": "2", "rack_key": MACHINE.mark, "rack_mark": "rackactor"}
    assert asked["metadata"] == {**ours, "rack_deadline": "2000000000", "alpha": "1"}
    assert asked["networks"] == [{"uuid": "net"}]
    assert asked["security_groups"] == [{"name": "group"}]
    assert cloud.list()[MACHINE.mark].instance == instance


def test_a_busy_keystone_is_asked_once_more(nova: FaultyNova, credential: dict[str, str]) -> None:
    nova.plan("login", (True, "hang"))
    Session(credential=credential).close()
    assert nova.calls.count("login") == 2


def test_and_not_again_and_again(nova: FaultyNova, credential: dict[str, str]) -> None:
    nova.plan("login", *[(True, "hang")] * 9)
    with pytest.raises(StartError, match=r"does not let us in.*timed out"):
        Session(credential=credential)
    assert nova.calls.count("login") == 2


@pytest.mark.parametrize("how", [503, 500, 504, "drop", "hang"])
@pytest.mark.parametrize("made", [True, False])
def test_after_an_unclear_answer_there_is_one_server(
    cloud: NovaCloud, nova: FaultyNova, how: int | str, made: bool
) -> None:
    nova.plan("create", (made, how))
    instance = cloud.create(MACHINE)
    assert marks(nova) == [MACHINE.mark]
    assert instance in nova.servers
    assert nova.calls.count("create") == (1 if made else 2)


def test_tries_are_bounded(cloud: NovaCloud, nova: FaultyNova) -> None:
    nova.plan("create", *[(False, 503)] * 50)
    with pytest.raises(CloudFault) as caught:
        cloud.create(MACHINE)
    assert caught.value.kind == "unclear"
    assert nova.calls.count("create") == module.TRIES


def test_without_a_list_nothing_is_asked_for_again(cloud: NovaCloud, nova: FaultyNova) -> None:
    nova.plan("create", (True, 503))
    nova.plan("list", *[(False, 503)] * len(module.LOOKS))
    with pytest.raises(CloudFault) as caught:
        cloud.create(MACHINE)
    assert caught.value.kind == "unclear"
    assert nova.calls.count("create") == 1
    assert list(cloud.list()) == [MACHINE.mark]


def test_a_busy_cloud_is_asked_again(cloud: NovaCloud, nova: FaultyNova) -> None:
    nova.plan("create", (False, 429), (False, 429))
    cloud.create(MACHINE)
    assert marks(nova) == [MACHINE.mark]


@pytest.mark.parametrize("status, kind", [(400, "refused"), (403, "refused"), (413, "quota"), (409, "refused")])
def test_a_refusal_is_final(cloud: NovaCloud, nova: FaultyNova, status: int, kind: str) -> None:
    nova.plan("create", (False, status))
    with pytest.raises(CloudFault, match=f"planned {status}") as caught:
        cloud.create(MACHINE)
    assert caught.value.kind == kind
    assert nova.calls.count("create") == 1


def test_a_late_double_is_deleted(cloud: NovaCloud, nova: FaultyNova) -> None:
    instance = cloud.create(MACHINE)
    double = nova.add(nova.servers[instance]["asked"])
    assert cloud.list()[MACHINE.mark].instance == instance
    assert double not in nova.servers
    assert instance in nova.servers


def test_servers_of_others_are_not_ours(cloud: NovaCloud, nova: FaultyNova) -> None:
    other = {"gid": GID[:-1] + "0", "rack_key": "x.1.1"}
    nova.add({"name": "rack-01234567-89a-1-x", "metadata": other})
    nova.add({"name": "rack-01234567-89a-1-y", "metadata": {}})
    assert cloud.list() == {}
    assert len(nova.servers) == 2


def test_a_delete_is_confirmed_by_the_lists(cloud: NovaCloud, nova: FaultyNova) -> None:
    instance = cloud.create(MACHINE)
    assert not cloud.delete(MACHINE.mark, instance)
    assert not cloud.delete(MACHINE.mark, instance)  # the server has gone, a port of it had not
    assert cloud.delete(MACHINE.mark, instance)
    assert not nova.servers
    assert not nova.ports


def test_a_delete_that_is_refused_is_asked_again(cloud: NovaCloud, nova: FaultyNova) -> None:
    instance = cloud.create(MACHINE)
    nova.plan("delete", (False, 503))
    with pytest.raises(CloudFault, match="planned 503"):
        cloud.delete(MACHINE.mark, instance)
    while not cloud.delete(MACHINE.mark, instance):
        pass
    assert not nova.servers


def test_a_server_that_nobody_knows_by_id_is_found_by_its_mark(cloud: NovaCloud, nova: FaultyNova) -> None:
    cloud.create(MACHINE)
    assert not cloud.delete(MACHINE.mark, None)
    assert not nova.servers
    while not cloud.delete(MACHINE.mark, None):
        pass


def test_user_data_that_nova_would_not_take(cloud: NovaCloud, nova: FaultyNova) -> None:
    with pytest.raises(CloudFault, match="65535"):
        cloud.create(Machine(MACHINE.mark, 7, 2, "x", "x" * 70000))
    assert "create" not in nova.calls


def test_placement_wins_over_the_site(cloud: NovaCloud, nova: FaultyNova) -> None:
    placement = {"flavor": "big", "security_groups": "web, db", "keypair": "k", "availability_zone": "z"}
    asked = nova.servers[cloud.create(Machine(MACHINE.mark, 7, 2, "x", "", placement))]["asked"]
    assert asked["flavorRef"] == "flv-big"
    assert [group["name"] for group in asked["security_groups"]] == ["group", "web", "db"]
    assert (asked["key_name"], asked["availability_zone"]) == ("k", "z")
