"""The programs of the provider nova as people run them: what they print, and what they say when they cannot."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cloudmodel import made_group
from faultynova import FaultyNova

pytest.importorskip("openstack")

from sweeping import GID, LONG, OTHER, write_clouds

import rackactor as rack

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


@pytest.fixture
def clouds_yaml(nova: FaultyNova, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the cloud in a clouds.yaml: as `mine` and `other`, two projects."""
    write_clouds(nova, tmp_path)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    monkeypatch.delenv("OS_CLOUD", raising=False)


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
