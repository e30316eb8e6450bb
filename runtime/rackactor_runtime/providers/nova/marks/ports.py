"""Neutron's ports under a group's security group or on its network: whose they are, and what is done with them. Pure.

A port says more than Nova's list: that a server runs which the list lacks, and what it is called whatever its name. But
not every port there is the group's: whoever may use the project can put a machine of his own, a load balancer, or a
machine of another group under the same security group or on the same network. Those are never deleted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from rackactor.records import dataclass
from rackactor_runtime.providers.nova.marks import names as w

_ID = re.compile(r"[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}")


class Whose(Enum):
    """What is known of the server behind a port, for the group that asks."""

    #: It is that group's.
    OURS = 1
    #: It is not.
    FOREIGN = 2
    #: There is no such server, as far as Nova says.
    GONE = 3
    #: Nova does not say.
    UNKNOWN = 4


@dataclass(frozen=True)
class Port:
    """A port with something of ours."""

    id: str
    name: str
    #: Neutron's word on what has it: "compute:nova", "network:dhcp", "Octavia", "".
    owner: str
    #: What has it: a server's id, a router's, ...
    device: str
    active: bool
    #: Its security groups that are ours, and its network if that is.
    groups: Mapping[str, w.Claim]
    network: w.Claim | None
    #: Of a port of a router of ours that joins somebody else's network to it: whose that router is.
    router: w.Claim | None = None
    #: Our floating IP that leads to it, by id, and whose that is.
    address: tuple[str, w.Claim] | None = None

    @property
    def server(self) -> str:
        """Return the id of the server that has it, "" for none. Nova says so a moment before it says what it is."""
        if self.owner.startswith("compute:") or (not self.owner and _ID.fullmatch(self.device)):
            return self.device
        return ""

    @property
    def claims(self) -> list[w.Claim]:
        """Return of which groups it has something, each once."""
        claims = [*self.groups.values(), *([self.network] if self.network else [])]
        return list({claim.gid12: claim for claim in claims}.values())

    @property
    def gids(self) -> set[str]:
        """Return of which groups it has or uses something, by the twelve letters."""
        return {claim.gid12 for claim in self.claims} | {claim.gid12 for _, claim in self.holds()}

    def holds(self) -> Iterator[tuple[str, w.Claim]]:
        """Yield what could not go while it is there: "gid12 kind" or an id, and whose that is."""
        claim = self.network or self.router
        if claim is not None:
            yield from ((f"{claim.gid12} {kind}", claim) for kind in ("network", "subnet", "router"))
        if self.address is not None:
            yield self.address

    def whose(self, server: Whose) -> Whose:
        """Tell whose it is, by whose its server is.

        One that nothing has is the group's, left from a server that Nova could not make, unless somebody has named it.
        """
        if self.server:
            return server
        return Whose.GONE if not (self.owner or self.device or self.name) else Whose.FOREIGN

    def words(self) -> str:
        """Return what it is, for people."""
        if self.server:
            return f"the port {self.id} of the server {self.server}"
        return f"the port {self.name or self.id}" + (f" of {self.owner} {self.device}".rstrip() if self.owner else "")


def read(row: Mapping[str, Any], owners: Mapping[str, w.Claim], addresses: Mapping[str, str]) -> Port | None:
    """Return a port with something of ours, by Neutron's row; None for others, and those that go with their network.

    Args:
        row: Neutron's.
        owners: by id what there is of ours: networks, security groups, routers, floating IPs.
        addresses: floating IPs of ours by the ports that they lead to.
    """
    groups = {each: owners[each] for each in row.get("security_groups") or () if each in owners}
    network = owners.get(row["network_id"])
    owner, device = row.get("device_owner") or "", row.get("device_id") or ""
    router, address = None, None
    if owner.startswith("network:router_interface") and network is None:
        router = owners.get(device)
    elif owner.startswith("network:") and (not owner.startswith("network:router") or device in owners):
        return None
    if (number := addresses.get(row["id"])) is not None:
        address = number, owners[number]
    if not groups and network is None and router is None and address is None:
        return None
    active = row.get("status") == "ACTIVE"
    return Port(row["id"], row.get("name") or "", owner, device, active, groups, network, router, address)
