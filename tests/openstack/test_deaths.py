"""What happens to a machine of a real cloud from outside is told truly, and the machine is gone afterwards."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cloudgroups import PARENT_SCRIPT, a_program, active, eventually, of_group

pytestmark = pytest.mark.usefixtures("no_idle_connections")

#: The image of the guest, as a root file system.
ROOT_IMAGE = Path(__file__).parents[2] / "build/images/rackactor.ext4"
#: What a machine begins with that never gets to speak to anybody.
STUCK = "#!/bin/sh\necho waiting for a disk that is not there > /dev/console\nexec sleep 100000\n"


def delete(cloud: Any, server: Any) -> None:
    cloud.compute.delete_server(server)


def power_off(cloud: Any, server: Any) -> None:
    cloud.compute.stop_server(server)


def freeze(cloud: Any, server: Any) -> None:
    cloud.compute.pause_server(server)


def cut(cloud: Any, server: Any) -> None:
    """Pull its cable."""
    for port in cloud.network.ports(device_id=server.id):
        cloud.network.update_port(port, admin_state_up=False)


@pytest.mark.parametrize(
    "happens, cause, words",
    [
        (delete, "deleted-outside", "being shut down|not in the cloud's list any more"),
        (power_off, "deleted-outside", "being shut down|is SHUTOFF"),
        (freeze, "lost", "has not answered for .* s"),
        (cut, "lost", "has not answered for .* s|cut off from its supervisor for longer than its lease"),
    ],
)
def test_from_outside(
    settings: dict[str, Any], cloud: Any, happens: Callable[[Any, Any], None], cause: str, words: str
) -> None:
    with a_program(settings, "sleep 600") as program:
        program.hear("up")
        pid = program.hear("forked")["pid"]
        server = active(cloud, program.gid, pid)
        program.hear("running")
        happens(cloud, server)
        told = program.hear("status")
        assert told["cause"] == cause, told
        assert re.search(words, told["evidence"]), told
        program.hear("ended")
        assert not of_group(cloud, program.gid)


def test_a_server_that_is_renamed_goes_on(settings: dict[str, Any], cloud: Any) -> None:
    with a_program(settings, "sleep 40; exit 7") as program:
        program.hear("up")
        pid = program.hear("forked")["pid"]
        server = active(cloud, program.gid, pid)
        program.hear("running")
        cloud.compute.update_server(server.id, name="renamed by hand")  # and so no list of the group's has it any more
        told = program.hear("status")
        assert told["code"] == 7, told
        program.hear("ended")
        assert cloud.compute.find_server(server.id) is None


@pytest.fixture
def stuck_image(cloud: Any, tmp_path: Path) -> Iterator[str]:
    """Return an image whose machines come up, and hang."""
    if not ROOT_IMAGE.exists() or shutil.which("debugfs") is None:
        pytest.skip(f"needs {ROOT_IMAGE} (`rack image build`) and debugfs (e2fsprogs)")
    file, init = tmp_path / "stuck.ext4", tmp_path / "init"
    init.write_text(STUCK)
    subprocess.run(["cp", "--sparse=always", ROOT_IMAGE, file], check=True)
    steps = ["rm /usr/sbin/init", f"write {init} /usr/sbin/init", "sif /usr/sbin/init mode 0100755"]
    for step in steps:
        subprocess.run(["debugfs", "-w", "-R", step, file], check=True, capture_output=True)
    name = f"rack-trial-{uuid.uuid4().hex[:8]}"
    with file.open("rb") as data:
        image = cloud.image.create_image(name, data=data, disk_format="raw", container_format="bare", wait=True)
    yield name
    cloud.image.delete_image(image)


def test_a_boot_that_hangs(settings: dict[str, Any], cloud: Any, hypervisor: str, stuck_image: str) -> None:
    if hypervisor != "lxc":
        pytest.skip("the image is a root file system")
    with a_program({**settings, "boot_timeout": 40}, "true", image=stuck_image) as program:
        program.hear("up")
        told = program.hear("status")
        assert told["cause"] == "boot-failed", told
        assert "40 s" in told["evidence"]
        assert "waiting for a disk" in told["evidence"], "the console's last lines"
        program.hear("ended")
        assert not of_group(cloud, program.gid)


def test_no_host_is_left(settings: dict[str, Any], cloud: Any, admin: Any) -> None:
    """Each machine on a host of its own, where there is one host: the supervisor has it."""
    if len(list(admin.compute.services(binary="nova-compute"))) != 1:
        pytest.skip("the cloud has several hosts")
    with a_program({**settings, "anti_affinity": True}) as program:
        program.hear("up")
        told = program.hear("status")
        assert told["cause"] == "boot-failed", told
        assert "No valid host" in told["evidence"]
        assert eventually(lambda: "server group" in " ".join(of_group(cloud, program.gid)), 10)
        program.hear("ended")
        assert not of_group(cloud, program.gid)


def test_what_the_settings_say_is_what_the_cloud_has(settings: dict[str, Any], cloud: Any) -> None:
    key = cloud.compute.create_keypair(name=f"trial-{uuid.uuid4().hex[:8]}")
    more = {"availability_zone": "nova", "keypair": key.name, "boot_concurrency": 1, "allow_from": "0.0.0.0/0"}
    try:
        with a_program({**settings, **more, "config_drive": True}, "sleep 600") as program:
            program.hear("up")
            server = active(cloud, program.gid, program.hear("forked")["pid"])
            assert server.availability_zone == "nova"
            assert server.key_name == key.name
            assert server.has_config_drive
            assert server.metadata["pid"] in server.name
            program.hear("running")
    finally:
        cloud.compute.delete_keypair(key)


def test_what_a_fork_says_is_what_its_children_have_too(settings: dict[str, Any], cloud: Any) -> None:
    name = f"trial-{uuid.uuid4().hex[:8]}"
    key, made = cloud.compute.create_keypair(name=name), cloud.network.create_security_group(name=name)
    told = {"keypair": name, "security_groups": [name], "flavor": "t512"}
    try:
        with a_program(settings, text=PARENT_SCRIPT, **told) as program:
            program.hear("up")
            forked = program.hear("forked")
            for pid in (forked["pid"], forked["child"]):
                server = active(cloud, program.gid, pid)
                groups = {group["name"] for group in server.security_groups}
                assert name in groups
                assert any(group.startswith(f"rack-{program.gid[:12]}-sg-") for group in groups)
                assert (server.key_name, server.flavor["original_name"]) == (name, "t512")
            program.go_on()
            program.hear("ended")
            assert not of_group(cloud, program.gid)
    finally:
        cloud.compute.delete_keypair(key)
        cloud.network.delete_security_group(made)


def test_a_machine_joins_as_soon_as_it_is_up(settings: dict[str, Any], cloud: Any, hypervisor: str) -> None:
    """Nova's part is not in it: the agent takes half a second; a try that fails, and its pause, would take several."""
    if hypervisor != "lxc":
        pytest.skip("an emulated processor takes ten times as long")
    with a_program(settings, "sleep 600") as program:
        program.hear("up")
        server = active(cloud, program.gid, program.hear("forked")["pid"])
        program.hear("running")
        said = cloud.compute.get_server_console_output(server)["output"]
        took = [float(line.split(" joined ")[1].split()[0]) for line in said.splitlines() if " joined " in line]
    print(f"joined {took} s after the first process began; load {os.getloadavg()[0]:.1f}")
    assert len(took) == 1
    assert took[0] < 3.0
