"""What is made once for each group: network, security group, key pair, server group, application credential.

Everything is looked up and checked first, so that a wrong name costs nothing. What is made has the group's mark in its
name or its description, by which `inventory` finds it again: nothing here remembers what it has made.
"""

from __future__ import annotations

import datetime
import ipaddress
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rackactor.errors import InvalidCall, StartError
from rackactor.records import dataclass
from rackactor_runtime.providers.machines.cloud import CloudFault
from rackactor_runtime.providers.nova import deletes
from rackactor_runtime.providers.nova.access.faults import fault
from rackactor_runtime.providers.nova.lookup import Finder
from rackactor_runtime.providers.nova.marks import names as w
from rackactor_runtime.providers.nova.provider.rules import access_rules
from rackactor_runtime.providers.nova.provider.settings import NovaSettings
from rackactor_runtime.providers.nova.session import Session

#: Files of the user's public keys; the first existing one is used for a key pair.
_PUBLIC_KEYS = ("id_ed25519.pub", "id_ecdsa.pub", "id_rsa.pub")
#: Seconds by which an application credential outlives its group's deadline.
_CREDENTIAL_MARGIN = 3600.0

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """The ids of what exists already, looked up before anything is made."""

    image: str
    flavor: str
    supervisor_flavor: str
    #: An existing network, or None: one is made, with a router to `external` (None: there is no such network).
    network: dict[str, Any] | None
    external: dict[str, Any] | None
    security_groups: tuple[str, ...]
    known: dict[str, str]


def plan(session: Session, settings: NovaSettings) -> Plan:
    """Look up all that the settings name.

    Raises:
        InvalidCall: something does not exist, or does not fit; the message lists what there is.
        StartError: the quota does not even allow a supervisor and one process.
    """
    finder = Finder(session)
    try:
        image = finder.record("image", settings.image)
        if image["status"] != "active":
            raise InvalidCall(f"the image {settings.image!r} is {image['status']}, not active")
        flavor = _flavor(session, finder, settings.flavor, image)
        first = finder.record("flavor", settings.supervisor_flavor) if settings.supervisor_flavor else flavor
        networks = finder.networks()
        network = finder.record("network", settings.network) if settings.network else None
        groups = tuple(finder.find("security group", name) for name in settings.security_groups)
        if settings.availability_zone:
            finder.find("availability zone", settings.availability_zone)
        if isinstance(settings.keypair, str):
            finder.find("key pair", settings.keypair)
        external = _external(finder, settings, networks)
        if network is None and external is None:
            raise InvalidCall(
                "the group's own network needs an external one that it leads to, and the cloud shows none: give"
                " network= the name of one from which the cloud's API can be reached"
            )
        _check_quota(session, flavor, first)
    except CloudFault as error:
        raise _named(error) from error
    except (InvalidCall, StartError):
        raise
    except Exception as error:
        raise _named(fault(error)) from error
    known = {settings.image: str(image["id"]), str(flavor["name"]): str(flavor["id"])}
    return Plan(str(image["id"]), str(flavor["id"]), str(first["id"]), network, external, groups, known)


def _named(error: CloudFault) -> Exception:
    """Return an error for the one who can fix it: the caller for a wrong name, otherwise the cloud."""
    if error.kind in ("image", "flavor", "network", "security-group", "availability-zone", "key-pair"):
        return InvalidCall(str(error))
    return StartError(f"the cloud could not be asked: {error}")


def _flavor(session: Session, finder: Finder, wanted: str | None, image: dict[str, Any]) -> dict[str, Any]:
    if wanted is not None:
        found = finder.record("flavor", wanted)
        if not fits(found, image):
            raise InvalidCall(
                f"the flavor {wanted!r} ({found['ram']} MB, disk {found['disk']} GB) is too small for the image"
                f" {image['name']!r} (needs {image['min_ram']} MB, {_disk(image)} GB)"
            )
        return found
    rows = [row for row in session.list("compute", "/flavors/detail") if fits(row, image)]
    if not rows:
        raise InvalidCall(f"the cloud has no flavor that the image {image['name']!r} fits into: give flavor=")
    return min(rows, key=lambda row: (row["ram"], row["vcpus"], row["disk"], row["name"]))


def fits(flavor: dict[str, Any], image: dict[str, Any]) -> bool:
    """Tell whether a machine of a flavor can have an image (disk 0: as large as the image)."""
    room = flavor["disk"] == 0 or flavor["disk"] >= _disk(image)
    return bool(flavor["ram"] >= image["min_ram"] and room)


def _disk(image: dict[str, Any]) -> int:
    return max(int(image["min_disk"]), math.ceil(int(image["size"]) / (1 << 30)))


