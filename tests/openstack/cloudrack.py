"""The `rack` command against a real cloud, and the cloud's own lists, asked by other means than ours."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
#: The cloud's name in clouds.yaml; nothing runs without it.
CLOUD = os.environ.get("RACK_TEST_CLOUD", "")
#: What `rack run` is told beside: `--flavor t256 --network provider`.
OPTIONS = [
    *shlex.split(os.environ.get("RACK_TEST_OPTIONS", "")),
    "--image",
    os.environ.get("RACK_TEST_IMAGE", "rackactor"),
]
#: Seconds that one command may take, and that the cloud's lists may be behind.
BOUND, BEHIND = 480.0, 60.0


class CloudRack:
    """Run `rack` commands whose groups are on a cloud.

    Attributes:
        gids: the beginnings of the gids of all groups that were made, twelve letters each.
    """

    def __init__(self, place: str) -> None:
        self.groups = Path(place) / "rackactor"
        self.gids: set[str] = set()
        self.env = {**os.environ, "XDG_RUNTIME_DIR": place, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
        self._stopped = threading.Event()
        self._watch = threading.Thread(target=self._note_groups)
        self._watch.start()

    def __call__(self, verb: str, *words: Any, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run `rack run` or `rack pipeline` on the cloud."""
        given = {"input": ""} | options
        command = [BIN / "rack", verb, "--cloud", CLOUD, *OPTIONS, *map(str, words)]
        return subprocess.run(
            command, env=self.env, cwd=ROOT, text=True, capture_output=True, timeout=BOUND, check=False, **given
        )

    def start(self, *words: Any, **options: Any) -> subprocess.Popen[str]:
        """Start any `rack` command; its streams are pipes."""
        pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        return subprocess.Popen([BIN / "rack", *map(str, words)], env=self.env, cwd=ROOT, text=True, bufsize=1, **pipe)

    def close(self) -> None:
        """Stop looking for new groups."""
        self._stopped.set()
        self._watch.join()

    def _note_groups(self) -> None:
        while not self._stopped.wait(0.1):
            if self.groups.exists():
                self.gids.update(os.listdir(self.groups))


@contextmanager
def a_cloud_rack() -> Iterator[CloudRack]:
    """Give one, and see that nothing of its groups is left here or there."""
    with tempfile.TemporaryDirectory(prefix="rack-") as place:
        rack = CloudRack(place)
        try:
            yield rack
            assert nothing_left(rack), (left(rack.gids), list(rack.groups.iterdir()))
            assert rack.gids, "no group has shown up in the directory of groups"
        finally:
            rack.close()


def nothing_left(rack: CloudRack) -> bool:
    until = time.monotonic() + BEHIND
    while left(rack.gids) or (rack.groups.exists() and any(rack.groups.iterdir())):
        if time.monotonic() > until:
            return False
        time.sleep(1.0)
    return True


def left(gids: set[str]) -> list[str]:
    """Return what the cloud's lists have of groups, by name or by description; asked by a program of its own."""
    words = [sys.executable, __file__, CLOUD, *sorted(gids)]
    return subprocess.run(words, text=True, stdout=subprocess.PIPE, timeout=BOUND, check=True).stdout.splitlines()


def ask(name: str, gids: list[str]) -> None:
    """Print what is left of groups."""
    import openstack

    with openstack.connect(cloud=name) as cloud:
        mine = {"project_id": cloud.current_project_id}
        lists: dict[str, Iterable[Any]] = {
            "server": cloud.compute.servers(),
            "key pair": cloud.compute.keypairs(),
            "server group": cloud.compute.server_groups(),
            "port": cloud.network.ports(**mine),
            "floating IP": cloud.network.ips(**mine),
            "router": cloud.network.routers(**mine),
            "subnet": cloud.network.subnets(**mine),
            "network": cloud.network.networks(**mine),
            "security group": cloud.network.security_groups(**mine),
            "application credential": cloud.identity.application_credentials(cloud.current_user_id),
        }
        for kind, things in lists.items():
            for thing in things:
                if any(gid in f"{thing.name} {getattr(thing, 'description', '')}" for gid in gids):
                    print(kind, thing.name or thing.id)


if __name__ == "__main__":
    ask(sys.argv[1], sys.argv[2:])
