"""What tests of the removal from a cloud share: a clock, the sweep, and ways to hide a server from lists."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faultynova import FaultyNova

pytest.importorskip("openstack")

from rackactor_runtime.providers.nova import gc
from rackactor_runtime.providers.nova.inventory import Inventory
from rackactor_runtime.providers.nova.marks.removal import remove
from rackactor_runtime.providers.nova.session import Session

GID, OTHER = "01234567-89ab-4cde-8f01-23456789abcd", "11111111-89ab-4cde-8f01-23456789abcd"
#: Seconds since a group was made that is not in the making any more.
LONG = 5000.0


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


def hide_from_lists(nova: FaultyNova, number: str) -> None:
    nova.unlisted.add(number)


def take_its_cell_down(nova: FaultyNova, number: str) -> None:
    nova.down.add(number)


def rename(nova: FaultyNova, number: str) -> None:
    nova.servers[number]["name"] = "precious"


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