def _external(finder: Finder, settings: NovaSettings, networks: list[dict[str, Any]]) -> dict[str, Any] | None:
    there = [row for row in networks if row.get("router:external")]
    if settings.external_network is not None:
        found = finder.record("network", settings.external_network)
        if not found.get("router:external"):
            names = ", ".join(sorted(row["name"] for row in there)) or "none"
            raise InvalidCall(f"the network {settings.external_network!r} is not external; external ones: {names}")
        return found
    if len(there) > 1 and settings.network is None:
        names = ", ".join(sorted(row["name"] for row in there))
        raise InvalidCall(f"the cloud has several external networks: give external_network= one of {names}")
    return there[0] if len(there) == 1 else None


def _check_quota(session: Session, flavor: dict[str, Any], first: dict[str, Any]) -> None:
    limits = session.call("compute", "GET", "/limits")["limits"]["absolute"]
    needs = {
        "instances": ("maxTotalInstances", "totalInstancesUsed", 2),
        "cores": ("maxTotalCores", "totalCoresUsed", flavor["vcpus"] + first["vcpus"]),
        "MB of RAM": ("maxTotalRAMSize", "totalRAMUsed", flavor["ram"] + first["ram"]),
    }
    for what, (bound, used, need) in needs.items():
        most, now = limits.get(bound, -1), limits.get(used, 0)
        if most >= 0 and now + need > most:
            raise StartError(
                f"the project's quota has no room for a supervisor and one process: {now} of {most} {what} are used,"
                f" and {need} more are needed"
            )


