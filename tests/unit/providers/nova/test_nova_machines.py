"""Processes on a cloud that lags, over real HTTP: the provider, its threads, the real openstacksdk."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from faultynova import FaultyNova

pytest.importorskip("openstack")

from rackactor_runtime.providers.base import Created, CreateFailed, Ended, Event, Key, Order, Unanswered
from rackactor_runtime.providers.machines import judging, lifecycle, strays
from rackactor_runtime.providers.machines.provider import MachineProvider
from rackactor_runtime.providers.nova.cloud import NovaCloud, Site
from rackactor_runtime.providers.nova.marks import departures
from rackactor_runtime.providers.nova.marks import names as w
from rackactor_runtime.providers.nova.provider import NovaProvider
from rackactor_runtime.providers.nova.session import Session

GID = "01234567-89ab-4cde-8f01-23456789abcd"
A = Key(7, 1)
#: Seconds that anything here may take.
ENOUGH = 30.0


@pytest.fixture
def nova() -> Iterator[FaultyNova]:
    made = FaultyNova()
    yield made
    made.close()


@pytest.fixture
def credential(nova: FaultyNova) -> dict[str, str]:
    pair = {"application_credential_id": "i", "application_credential_secret": "s"}
    return {"auth_url": f"{nova.url}/v3", **pair, "region_name": "R"}


@pytest.fixture
def cloud(nova: FaultyNova, credential: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> NovaCloud:
    monkeypatch.setattr("rackactor_runtime.providers.nova.session.API_TIMEOUT", 2.0)
    for module, name in (
        (judging, "SETTLE"),
        (judging, "APART"),
        (departures, "APART"),
        (lifecycle, "SETTLE"),
        (lifecycle, "APART"),
    ):
        monkeypatch.setattr(module, name, 0.5)
    for module, name in ((judging, "AGAIN"), (judging, "AGAIN_BOOTING"), (lifecycle, "LIST_IDLE")):
        monkeypatch.setattr(module, name, 0.5)
    for name in ("LIST_BOOTING", "LIST_SILENT"):
        monkeypatch.setattr(lifecycle, name, 0.3)
    return NovaCloud(Session(credential=credential), Site(GID, "net", "img", "flv"))


@pytest.fixture
def provider(cloud: NovaCloud, nova: FaultyNova) -> Iterator[MachineProvider]:
    made = MachineProvider({"gid": GID}, "", cloud)
    yield made
    nova.release.set()
    nova.plans.clear()
    close(made)
    assert nova.servers == {}


def close(provider: MachineProvider) -> None:
    """Leave nothing, not even what waits to be collected."""
    provider.close(ENOUGH)
    for thread in provider._workers._threads:
        thread.join(ENOUGH)
    provider._cloud.close()  # once more, for what was under way
    del provider._workers
    gc.collect()


def until(provider: MachineProvider, condition: Callable[[list[Event]], object]) -> list[Event]:
    """Let a provider live until something is so; return what it has told."""
    told: list[Event] = []
    end = time.monotonic() + ENOUGH
    while not condition(told):
        assert time.monotonic() < end, told
        told += provider.events()
        time.sleep(0.01)
    return told


def order(pid: int = 7) -> Order:
    return Order(Key(pid, 1), {"x": 1}, fork=7)


def named(nova: FaultyNova, name: str) -> None:
    """Have lists lack whatever is there."""
    for server in list(nova.servers.values()):
        server["name"] = name


def test_what_lists_lack_lives(provider: MachineProvider, nova: FaultyNova) -> None:
    provider.create(order())
    until(provider, lambda told: told)
    named(nova, "renamed by hand, or its cell is down")
    told = until(provider, lambda told: nova.calls.count("get") >= 3)
    provider.joined(A, 1)
    provider.probe(A)
    told += until(provider, lambda told: nova.calls.count("get") >= 5)
    assert [each for each in told if isinstance(each, Ended | CreateFailed)] == []


def test_what_is_deleted_by_hand_while_it_is_heard_ends_when_it_falls_silent(
    provider: MachineProvider, nova: FaultyNova
) -> None:
    provider.create(order())
    until(provider, lambda told: told)
    provider.joined(A, 1)
    nova.servers.clear()
    provider.left(A)
    told = until(provider, lambda told: any(isinstance(each, Ended) for each in told))
    [ended] = [each for each in told if isinstance(each, Ended)]
    assert ended.outside
    assert "not in the cloud's list any more" in ended.note


def test_who_is_killed_while_the_cloud_does_not_answer_is_not_asked_for_again(
    provider: MachineProvider, nova: FaultyNova
) -> None:
    nova.plan("create", *[(False, "hang")] * 9)
    provider.create(order())
    until(provider, lambda told: "create" in nova.calls)
    provider.delete(A)
    nova.release.set()
    told = until(provider, lambda told: any(isinstance(each, Ended) for each in told))
    assert nova.calls.count("create") == 1
    assert not any(isinstance(each, CreateFailed) for each in told)


def test_a_late_machine_of_a_killed_process_is_found_and_removed(
    provider: MachineProvider, nova: FaultyNova, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strays, "LIST_OWING", 0.3)
    nova.plan("create", (False, 504))
    provider.create(order())
    until(provider, lambda told: any(isinstance(each, Unanswered) for each in told))
    provider.delete(A)
    until(provider, lambda told: any(isinstance(each, Ended) for each in told))
    nova.add({"name": w.server(GID, 7, "w"), "metadata": w.metadata(GID, 7, 1, f"{GID}.7.1")})
    until(provider, lambda told: not nova.servers)


def test_a_double_of_the_supervisor_is_removed_and_the_supervisor_is_not(
    cloud: NovaCloud, nova: FaultyNova, credential: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.close()  # the provider has its own
    monkeypatch.setattr(strays, "LIST_OWING", 0.3)
    body = {"name": w.server(GID, 1, "supervisor"), "metadata": w.metadata(GID, 1, 0, f"{GID}.1.1")}
    nova.add(body), (own := nova.add(body))
    site = {"gid": GID, "network": "net"}
    provider = NovaProvider({"gid": GID, "site": site, "credential": credential, "server": own, "owed": 60.0}, "")
    until(provider, lambda told: set(nova.servers) == {own})
    nova.add(body)  # another one, later
    until(provider, lambda told: set(nova.servers) == {own})
    close(provider)
    assert set(nova.servers) == {own}


def test_one_retry_after_is_heard_by_all(provider: MachineProvider, nova: FaultyNova) -> None:
    nova.plan("create", *[(False, 429, {"Retry-After": "3"})] * 10)
    began = time.monotonic()
    for pid in range(10, 30):
        provider.create(order(pid))
    until(provider, lambda told: nova.calls.count("create") >= 10)
    told = until(provider, lambda told: sum(isinstance(each, Created) for each in told) >= 3)
    assert time.monotonic() - began >= 3.0
    assert nova.calls.count("create") <= 20  # ten were told so, and then ten at the most were asked for
    assert not any(isinstance(each, CreateFailed) for each in told)


def test_the_quota_is_asked_by_some_for_all(provider: MachineProvider, nova: FaultyNova) -> None:
    nova.plan("create", *[(True, "")] * 4, *[(False, 413)] * 99)
    for pid in range(10, 60):
        provider.create(order(pid))
    told = until(provider, lambda told: sum(isinstance(each, CreateFailed) for each in told) >= 46)
    assert {each.kind for each in told if isinstance(each, CreateFailed)} == {"quota"}
    assert nova.calls.count("create") <= 14


def test_the_reason_of_an_error_is_told_though_no_list_has_it(provider: MachineProvider, nova: FaultyNova) -> None:
    provider.create(order())
    until(provider, lambda told: told)
    (row,) = nova.servers.values()
    words = "No valid host was found. "
    row.update(status="ERROR", fault={"code": 500, "message": words})
    told = until(provider, lambda told: any(isinstance(each, CreateFailed) for each in told))
    assert told[-1] == CreateFailed(A, words, "no-valid-host")


def test_a_list_error_is_no_news(provider: MachineProvider, nova: FaultyNova) -> None:
    provider.create(order())
    until(provider, lambda told: told)
    nova.plan("list", *[(False, 503), (False, 429, {"Retry-After": "1"})])
    nova.plan("get", *[(False, 503)] * 2)
    named(nova, "x")
    told: list[Any] = until(provider, lambda told: nova.calls.count("get") >= 4)
    assert told == []
