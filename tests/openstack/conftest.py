"""Tests against a real cloud: which one, with which image, and the proof that a test leaves nothing on it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
#: Names the cloud of clouds.yaml; without it these tests are skipped.
CLOUD = "RACK_TEST_CLOUD"
#: Set: others use the project at the same time, so that what appears on it may be theirs.
SHARED = "RACK_TEST_SHARED"
#: Seconds of a test that does not say otherwise: a server takes its time.
LIMIT = 300
#: Seconds that a cloud has to forget what was deleted.
FORGET = 60


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Mark what lies here; skip it without a cloud."""
    for item in items:
        if not item.path.is_relative_to(HERE):
            continue
        item.add_marker("openstack")
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(LIMIT))
        if not os.environ.get(CLOUD):
            item.add_marker(pytest.mark.skip(reason=f"needs a cloud: `make test-openstack`, or {CLOUD}=NAME"))


@pytest.fixture(scope="session")
def cloud_name() -> str:
    """Return the cloud's name in clouds.yaml."""
    return os.environ[CLOUD]


@pytest.fixture(scope="session")
def hypervisor() -> str:
    """Return what the cloud's servers are: `lxc` or `qemu`."""
    return os.environ.get("RACK_TEST_VIRT", "lxc")


@pytest.fixture(scope="session")
def image_name() -> str:
    """Return the image that holds the agent."""
    return os.environ.get("RACK_TEST_IMAGE", "rackactor")


@pytest.fixture(scope="session")
def cloud(cloud_name: str) -> Iterator[Any]:
    """Return a connection of the tests' own, to look with other eyes than the code that is tested."""
    openstack = pytest.importorskip("openstack")
    from leftovers import everything

    connection = openstack.connect(cloud=cloud_name)
    # Each service has a connection that is kept: opened now, none of them is taken for something that a test has left.
    everything(connection)
    next(connection.image.images(), None)
    yield connection
    connection.close()


@pytest.fixture
def admin(cloud_name: str) -> Iterator[Any]:
    """Return a connection of an administrator of the cloud."""
    openstack = pytest.importorskip("openstack")
    name = os.environ.get("RACK_TEST_ADMIN_CLOUD", f"{cloud_name}-admin")
    try:
        connection = openstack.connect(cloud=name)
        connection.authorize()
    except Exception as error:
        pytest.skip(f"needs an administrator's cloud {name!r}: {error}")
    yield connection
    connection.close()


@pytest.fixture(scope="module", autouse=True)
def nothing_left(cloud: Any) -> Iterator[None]:
    """Compare what is on the project before and after the tests of a file: asking for all takes a second or two."""
    from leftovers import everything

    if os.environ.get(SHARED):
        yield
        return
    before = everything(cloud)
    yield
    end = time.monotonic() + FORGET
    while left := everything(cloud) - before:
        assert time.monotonic() < end, f"left on the cloud: {', '.join(sorted(left))}"
        time.sleep(1)


@pytest.fixture
def settings(cloud_name: str, image_name: str) -> dict[str, Any]:
    """Return how the tests' groups are made."""
    flavor = os.environ.get("RACK_TEST_FLAVOR", "t256")
    network = os.environ.get("RACK_TEST_NETWORK", "provider")
    return {"cloud": cloud_name, "image": image_name, "flavor": flavor, "network": network}


@pytest.fixture
def no_idle_connections(cloud: Any) -> Iterator[None]:
    """Close what the test's own look at the cloud has opened: it is not what the test has left."""
    yield
    cloud.session.session.close()
