"""However a group on a real cloud ends, nothing of it is left there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import psutil
import pytest
from cloudgroups import GONE, a_program, active, end_lookout, eventually, gone, of_group

import rackactor as rack
from rackactor.errors import InvalidCall

pytestmark = pytest.mark.usefixtures("no_idle_connections")


def sweep(cloud_name: str, gid: str) -> str:
    """Have what is left of a group removed, as `rack gc` does it."""
    words = [sys.executable, "-m", "rackactor_runtime.providers.nova.gc", "--cloud", cloud_name, gid]
    return subprocess.run(words, capture_output=True, text=True, timeout=GONE, check=True).stdout


def test_a_command_ends_and_so_does_its_group(settings: dict[str, Any], cloud: Any) -> None:
    with a_program(settings, "echo hello; exit 7") as program:
        program.hear("up")
        assert {kind.split(" rack-")[0] for kind in of_group(cloud, program.gid)} >= {"server", "security group"}
        program.hear("forked")
        assert program.hear("status")["code"] == 7
        program.hear("ended")
        assert program.process.wait(30) == 0
        assert not of_group(cloud, program.gid)  # at once: that is what the end of the block means


def test_a_network_of_its_own(settings: dict[str, Any], cloud: Any) -> None:
    with a_program({**settings, "network": None, "floating_ip": True}) as program:
        program.hear("up")
        kinds = {kind.split(" rack-")[0].split(" ")[0] for kind in of_group(cloud, program.gid)}
        assert kinds >= {"network", "router", "floating", "security", "server"}
        assert program.hear("status")["code"] == 7
        program.hear("ended")
        assert not of_group(cloud, program.gid)


def test_the_program_is_killed_and_its_process_does_not_care(settings: dict[str, Any], cloud: Any) -> None:
    with a_program(settings, "trap '' TERM HUP INT; while :; do sleep 1; done") as program:
        program.hear("up")
        pid = program.hear("forked")["pid"]
        active(cloud, program.gid, pid)
        program.process.kill()
        assert gone(cloud, program.gid)


def test_the_program_is_killed_while_the_group_is_made(settings: dict[str, Any], cloud: Any) -> None:
    with a_program(settings) as program:
        while "machine" not in (said := program.hear("progress"))["text"] or "is" not in said["text"].split():
            pass
        gids = os.listdir(program.groups) if program.groups.exists() else []
        instance = said["text"].split(" is ")[0].rpartition(" ")[2]
        gid = cloud.compute.get_server(instance).metadata["gid"]
        (launcher,) = psutil.Process(program.process.pid).children()
        program.process.kill()
        assert not gids
        assert gone(cloud, gid)
        launcher.wait(GONE)  # it looks twice before it believes that nothing is left


def test_the_keeper_is_killed_and_the_program_with_it(settings: dict[str, Any], cloud: Any, cloud_name: str) -> None:
    """The supervisor is alone then: it ends its machines, and its own as the last; `rack gc` has the rest."""
    with a_program(settings, "sleep 600") as program:
        keeper = program.hear("up")["keeper"]
        program.hear("forked")
        os.kill(keeper, signal.SIGKILL)
        program.process.kill()
        assert eventually(lambda: not list(cloud.compute.servers(name=f"^rack-{program.gid[:12]}-")), 180)
        assert of_group(cloud, program.gid)
        assert "deleted" in sweep(cloud_name, program.gid)
        assert gone(cloud, program.gid, 0)


def test_the_keeper_is_told_to_end(settings: dict[str, Any], cloud: Any) -> None:
    """A group does not go on without one: it is ended, and all of it is gone."""
    with a_program(settings, "sleep 600") as program:
        keeper = program.hear("up")["keeper"]
        program.hear("running")
        os.kill(keeper, signal.SIGTERM)
        assert gone(cloud, program.gid)


def test_the_supervisor_is_deleted_by_hand(settings: dict[str, Any], cloud: Any) -> None:
    """The program learns that its group is gone, and of the group nothing stays."""
    with a_program(settings, "sleep 600") as program:
        program.hear("up")
        program.hear("running")
        (server,) = cloud.compute.servers(name=f"^rack-{program.gid[:12]}-1-")
        cloud.compute.delete_server(server)
        assert program.process.wait(120) != 0
        assert gone(cloud, program.gid)
    end_lookout(program.gid)


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"image": "no-such-image"}, "no image 'no-such-image'; it has"),
        ({"flavor": "no-such-flavor"}, "no flavor 'no-such-flavor'; it has"),
        ({"network": "no-such-network"}, "no network 'no-such-network'; it has"),
        ({"keypair": "no-such-key"}, "no key pair 'no-such-key'"),
        ({"security_groups": ["no-such-group"]}, "no security group 'no-such-group'"),
        ({"cloud": "no-such-cloud"}, "no-such-cloud"),
        ({"colour": "blue"}, "no setting 'colour'"),
    ],
)
def test_a_wrong_setting_costs_nothing(settings: dict[str, Any], wrong: dict[str, Any], words: str) -> None:
    given = {**settings, **wrong}
    with pytest.raises(InvalidCall, match=words):
        rack.group("trial", cloud=given.pop("cloud"), provider_settings=given)
