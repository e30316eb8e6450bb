"""The cloud's unclear answers, given by a real HTTP server to the real openstacksdk: never two servers for a key."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from email.utils import formatdate
from typing import Any

import pytest
from faultynova import FaultyNova

pytest.importorskip("openstack")

from rackactor.errors import StartError
from rackactor_runtime.providers.machines.provider import CloudFault, Machine
from rackactor_runtime.providers.nova import cloud as module
from rackactor_runtime.providers.nova.cloud import NovaCloud, Site
from rackactor_runtime.providers.nova.marks import names as w
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
    made = NovaCloud(session, site, sleep=lambda seconds: None, clock=itertools.count(step=1.5).__next__)
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


def test_the_delete_of_a_double_is_asked_for_again_unless_it_is_under_way(cloud: NovaCloud, nova: FaultyNova) -> None:
    instance = cloud.create(MACHINE)
    double = nova.add(nova.servers[instance]["asked"])
    nova.servers[double]["OS-EXT-STS:task_state"] = "deleting"
    cloud.list()
    assert "delete" not in nova.calls
    del nova.servers[double]["OS-EXT-STS:task_state"]
    nova.plan("delete", (False, 204), (False, 503))  # accepted and forgotten; refused
    for _ in range(9):
        cloud.list()
    assert set(nova.servers) == {instance}


def test_a_survey_shows_doubles_and_touches_nothing(cloud: NovaCloud, nova: FaultyNova) -> None:
    instance = cloud.create(MACHINE)
    double = nova.add(nova.servers[instance]["asked"])
    assert {(seen.mark, seen.instance) for seen in cloud.survey()} == {
        (MACHINE.mark, each) for each in (instance, double)
    }
    assert "delete" not in nova.calls
    cloud.discard(double)
    assert set(nova.servers) == {instance}
    second = nova.add(nova.servers[instance]["asked"])
    cloud.survey()
    while not cloud.delete(MACHINE.mark, instance):
        nova.servers.get(second, {})["name"] = "lists lack it now"
    assert not nova.servers


def test_a_server_is_found_by_its_id_whatever_lists_say(cloud: NovaCloud, nova: FaultyNova) -> None:
    instance = cloud.create(MACHINE)
    nova.servers[instance]["name"] = "renamed by hand"
    assert cloud.survey() == []
    seen = cloud.find(instance)
    assert seen is not None
    assert (seen.mark, seen.instance, seen.status) == (MACHINE.mark, instance, "BUILD")
    assert cloud.find("of nobody") is None
    nova.plan("get", (False, 503))
    with pytest.raises(CloudFault, match="planned 503"):
        cloud.find(instance)


def supervisor(nova: FaultyNova) -> str:
    return nova.add({"name": w.server(GID, 1, "supervisor"), "metadata": w.metadata(GID, 1, 0, f"{GID}.1.1")})


@pytest.mark.parametrize("turn", [1, -1])
def test_a_supervisor_does_not_delete_itself(nova: FaultyNova, credential: dict[str, str], turn: int) -> None:
    own, double = [supervisor(nova), supervisor(nova)][::turn]  # it may be the older or the younger one
    site = Site(GID, "net", "img", "flv")
    cloud = NovaCloud(Session(credential=credential), site, clock=itertools.count(step=1.5).__next__, own=own)
    assert [cloud.list()[f"{GID}.1.1"].instance for _ in range(5)] == [own] * 5
    assert set(nova.servers) == {own}
    for attempt in (cloud.discard, lambda name: cloud.delete(f"{GID}.1.1", name)):
        with pytest.raises(CloudFault, match="the supervisor's own machine"):
            attempt(own)
    assert set(nova.servers) == {own}
    assert double not in nova.servers
    cloud.close()


def test_a_list_does_not_wait_for_the_reason_of_an_error(cloud: NovaCloud, nova: FaultyNova) -> None:
    cloud._sleep = lambda seconds: pytest.fail("a list slept")
    for pid in range(7, 57):
        name = nova.add({"name": w.server(GID, pid, "w"), "metadata": w.metadata(GID, pid, 1, f"{GID}.{pid}.1")})
        nova.servers[name]["status"] = "ERROR"
    assert {seen.status for seen in cloud.survey()} == {"ERROR"}
    assert len(cloud.list()) == 50
    assert nova.calls == ["login", "list", "list"]


# -- how often it is asked -------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["seconds", "date", "a date before", "nonsense", "none"])
def test_for_how_long_a_cloud_wants_to_be_left_alone(cloud: NovaCloud, nova: FaultyNova, form: str) -> None:
    now = time.time()
    said = {"seconds": "60", "date": formatdate(now + 60.0, usegmt=True), "a date before": formatdate(1.0)}
    said |= {"nonsense": "in a minute"}
    nova.plan("create", (False, 429, {"Retry-After": said[form]} if form in said else {}))
    with pytest.raises(CloudFault) as caught:
        cloud.ask(MACHINE)
    wanted = {"seconds": 60.0, "date": 60.0, "a date before": 0.0}.get(form)
    assert caught.value.kind == "busy"
    assert caught.value.retry_after == (wanted if wanted is None else pytest.approx(wanted, abs=10.0))


def test_a_launch_waits_as_long_as_the_cloud_says(cloud: NovaCloud, nova: FaultyNova) -> None:
    slept: list[float] = []
    cloud._sleep = slept.append
    nova.plan("create", *[(False, 429, {"Retry-After": "60"})] * 2, *[(False, 429)] * 3)
    assert cloud.create(MACHINE) in nova.servers
    assert slept == [60.0, 60.0, *module.BUSY_PAUSES[2:], module.BUSY_PAUSES[-1]]
    nova.plan("create", *[(False, 429, {"Retry-After": "200"})] * 9)
    with pytest.raises(CloudFault, match="planned 429"):
        cloud.create(MACHINE)
    assert sum(slept[5:]) <= module.BUSY_PATIENCE


def test_one_question_is_one_create(cloud: NovaCloud, nova: FaultyNova) -> None:
    for how, kind in ((503, "unclear"), (429, "busy"), (403, "refused")):
        nova.plan("create", (False, how))
        with pytest.raises(CloudFault) as caught:
            cloud.ask(MACHINE)
        assert caught.value.kind == kind
    assert nova.calls.count("create") == 3
    assert "list" not in nova.calls


def test_what_nobody_wants_any_more_is_not_asked_for(cloud: NovaCloud, nova: FaultyNova) -> None:
    wants = iter([True, False])
    nova.plan("create", (False, 503))
    with pytest.raises(CloudFault) as caught:
        cloud.create(Machine(MACHINE.mark, 7, 2, "x", "", wanted=lambda: next(wants)))
    assert caught.value.kind == "called-off"
    assert nova.calls.count("create") == 1


def test_what_a_create_that_was_given_up_may_still_make_is_owed(cloud: NovaCloud, nova: FaultyNova) -> None:
    assert not cloud.owing
    nova.plan("create", (True, 503))
    cloud.create(MACHINE)
    assert not cloud.owing  # it was found
    nova.plan("create", (False, 503))
    cloud.create(Machine(f"{GID}.8.1", 8, 2, "x", ""))
    assert cloud.owing  # the first may still come


def test_a_create_that_is_broken_off_is_owed(cloud: NovaCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken_off(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cloud._session, "call", broken_off)
    with pytest.raises(KeyboardInterrupt):
        cloud.create(MACHINE)
    assert cloud.owing


@pytest.mark.parametrize("kind, times", [("create", 2), ("create", 6), ("list", 4), ("delete", 2), ("get", 2)])
def test_a_service_that_does_not_know_us_for_a_moment(
    cloud: NovaCloud, nova: FaultyNova, monkeypatch: pytest.MonkeyPatch, kind: str, times: int
) -> None:
    monkeypatch.setattr(cloud._session, "let_in_pauses", (0.0, 0.01, 0.01))
    instance = "none" if kind == "create" else cloud.create(MACHINE)
    nova.plan(kind, *[(False, 401)] * times)
    calls = {"create": lambda: cloud.ask(MACHINE), "list": cloud.survey, "get": lambda: cloud.find(instance)}
    calls |= {"delete": lambda: cloud.delete(MACHINE.mark, instance)}
    calls[kind]()
    assert marks(nova) == ([] if kind == "delete" else [MACHINE.mark])


def test_a_service_that_never_knows_us_is_believed(cloud: NovaCloud, nova: FaultyNova, monkeypatch: Any) -> None:
    monkeypatch.setattr(cloud._session, "let_in_pauses", (0.0, 0.01, 0.01))
    nova.plan("create", *[(False, 401)] * 99)
    with pytest.raises(CloudFault) as caught:
        cloud.ask(MACHINE)
    assert caught.value.kind == "credential"
    assert nova.calls.count("create") <= 8


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
    assert not cloud.delete(MACHINE.mark, instance)  # a look that finds nothing is a hint
    assert cloud.delete(MACHINE.mark, instance)  # and this one began more than two seconds after the first
    assert not nova.servers
    assert not nova.ports


@pytest.mark.parametrize("known", [True, False])
def test_a_404_for_a_delete_is_a_hint(cloud: NovaCloud, nova: FaultyNova, known: bool) -> None:
    instance = cloud.create(MACHINE)
    nova.ports.clear()  # not there yet: it is being built
    nova.plan("delete", (False, 404))
    nova.plan("get", *[(False, 404)] * (0 if known else 3))
    for _ in range(3):
        assert not cloud.delete(MACHINE.mark, instance)  # it is listed, or known by its id
    while not cloud.delete(MACHINE.mark, instance):
        pass
    assert not nova.servers


def test_a_server_that_is_renamed_is_deleted_all_the_same(cloud: NovaCloud, nova: FaultyNova) -> None:
    instance = cloud.create(MACHINE)
    nova.servers[instance]["name"] = "renamed by hand"
    nova.plan("delete", (False, 503))
    with pytest.raises(CloudFault):
        cloud.delete(MACHINE.mark, instance)
    while not cloud.delete(MACHINE.mark, instance):
        pass
    assert not nova.servers


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
