"""What is on a project of a cloud: `leftovers.py --cloud NAME` prints it, and fails when there is anything.

A cloud's own services say it, never our notes. What belongs to the cloud and not to a test is left out: the provider
network, DHCP's ports, the default security group, images.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from typing import Any

import openstack


def servers(cloud: Any) -> Iterator[Any]:
    """Yield the servers."""
    yield from cloud.compute.servers()


def ports(cloud: Any) -> Iterator[Any]:
    """Yield the ports of servers and of routers."""
    yield from (port for port in _own(cloud, cloud.network.ports()) if port.device_owner != "network:dhcp")


def networks(cloud: Any) -> Iterator[Any]:
    """Yield the networks."""
    yield from _own(cloud, cloud.network.networks())


def routers(cloud: Any) -> Iterator[Any]:
    """Yield the routers."""
    yield from _own(cloud, cloud.network.routers())


def floating_ips(cloud: Any) -> Iterator[Any]:
    """Yield the floating IPs."""
    yield from _own(cloud, cloud.network.ips())


def security_groups(cloud: Any) -> Iterator[Any]:
    """Yield the security groups that somebody made."""
    yield from (group for group in _own(cloud, cloud.network.security_groups()) if group.name != "default")


def keypairs(cloud: Any) -> Iterator[Any]:
    """Yield the keypairs."""
    yield from cloud.compute.keypairs()


def server_groups(cloud: Any) -> Iterator[Any]:
    """Yield the server groups."""
    yield from cloud.compute.server_groups()


def application_credentials(cloud: Any) -> Iterator[Any]:
    """Yield the application credentials."""
    yield from cloud.identity.application_credentials(cloud.current_user_id)


def access_rules(cloud: Any) -> Iterator[Any]:
    """Yield the access rules of application credentials, which outlive these."""
    yield from cloud.identity.access_rules(cloud.current_user_id)


def containers(cloud: Any) -> Iterator[Any]:
    """Yield Swift's containers, if there is a Swift."""
    if cloud.has_service("object-store"):
        yield from cloud.object_store.containers()


def volumes(cloud: Any) -> Iterator[Any]:
    """Yield the volumes, if there is a Cinder."""
    if cloud.has_service("block-storage"):
        yield from cloud.block_storage.volumes()


KINDS: dict[str, Callable[[Any], Iterator[Any]]] = {
    "server": servers,
    "port": ports,
    "network": networks,
    "router": routers,
    "floating ip": floating_ips,
    "security group": security_groups,
    "keypair": keypairs,
    "server group": server_groups,
    "application credential": application_credentials,
    "access rule": access_rules,
    "container": containers,
    "volume": volumes,
}


def _own(cloud: Any, found: Iterator[Any]) -> Iterator[Any]:
    return (each for each in found if each.project_id == cloud.current_project_id)


def everything(cloud: Any) -> set[str]:
    """Return what is there, each as "kind name (id)"."""
    return {
        f"{kind} {each.name or each.id}" + (f" ({each.id})" if each.name not in (None, "", each.id) else "")
        for kind, listing in KINDS.items()
        for each in listing(cloud)
    }


def main() -> int:
    """Print what is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cloud")
    found = sorted(everything(openstack.connect(cloud=parser.parse_args().cloud)))
    print("\n".join(found) or "nothing is left")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
