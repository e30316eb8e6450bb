"""Images on a real cloud: built, uploaded once, listed; a server of one runs its user-data and ends with it."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

RACK = Path(sys.executable).with_name("rack")
#: What the task prints of itself before it ends. It waits, because a container's console ends with the container.
TASK = """#!/bin/sh
echo "contents $(head -c 60 /opt/rackactor/contents.json | tr -d ' \\n')"
echo "metadata $(grep -c '"gid": "images"' /run/rackactor/meta_data.json)"
/opt/rackactor/bin/python3 -c 'import rackactor, rackactor_runtime; print("imported", rackactor.__version__)'
echo "free MiB $(df -m / | awk 'END {print $4}')"
sleep 5
"""


def rack(*words: str, code: int = 0) -> str:
    """Run the `rack` command and return what it printed: on standard error when it is to fail."""
    done = subprocess.run([str(RACK), *words], capture_output=True, text=True, timeout=600)
    assert done.returncode == code, done.stderr
    return done.stderr if code else done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a root file system made of this clone."""
    if os.geteuid() != 0:
        pytest.skip("images are built by root")
    place = tmp_path_factory.mktemp("images")
    rack("image", "build", "--kind", "lxc", "--reuse-base", "--name", "tried", "--output", str(place))
    return place / "tried.ext4"


@pytest.fixture
def uploaded(built: Path, cloud_name: str, cloud: Any) -> Iterator[dict[str, Any]]:
    """Return what `rack image upload` says of an image of its own; the image goes afterwards."""
    name = f"tried-{os.getpid()}"
    yield json.loads(rack("image", "upload", "--cloud", cloud_name, "--name", name, "-f", "json", str(built)))
    for image in cloud.image.images(name=name):
        cloud.image.delete_image(image)


@pytest.mark.timeout(900)
def test_a_build_lists_what_is_in_it(built: Path) -> None:
    listed = json.loads(Path(f"{built}.json").read_text())
    assert set(listed) >= {"rackactor", "rackactor_sha256", "recipe_sha256", "python", "packages", "debian"}
    assert listed["packages"]["thespian"] == "4.0.1"
    assert listed["python"].startswith("3.11.")
    assert built.stat().st_size < 350 << 20


@pytest.mark.timeout(900)
def test_the_same_image_is_not_sent_twice(built: Path, uploaded: dict[str, Any], cloud_name: str) -> None:
    assert uploaded["uploaded"] is True
    again = json.loads(
        rack("image", "upload", "--cloud", cloud_name, "--name", uploaded["name"], "-f", "json", str(built))
    )
    assert again == {**uploaded, "uploaded": False}


@pytest.mark.timeout(900)
def test_another_image_takes_the_place_of_the_older(
    built: Path, uploaded: dict[str, Any], cloud_name: str, cloud: Any
) -> None:
    with built.open("r+b") as file:  # one byte of the boot sector, which a file system does not use
        byte = file.read(1)
        file.seek(0)
        file.write(bytes([byte[0] ^ 1]))
    new = json.loads(
        rack("image", "upload", "--cloud", cloud_name, "--name", uploaded["name"], "-f", "json", str(built))
    )
    assert new["uploaded"] is True
    assert [image.id for image in cloud.image.images(name=uploaded["name"])] == [new["id"]]


@pytest.mark.timeout(900)
def test_list_shows_images_with_our_mark_only(uploaded: dict[str, Any], cloud_name: str, cloud: Any) -> None:
    rows = json.loads(rack("image", "list", "--cloud", cloud_name, "-f", "json"))
    assert uploaded["id"] in {row["ID"] for row in rows}
    marked = {image.id for image in cloud.image.images() if "rackactor_version" in image.to_dict()["properties"]}
    assert {row["ID"] for row in rows} == marked


def test_what_goes_wrong_is_one_clear_line(cloud_name: str, tmp_path: Path) -> None:
    assert rack("image", "list", "--cloud", "nowhere", code=1) == "rack: Cloud nowhere was not found.\n"
    (tmp_path / "notes").write_text("no image")
    assert "neither a root file system" in rack(
        "image", "upload", "--cloud", cloud_name, str(tmp_path / "notes"), code=1
    )
    assert "No such file" in rack("image", "upload", "--cloud", cloud_name, str(tmp_path / "none"), code=1)


@pytest.fixture
def boot(cloud: Any, image_name: str) -> Iterator[Callable[..., Any]]:
    """Return what boots a server of the image with user-data and metadata."""
    made = []

    def begin(user_data: str, metadata: dict[str, str]) -> Any:
        server = cloud.compute.create_server(
            name=f"tried-{os.getpid()}",
            image_id=cloud.image.find_image(image_name, ignore_missing=False).id,
            flavor_id=cloud.compute.find_flavor("t256", ignore_missing=False).id,
            networks=[{"uuid": cloud.network.find_network("provider", ignore_missing=False).id}],
            user_data=base64.b64encode(user_data.encode()).decode(),
            metadata=metadata,
        )
        made.append(server)
        return cloud.compute.wait_for_server(server, interval=0.5, wait=180)

    yield begin
    for server in made:
        cloud.compute.delete_server(server, ignore_missing=True)
        cloud.compute.wait_for_delete(server, interval=0.5, wait=60)


@pytest.mark.qemu
def test_a_machine_runs_its_user_data_and_ends_with_it(cloud: Any, boot: Callable[..., Any]) -> None:
    server = boot(TASK, {"gid": "images", "pid": "3"})
    said = console(cloud, server, "free MiB ")
    assert 'contents {"debian":' in said
    assert "metadata 1" in said
    assert "imported " in said
    assert int(said.rpartition("free MiB ")[2].split()[0]) > 500, "the disk is the flavor's"
    # a VM that is a process ends with its program
    cloud.compute.wait_for_server(server, status="SHUTOFF", failures=["ERROR"], interval=1, wait=90)


def test_a_machine_that_is_no_process_outlives_its_user_data(cloud: Any, boot: Callable[..., Any]) -> None:
    server = boot("#!/bin/sh\necho done here\n", {})
    console(cloud, server, "done here")
    time.sleep(3)
    assert cloud.compute.get_server(server).status == "ACTIVE"
    assert "powering off" not in console(cloud, server, "done here")


def console(cloud: Any, server: Any, wanted: str, patience: float = 120) -> str:
    """Return a server's console log as soon as it holds a text."""
    end = time.monotonic() + patience
    while True:
        said = str(cloud.compute.get_server_console_output(server, length=500)["output"] or "")
        if wanted in said:
            return said
        assert time.monotonic() < end, said
        time.sleep(0.5)
