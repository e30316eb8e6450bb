"""Make what a new cloud lacks: users, endpoints, the network, flavors. What is there stays as it is.

Run by Debian's Python with Debian's openstacksdk: `resources.py catalog|resources|wait|swift`.
"""

from __future__ import annotations

import datetime
import os
import sys
import time
from typing import Any

import openstack

NET = os.environ.get("OSM_NET", "10.77.0")
HOST = f"{NET}.1"
SERVICES = {
    "glance": ("image", f"http://{HOST}:9292"),
    "placement": ("placement", f"http://{HOST}:8778"),
    "nova": ("compute", f"http://{HOST}:8774/v2.1"),
    "neutron": ("network", f"http://{HOST}:9696"),
}
SWIFT = {"swift": ("object-store", f"http://{HOST}:8080/v1/AUTH_%(project_id)s")}
FLAVORS = {"t256": 256, "t512": 512, "t1024": 1024}
#: Seconds that the services have to be heard of.
PATIENCE = 120


def catalog(cloud: Any) -> None:
    """Make the users, and the endpoints of the services that every cloud has."""
    identity = cloud.identity
    roles = {role.name: role for role in identity.roles()}
    for name in ("service", "member", "reader"):
        roles[name] = roles.get(name) or identity.create_role(name=name)
    for user_name, variable, wanted in (
        ("service", "OSM_PW_SERVICE", ("admin", "service")),
        ("demo", "OSM_PW_DEMO", ("member", "reader")),
    ):
        project = identity.find_project(user_name) or identity.create_project(name=user_name, domain_id="default")
        user = identity.find_user(user_name) or identity.create_user(
            name=user_name, password=os.environ[variable], domain_id="default", default_project_id=project.id
        )
        for role in wanted:
            identity.assign_project_role_to_user(project, user, roles[role])
    endpoints(cloud, SERVICES)


def endpoints(cloud: Any, services: dict[str, tuple[str, str]]) -> None:
    """Make services and their endpoints."""
    identity = cloud.identity
    known = {service.name: service for service in identity.services()}
    there = {(endpoint.service_id, endpoint.interface) for endpoint in identity.endpoints()}
    for name, (kind, url) in services.items():
        service = known.get(name) or identity.create_service(name=name, type=kind)
        for interface in ("public", "internal", "admin"):
            if (service.id, interface) not in there:
                identity.create_endpoint(service_id=service.id, interface=interface, url=url, region_id="RegionOne")


def resources(cloud: Any) -> None:
    """Make the provider network, the flavors, and room for many small servers."""
    network = cloud.network.find_network("provider") or cloud.network.create_network(
        name="provider",
        is_shared=True,
        is_router_external=True,
        provider_network_type="flat",
        provider_physical_network="provider",
    )
    if cloud.network.find_subnet("provider") is None:
        cloud.network.create_subnet(
            name="provider",
            network_id=network.id,
            ip_version=4,
            cidr=f"{NET}.0/24",
            gateway_ip=HOST,
            enable_dhcp=True,
            allocation_pools=[{"start": f"{NET}.20", "end": f"{NET}.250"}],
        )
    for name, ram in FLAVORS.items():
        if cloud.compute.find_flavor(name) is None:
            cloud.compute.create_flavor(name=name, ram=ram, vcpus=1, disk=1)
    project = cloud.identity.find_project("demo")
    cloud.set_compute_quotas(project.id, instances=200, cores=200, ram=-1, key_pairs=100)


def recent(binary: str, stamp: str) -> bool:
    """Was a service heard of since this run started it? One that was just restarted looks alive by its old record."""
    if binary.replace("-agent", "") not in os.environ.get("OSM_STARTED", "").split():
        return True
    heard = datetime.datetime.fromisoformat(stamp.replace("Z", "")[:19]).replace(tzinfo=datetime.UTC)
    return heard.timestamp() >= int(os.environ.get("OSM_SINCE", "0"))


def wait(cloud: Any) -> None:
    """Wait until the services that a server needs have been heard of."""
    wanted = {"nova-compute", "nova-conductor", "nova-scheduler", "neutron-linuxbridge-agent", "neutron-dhcp-agent"}
    end = time.monotonic() + PATIENCE
    while True:
        services = [(s.binary, s.updated_at) for s in cloud.compute.services() if s.state == "up"]
        agents = [(a.binary, a.last_heartbeat_at) for a in cloud.network.agents() if a.is_alive]
        missing = wanted - {binary for binary, stamp in services + agents if stamp and recent(binary, stamp)}
        if not missing:
            return
        if time.monotonic() > end:
            sys.exit(f"not heard of in {PATIENCE} s: {', '.join(sorted(missing))}")
        time.sleep(0.5)


def swift(cloud: Any) -> None:
    """Make Swift's endpoints."""
    endpoints(cloud, SWIFT)


if __name__ == "__main__":
    TASKS = {"catalog": catalog, "resources": resources, "wait": wait, "swift": swift}
    TASKS[sys.argv[1]](openstack.connect(cloud="mini-admin"))