class Resources:
    """Makes a group's own resources.

    Args:
        session: for the cloud.
        gid, made, deadline: of the group; when it was made and when it ends (seconds since the epoch).
        settings, plan: what is wanted, and what exists already.
    """

    def __init__(
        self, session: Session, gid: str, made: float, deadline: float | None, settings: NovaSettings, plan: Plan
    ) -> None:
        self._session = session
        self._gid = gid
        self._made = made
        self._deadline = deadline
        self._settings = settings
        self._plan = plan
        self._about = w.description(gid, made, deadline, session.scope)

    def _name(self, kind: str) -> str:
        return w.resource(self._gid, kind, self._made, self._session.scope)

    def _post(self, service: str, path: str, key: str, body: Any) -> Any:
        """Make something; after an unclear answer the launch fails, and its clean-up finds the result by its mark."""
        try:
            return self._session.call(service, "POST", path, json={key: body})[key]
        except Exception as error:
            raise StartError(f"the group's {key.replace('_', ' ')} could not be made: {fault(error)}") from error

    def network(self) -> str:
        """Return the id of the group's network, made if need be: with a subnet, and a router to the outside."""
        plan, settings = self._plan, self._settings
        if plan.network is not None:
            return str(plan.network["id"])
        assert plan.external is not None
        own = {"description": self._about}
        network = self._post("network", "/networks", "network", {"name": self._name("net"), **own})
        inside = ipaddress.ip_network(settings.cidr)
        subnet: dict[str, Any] = {"name": self._name("subnet"), **own, "network_id": network["id"], "cidr": str(inside)}
        subnet |= {"ip_version": inside.version, "enable_dhcp": True}
        if settings.dns_nameservers:
            subnet["dns_nameservers"] = list(settings.dns_nameservers)
        made = self._post("network", "/subnets", "subnet", subnet)
        gateway = {"external_gateway_info": {"network_id": plan.external["id"]}}
        router = self._post("network", "/routers", "router", {"name": self._name("router"), **own, **gateway})
        try:
            body = {"subnet_id": made["id"]}
            self._session.call("network", "PUT", f"/routers/{router['id']}/add_router_interface", json=body)
        except Exception as error:
            raise StartError(f"the group's router could not be joined to its network: {fault(error)}") from error
        return str(network["id"])

    def security_group(self) -> str:
        """Make the group's security group: it allows its members' traffic, and from outside the supervisor's port."""
        group = self._post(
            "network", "/security-groups", "security_group", {"name": self._name("sg"), "description": self._about}
        )
        rules: list[dict[str, Any]] = [
            {"ethertype": kind, "protocol": "tcp", "remote_group_id": group["id"]} for kind in ("IPv4", "IPv6")
        ]
        port = self._settings.port
        for cidr in self._settings.allow_from:
            kind = "IPv6" if ":" in cidr else "IPv4"
            span = {"port_range_min": port, "port_range_max": port}
            rules.append({"ethertype": kind, "protocol": "tcp", "remote_ip_prefix": cidr, **span})
        own = {"direction": "ingress", "security_group_id": group["id"]}
        self._post("network", "/security-group-rules", "security_group_rules", [{**own, **rule} for rule in rules])
        return str(group["id"])

    def keypair(self) -> str | None:
        """Return the name of the key pair, made of the user's own public key; None: there is none."""
        wanted = self._settings.keypair
        if isinstance(wanted, str):
            return wanted
        text = None if wanted is False else public_key(Path.home() / ".ssh")
        if text is None:
            return None
        return str(
            self._post("compute", "/os-keypairs", "keypair", {"name": self._name("key"), "public_key": text})["name"]
        )

    def server_group(self) -> str | None:
        """Make a server group that keeps the group's machines on different hosts, if that is wanted."""
        if not self._settings.anti_affinity:
            return None
        body = {"name": self._name("apart"), "policies": ["anti-affinity"]}
        return str(self._post("compute", "/os-server-groups", "server_group", body)["id"])

    def floating_ip(self, instance: str) -> str:
        """Give a server an address that can be reached from outside.

        Raises:
            StartError: there is no such address.
        """
        assert self._plan.external is not None
        ports = self._session.list("network", "/ports", device_id=instance)
        if not ports:
            raise StartError(f"the supervisor's machine {instance} has no port for a floating IP")
        body = {"floating_network_id": self._plan.external["id"], "port_id": ports[0]["id"], "description": self._about}
        return str(self._post("network", "/floatingips", "floatingip", body)["floating_ip_address"])

    # -- the supervisor's right -----------------------------------------------------------------------------

    def credential(self, progress: Progress, *, files: bool = False) -> dict[str, Any]:
        """Return the supervisor's credential for the cloud.

        Args:
            progress: called with progress messages.
            files: it is used for Swift, too.

        Raises:
            StartError: none can be made, and none was given.
        """
        given = self._settings.credential
        if given is not None:
            return {**self._where(), **given}
        bases = {name: url for name, url in self._session.base.items() if files or name != "object-store"}
        rules = access_rules(bases, {"network": "/v2.0", "image": "/v2"})
        made = self._make_credential(rules)
        if not self._works(made):
            deletes.credential(self._session, made)
            progress(
                "the cloud's services do not know access rules: the supervisor's credential is limited by role only"
            )
            made = self._make_credential(None)
        return self._as_setting(made)

    def _make_credential(self, rules: list[dict[str, str]] | None) -> dict[str, Any]:
        roles = self._session.roles
        body: dict[str, Any] = {"name": self._name("cred"), "description": self._about, "unrestricted": False}
        if "member" in roles:
            body["roles"] = [{"name": "member"}]  # not the other roles of its maker
        if self._deadline is not None:
            end = datetime.datetime.fromtimestamp(self._deadline + _CREDENTIAL_MARGIN, datetime.UTC)
            body["expires_at"] = end.strftime("%Y-%m-%dT%H:%M:%S.000000")
        path = f"/users/{self._session.user}/application_credentials"
        wanted = {**body, "access_rules": rules} if rules else body
        try:
            return dict(
                self._session.call("identity", "POST", path, json={"application_credential": wanted})[
                    "application_credential"
                ]
            )
        except Exception as error:
            words = fault(error)
            if rules and words.kind in ("refused", "network", "image"):  # a Keystone without such rules
                return self._make_credential(None)
            raise StartError(
                f"no application credential could be made for the supervisor: {words}. Who logs in with an application"
                " credential may not make another: give one as provider_settings={'credential': {...}}, or make yours"
                " with --unrestricted"
            ) from error

    def _works(self, made: dict[str, Any]) -> bool:
        """Tell whether the services accept a credential with rules, which they only do if configured for it."""
        if not made.get("access_rules"):
            return True
        try:
            tried = Session(credential=self._as_setting(made))
        except StartError:
            return False
        tried.let_in_pauses = ()  # "401" is the answer to test for
        try:
            tried.call("compute", "GET", "/servers", params={"limit": 1})
            tried.call("network", "GET", "/ports", params={"limit": 1})
            tried.connection.image.get("/images", params={"limit": 1}).raise_for_status()
        except Exception:
            return False
        finally:
            tried.close()
        return True

    def _where(self) -> dict[str, Any]:
        config = self._session.connection.config
        where = {"auth_url": config.get_auth_args().get("auth_url"), "region_name": config.get_region_name()}
        where |= {"interface": config.get_interface(), "verify": config.config.get("verify", True)}
        return {name: value for name, value in where.items() if value is not None}

    def _as_setting(self, made: dict[str, Any]) -> dict[str, Any]:
        pair = {"application_credential_id": made["id"], "application_credential_secret": made["secret"]}
        return {**self._where(), **pair}


def public_key(directory: Path) -> str | None:
    """Return the user's own public key, if there is one."""
    for name in _PUBLIC_KEYS:
        try:
            return (directory / name).read_text().strip()
        except OSError:
            continue
    return None
