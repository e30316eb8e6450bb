"""Single servers on a real cloud: made, listed, refused and deleted, with no group around them."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from cloudgroups import eventually

from rackactor_runtime.providers.machines.provider import CloudFault, Machine
from rackactor_runtime.providers.nova.cloud import NovaCloud, Site
from rackactor_runtime.providers.nova.lookup import Finder
from rackactor_runtime.providers.nova.session import Session


@pytest.fixture
def gid() -> str:
    return str(uuid.uuid4())


@pytest.fixture
def nova(cloud_name: str, image_name: str, gid: str) -> Iterator[NovaCloud]:
    session = Session(cloud_name)
    finder = Finder(session)
    flavor = finder.find("flavor", os.environ.get("RACK_TEST_FLAVOR", "t256"))
    network = finder.find("network", os.environ.get("RACK_TEST_NETWORK", "provider"))
    made = NovaCloud(session, Site(gid, network, finder.find("image", image_name), flavor))
    yield made
    for mark, seen in made.list().items():
        assert eventually(lambda m=mark, s=seen: made.delete(m, s.instance), 60)  # type: ignore[misc]
    made.close()


def machine(gid: str, **more: Any) -> Machine:
    return Machine(f"{gid}.5.1", 5, 2, "trial", "#!/bin/sh\nsleep 300\n", deadline=time.time() + 900, **more)


def test_a_server_comes_and_goes(nova: NovaCloud, cloud: Any, gid: str) -> None:
    mine = machine(gid, args={"word": "v", "long": "x" * 300})
    instance = nova.create(mine)
    assert eventually(lambda: nova.list()[mine.mark].status == "ACTIVE", 120)
    seen = nova.list()[mine.mark]
    assert seen.instance == instance
    assert seen.addresses
    theirs = cloud.compute.get_server(instance)
    assert theirs.metadata["word"] == "v"
    assert theirs.metadata["ppid"] == "2"
    assert "long" not in theirs.metadata
    assert not nova.delete(mine.mark, instance)
    assert eventually(lambda: nova.delete(mine.mark, instance), 60)
    assert not nova.list()
    assert not list(cloud.network.ports(device_id=instance))


def test_the_cloud_s_own_words(nova: NovaCloud, gid: str) -> None:
    cases = [
        ({"image": "no-such-image"}, "image", "no image 'no-such-image'"),
        ({"flavor": "no-such-flavor"}, "flavor", "no flavor 'no-such-flavor'"),
        ({"network": str(uuid.uuid4())}, "network", "could not be found"),
        ({"security_groups": "no-such-group"}, "security-group", "no-such-group"),
        ({"keypair": "no-such-key"}, "keypair", "key_name"),
        ({"availability_zone": "no-such-zone"}, "availability-zone", "not available"),
    ]
    for placement, kind, words in cases:
        with pytest.raises(CloudFault, match=words) as caught:
            nova.create(machine(gid, placement=placement))
        assert caught.value.kind == kind
    assert not nova.list()


@pytest.fixture
def flavors(admin: Any) -> Iterator[Any]:
    """Return a maker of flavors that no host has room for."""
    made = []

    def make(**size: int) -> str:
        made.append(admin.compute.create_flavor(name=f"rack-trial-{uuid.uuid4().hex[:8]}", disk=1, **size))
        return str(made[-1].name)

    yield make
    for flavor in made:
        admin.compute.delete_flavor(flavor)


def test_no_valid_host(nova: NovaCloud, gid: str, flavors: Any) -> None:
    mine = machine(gid, placement={"flavor": flavors(ram=8_000_000, vcpus=1)})
    instance = nova.create(mine)
    # Nova writes down the reason a moment later, and tells it by the id: its lists lack it.
    seen = eventually(lambda: (s := nova.find(instance)) is not None and s.status == "ERROR" and s.fault and s, 60)
    assert seen, nova.find(instance)
    assert "No valid host" in seen.fault
    assert eventually(lambda: nova.delete(mine.mark, instance), 60)


def test_quota(nova: NovaCloud, gid: str, flavors: Any) -> None:
    with pytest.raises(CloudFault, match="Quota") as caught:
        nova.create(machine(gid, placement={"flavor": flavors(ram=256, vcpus=100_000)}))
    assert caught.value.kind == "quota"
    assert not nova.list()
