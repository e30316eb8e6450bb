"""Groups whose supervisor is started by a launcher, which stays as their keeper: a stand-in, without a cloud."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support import HELPERS, eventually
from targets import add

import rackactor as rack
from rackactor.launch import supervisor

LAUNCHER = [sys.executable, str(HELPERS / "launcher.py")]


class House:
    """What a test tells the launcher, and hears from it."""

    def __init__(self, notes: Path) -> None:
        self._notes = notes
        self.told: list[str] = []

    @property
    def notes(self) -> list[str]:
        return self._notes.read_text().split() if self._notes.exists() else []

    def group(self, way: str = "", **settings: Any) -> rack.Group:
        given = {"notes": str(self._notes), "way": way, **settings}
        return rack.group("far", cloud="none", provider_settings=given, progress=self.told.append)


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setattr(supervisor, "program", lambda: LAUNCHER)
    return House(tmp_path / "notes")


def test_a_group_behind_a_launcher(house: House) -> None:
    with house.group() as g:
        assert house.told == ["making a network", "starting the supervisor's machine"]
        assert g.fork(add, 3, 4).result(20) == 7
        assert house.notes == []
    assert house.notes == ["removed"]


def test_what_is_left_is_said(house: House, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "rackactor"), house.group("leave"):
        pass
    (record,) = caplog.records
    assert record.getMessage() == "far has ended, and may have left something: the server 4711 does not go: ERROR"


def test_an_end_by_an_exception_waits_for_the_keeper(house: House) -> None:
    with pytest.raises(ZeroDivisionError), house.group(slow=0.5):
        print(1 / 0)
    assert house.notes == ["removed"]


def test_a_keeper_that_takes_long_is_not_killed(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor, "KEEPER_TIMEOUT", 0.2)
    with caplog.at_level(logging.WARNING, "rackactor"), house.group(slow=1.5):
        pass
    assert house.told[-1] == "removing what the group had there"
    assert "is still removing what the group had" in caplog.text
    assert eventually(lambda: house.notes == ["removed"])


@pytest.mark.parametrize(
    ("name", "kind"), [("InvalidCall", rack.InvalidCall), ("StartError", rack.StartError), ("Odd", rack.StartError)]
)
def test_a_refusal_has_a_name(house: House, name: str, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=r"there is no cloud 'none' in clouds\.yaml"):
        house.group("refuse", type=name)


def test_a_launcher_that_dies(house: House) -> None:
    with pytest.raises(rack.StartError, match=r"did not start: the cloud has no flavor 'm1\.none'"):
        house.group("die")


def test_a_launcher_that_talks_nonsense(house: House) -> None:
    with pytest.raises(rack.StartError, match="it said b'Warning: something'"):
        house.group("nonsense")
    assert house.notes == ["told"]


def test_a_launcher_that_takes_too_long_is_told(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "LAUNCH_TIMEOUT", 0.5)
    with pytest.raises(rack.StartError, match=r"no answer within 0\.5 s"):
        house.group("hang")
    assert "told" in house.notes


def test_what_a_launcher_could_not_remove_is_said(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor, "LAUNCH_TIMEOUT", 0.5)
    with caplog.at_level(logging.WARNING, "rackactor"), pytest.raises(rack.StartError):
        house.group("hang", left="network 4711")
    assert "far may have left something: called off; left: network 4711" in caplog.text


def test_one_that_does_not_listen_goes_on(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor, "LAUNCH_TIMEOUT", 0.5)
    monkeypatch.setattr(supervisor, "ABORT_TIMEOUT", 0.2)
    with caplog.at_level(logging.WARNING, "rackactor"), pytest.raises(rack.StartError):
        house.group("deaf")
    assert "is still removing what it has made; it goes on" in caplog.text


@pytest.mark.parametrize("by_cli", [False, True])
def test_ctrl_c_during_the_start(tmp_path: Path, by_cli: bool) -> None:
    settings = {"notes": str(tmp_path / "notes"), "way": "hang"}
    program = f"""
import sys
from rackactor.launch import supervisor
supervisor.program = lambda: {LAUNCHER!r}
if {by_cli}:
    import rackactor.cli.commands.run as run
    from rackactor.cli.main import main
    run.place = lambda options: dict(cloud="none", provider_settings={settings!r})
    sys.exit(main(["run", "--cloud", "none", "--", "true"]))
import rackactor as rack
rack.group(cloud="none", provider_settings={settings!r})
"""
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
    try:
        assert eventually(lambda: (tmp_path / "notes").exists() and (tmp_path / "notes").read_text() == "hanging\n")
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=120)
    finally:
        process.kill()
        process.communicate()
    assert time.monotonic() - began < 5
    assert (tmp_path / "notes").read_text().split() == ["hanging", "told"]
    assert process.returncode == (130 if by_cli else -signal.SIGINT), error


def test_detached(house: House) -> None:
    group = rack.group(
        cloud="none", deadline="1m", linger=0.2, provider_settings={"notes": str(house._notes), "slow": 0.1}
    )
    group.fork(["sleep", "0.3"])
    group.detach()
    assert house.notes == []
    assert eventually(lambda: house.notes == ["removed"], 20)


def test_what_a_cloud_implies(monkeypatch: pytest.MonkeyPatch) -> None:
    orders: list[dict[str, Any]] = []

    def take(order: dict[str, Any], progress: Any) -> Any:
        orders.append(json.loads(json.dumps(order)))
        raise rack.StartError

    monkeypatch.setattr("rackactor.syscalls.group.Supervisor", take)
    for options in ({"cloud": "mini", "provider_settings": {"image": "x"}}, {"provider": "nova"}, {}):
        with pytest.raises(rack.StartError):
            rack.group(**options)  # type: ignore[arg-type]
    chosen = [(order["provider"], order["transport"], order["provider_settings"]) for order in orders]
    assert chosen == [("nova", "tcp", {"image": "x", "cloud": "mini"}), ("nova", "tcp", {}), ("local", "ipc", {})]
    assert orders[0]["owner"] == os.getpid()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cloud": "mini", "provider": "local"}, "none on the cloud 'mini'"),
        ({"cloud": "mini", "transport": "ipc"}, 'transport="tcp"'),
        ({"cloud": 7}, "clouds.yaml"),
        ({"transport": "udp"}, '"ipc" or "tcp"'),
    ],
)
def test_what_a_cloud_cannot_be(options: dict[str, Any], words: str) -> None:
    with pytest.raises(rack.InvalidCall, match=words):
        rack.group(**options)


def test_a_provider_that_launches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One's own, by "module:Class": the program that is started hands the order to it."""
    (tmp_path / "faraway.py").write_text(
        """
import json, subprocess, sys
from rackactor_runtime.providers.base import Capabilities

def launch(order, gid):
    print(json.dumps({"progress": f"launching {gid}"}), flush=True)
    inner = {**order, "provider": "local", "provider_settings": {"warm": 0}, "gid": gid, "transport": "tcp"}
    words = [sys.executable, "-P", "-m", "rackactor_runtime.supervisor"]
    return subprocess.run(words, input=json.dumps(inner) + chr(10), text=True).returncode

class Far:
    capabilities = Capabilities(launch=launch, defaults={"grace": 3.0})
"""
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    told: list[str] = []
    with rack.group(provider="faraway:Far", transport="tcp", progress=told.append) as g:
        assert told == [f"launching {g.gid}"]
        assert g.fork(add, 1, 2).result(20) == 3
