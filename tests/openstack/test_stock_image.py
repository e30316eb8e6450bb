"""A stock image, with cloud-init and without RackActor: what is said of it, and how it is used all the same."""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cloudgroups import of_group, server_of

import rackactor as rack
from rackactor.errors import StartError

ROOT = Path(__file__).resolve().parents[2]
#: Names an image that runs user-data by cloud-init and has Python with venv, but no guest program.
BARE = "RACK_TEST_BARE_IMAGE"
#: The machines' address of this host, where they find the packages.
HOST = "RACK_TEST_HOST"
#: As the guest's Python wants them, whichever Python runs the tests.
WHEELS = ["--python-version=3.11", "--implementation=cp", "--no-deps"]
PLATFORMS = [f"--platform={name}_x86_64" for name in ("manylinux_2_28", "manylinux_2_17", "manylinux2014")]


@pytest.fixture(scope="module")
def bare() -> str:
    if not os.environ.get(BARE):
        pytest.skip(f"needs {BARE}: an image that runs user-data and has no guest program")
    return os.environ[BARE]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """Serve RackActor and what it needs to the machines; they reach no other index."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, ROOT], check=True, timeout=200)
    pins = ["-r", ROOT / "images/requirements.txt"]
    subprocess.run([*pip, "download", *WHEELS, *PLATFORMS, "--dest", tmp_path, *pins], check=True, timeout=200)
    host = os.environ.get(HOST, "10.77.0.1")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer((host, 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{host}:{server.server_port}"
        server.shutdown()


@pytest.mark.timeout(600)
def test_a_supervisor_s_image_without_a_guest_program(settings: dict[str, Any], bare: str) -> None:
    given = {**settings, "image": bare, "boot_timeout": 240}  # its own programs come first: they take their time
    with pytest.raises(StartError, match="has no guest program"):
        rack.group("trial", cloud=given.pop("cloud"), provider_settings=given)


def test_a_process_s_image_without_a_guest_program(settings: dict[str, Any], bare: str, cloud: Any) -> None:
    openstack = pytest.importorskip("openstack")
    with rack.group("trial", cloud=settings.pop("cloud"), provider_settings=settings) as group:
        child = group.fork(["true"], image=bare)
        said = ""
        while child.is_alive():
            server = server_of(cloud, group.gid, child.pid)
            if server is not None and server.status == "ACTIVE":
                with contextlib.suppress(openstack.exceptions.HttpException):  # it goes at any moment
                    said = cloud.compute.get_server_console_output(server)["output"] or said
            time.sleep(1)
        status = child.wait(10)
        assert (status.cause, status.started) == (rack.Cause.BOOT_FAILED, None)
        # a container's console goes with it, so that the evidence cannot have it here
        assert "this image has no rackactor-guest" in said
    assert not of_group(cloud, group.gid)


@pytest.mark.timeout(600)
def test_a_stock_image_gets_what_it_lacks(settings: dict[str, Any], bare: str, index: str, cloud: Any) -> None:
    venv = "python3 -m venv /opt/rackactor"
    host = index.removeprefix("http://").partition(":")[0]
    pip = f"/opt/rackactor/bin/pip -q install --no-index --find-links {index} --trusted-host {host} rackactor"
    given = {**settings, "install": f"{venv} && {pip}", "boot_timeout": 240}
    with rack.group("trial", cloud=given.pop("cloud"), provider_settings=given) as group:
        child = group.fork(["sh", "-c", "cloud-init --version && exit 7"], image=bare)
        assert child.wait(300).code == 7
        assert "cloud-init" in str(child.stdout.read())
    assert not of_group(cloud, group.gid)
