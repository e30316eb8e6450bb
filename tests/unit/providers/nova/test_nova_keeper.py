"""What a keeper believes of a cloud's words, and what every use of a cloud keeps to."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from cloudmodel import made_group
from faultynova import FaultyNova

pytest.importorskip("openstack")

from sweeping import GID, Time, hide_from_lists, rename, sweep, take_its_cell_down, write_clouds

from rackactor.errors import StartError
from rackactor_runtime.providers.nova.provider.lookout import MISSING
from rackactor_runtime.providers.nova.provider.watchdog import Keeper
from rackactor_runtime.providers.nova.session import Session


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
