"""A group whose directory is removed while it runs, as systemd-logind does with that of a user who has logged out."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rackcommand import RACK
from support import eventually

import rackactor as rack
from rackactor.launch import directories

WARM = {"warm": 2}


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A runtime directory that may be removed, and a temporary directory that stays."""
    place = Path(tempfile.mkdtemp(prefix="rk-", dir="/tmp"))
    (place / "run").mkdir()
    (place / "tmp").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(place / "run"))
    monkeypatch.setenv("TMPDIR", str(place / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(place / "tmp"))
    yield place / "run"
    left = [path for path in place.rglob("*") if path.parent.name.startswith("rackactor")]
    shutil.rmtree(place)
    assert not left


def cards() -> list[dict[str, Any]]:
    return list(directories.cards())


def check(g: rack.Group) -> None:
    """See that all is there which a group offers, to those in it and from outside."""
    assert [g.fork(pow, n, 2).result(timeout=60) for n in range(4)] == [0, 1, 4, 9]  # more than are warm
    g.shm["k"] = 1
    assert g.shm["k"] == 1
    assert g.fork(lambda: rack.shm["k"]).result(timeout=60) == 1
    with g.open("/f", "w") as file:
        file.write("words")
    assert g.fork(read, "/f").result(timeout=60) == "words"
    child = g.fork(["echo", "said"])
    assert child.stdout.read() == b"said\n"
    listed = subprocess.run([RACK, "ps", "-g", g.name], capture_output=True, text=True, timeout=120, check=False)
    assert (listed.returncode, "script" in listed.stdout) == (0, True), listed.stderr


def read(path: str) -> str:
    with rack.open(path) as file:
        text: str = file.read()
    return text


@pytest.mark.parametrize(
    ("transport", "before", "whole"),
    [("ipc", True, True), ("tcp", False, True), ("ipc", False, False)],
    ids=["used", "tcp", "again at the same place"],
)
def test_a_group_goes_on(runtime: Path, transport: str, before: bool, whole: bool) -> None:
    with rack.group("homeless", transport=transport, provider_settings=WARM) as g:
        if before:
            check(g)
        shutil.rmtree(runtime if whole else runtime / "rackactor")
        assert eventually(lambda: [card["gid"] for card in cards()] == [g.gid])
        check(g)
        assert directories.group_dir(g.gid).is_relative_to(runtime.parent / ("tmp" if whole else "run"))
    assert not cards()


def test_nothing_is_left_of_one_that_was_killed(runtime: Path) -> None:
    with rack.group("homeless", provider_settings=WARM) as g:
        check(g)
        shutil.rmtree(runtime)
        assert eventually(cards)
        assert g._supervisor is not None
        os.kill(g._supervisor.pid, signal.SIGKILL)
        with pytest.raises(rack.GroupEnded):
            g.fork(time.sleep, 60).wait()
    assert eventually(lambda: not [path for base in directories.bases() for path in base.iterdir()])
