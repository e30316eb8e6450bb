"""What is not ours stays, whatever it hangs on: servers, ports, networks, routers and floating IPs of others."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from cloudmodel import made_group, supervisor_of
from faultynova import FaultyNova

pytest.importorskip("openstack")

from sweeping import GID, LONG, OTHER, remove_group, sweep

from rackactor_runtime.providers.nova.marks import names as w
from rackactor_runtime.providers.nova.session import Session


def foreign(nova: FaultyNova, groups: list[str], **more: Any) -> dict[str, Any]:
    """Have a server of somebody else in the project, with a port that has something of the group's."""
    number = nova.add({"name": "precious", "metadata": {}})
    nova.servers[number]["status"] = "ACTIVE"
    nova.ports[number] |= {"status": "ACTIVE", "security_groups": groups, **more}
    return nova.ports[number]


@pytest.mark.parametrize("hidden", [False, True])
def test_a_server_of_somebody_else_keeps_its_port(
    nova: FaultyNova, log_in: Callable[..., Session], hidden: bool
) -> None:
    made_group(nova, GID, time.time() - LONG, status="", workers=0)
    default = nova.have("security-groups", "default", project_id="p")
    (group,) = set(nova.network["security-groups"]) - {default}
    alone, among = foreign(nova, [group]), foreign(nova, ["web", group])
    if hidden:
        nova.unlisted.update([alone["device_id"], among["device_id"]])
    kept = {default, alone["id"], among["id"], alone["device_id"], among["device_id"]}
    rows, clean = sweep(log_in())
    assert clean, rows
    assert nova.everything() == kept
    assert (alone["security_groups"], among["security_groups"]) == ([default], ["web"])


@pytest.mark.parametrize(
    "port",
    [
        {"device_owner": "Octavia", "device_id": "lb-1"},
        {"device_owner": "trunk:subport", "device_id": str(uuid.uuid4())},
        {"name": "for my next server"},
    ],
)
def test_so_does_whatever_else_somebody_has_there(
    nova: FaultyNova, log_in: Callable[..., Session], port: dict[str, Any]
) -> None:
    made_group(nova, GID, time.time() - LONG, status="", workers=0)
    (group,) = nova.network["security-groups"]
    number = nova.have("ports", **{"name": "", "security_groups": [group], **port})
    rows, clean = sweep(log_in())
    assert clean, rows
    assert nova.everything() == {number}
    assert nova.ports[number]["security_groups"] == []


def test_a_server_of_another_group_of_ours_keeps_its_port(nova: FaultyNova, log_in: Callable[..., Session]) -> None:
    """Its program has named this group's security group as one more of its own."""
    made_group(nova, GID, time.time(), workers=0)
    (group,) = nova.network["security-groups"]
    living = made_group(nova, OTHER, time.time(), workers=0)
    port = nova.ports[supervisor_of(nova, OTHER)["id"]]
    own = list(port["security_groups"])
    port["security_groups"] = [group, *own]
    assert remove_group(log_in(), GID, []) == ([], "")
    assert nova.everything() == living
    assert port["security_groups"] == own


def test_a_network_with_a_server_of_somebody_else_on_it_stays(nova: FaultyNova, log_in: Callable[..., Session]) -> None:
    made_group(nova, GID, time.time() - LONG, status="", workers=0, network=True)
    (network,) = nova.network["networks"]
    port = foreign(nova, ["web"], network_id=network)
    rows, clean = sweep(log_in())
    assert not clean
    left = {row["kind"]: row["result"] for row in rows if row["result"] != "deleted"}
    assert set(left) == {"network", "subnet", "router"}
    assert f"the port {port['id']} of the server {port['device_id']} uses it" in left["network"]
    assert port["security_groups"] == ["web"]
    assert any(row["device_owner"] == "network:router_interface" for row in nova.ports.values()), "its way out"


def test_so_does_a_router_that_a_network_of_somebody_else_is_joined_to(
    nova: FaultyNova, log_in: Callable[..., Session]
) -> None:
    made_group(nova, GID, time.time() - LONG, status="", workers=0, network=True)
    (router,) = nova.network["routers"]
    theirs = nova.have("networks", "precious", project_id="p")
    more = {"device_owner": "network:router_interface", "device_id": router, "network_id": theirs}
    joint = nova.have("ports", "", **more)
    rows, clean = sweep(log_in())
    assert not clean
    assert {row["kind"] for row in rows if row["result"] != "deleted"} == {"network", "subnet", "router"}
    assert {theirs, joint, router} <= nova.everything()


def test_and_a_floating_ip_that_somebody_has_taken_for_his_own(
    nova: FaultyNova, log_in: Callable[..., Session]
) -> None:
    now = time.time()
    made_group(nova, GID, now - LONG, status="", workers=0)
    port = foreign(nova, ["web"])
    about = w.description(GID, now - LONG, None, w.scope("p", "R"))
    taken = nova.have("floatingips", "", description=about, port_id=port["id"], floating_ip_address="192.0.2.1")
    free = nova.have("floatingips", "", description=about, port_id=None, floating_ip_address="192.0.2.2")
    rows, clean = sweep(log_in())
    assert not clean
    (left,) = [row for row in rows if row["result"] != "deleted"]
    assert (left["id"], left["name"]) == (taken, "192.0.2.1")
    assert f"of the server {port['device_id']} uses it" in left["result"]
    assert free not in nova.everything()
    assert {taken, port["id"], port["device_id"]} == nova.everything()


def test_a_floating_ip_of_the_supervisor_goes_with_it(nova: FaultyNova, log_in: Callable[..., Session]) -> None:
    made_group(nova, GID, time.time(), workers=0)
    about = w.description(GID, time.time(), None, w.scope("p", "R"))
    (number,) = nova.servers
    nova.have("floatingips", "", description=about, port_id=f"port-{number}", floating_ip_address="192.0.2.1")
    assert remove_group(log_in(), GID, []) == ([], "")
    assert not nova.everything()


def test_a_port_that_nova_left_behind_goes(nova: FaultyNova, log_in: Callable[..., Session]) -> None:
    made_group(nova, GID, time.time(), workers=0)
    nova.plan("delete", (True, 500))
    assert remove_group(log_in(), GID, []) == ([], "")
    assert not nova.everything()
