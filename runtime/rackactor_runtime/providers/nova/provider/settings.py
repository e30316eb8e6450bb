"""The settings of the provider (`provider_settings`), checked when they come in."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from rackactor.errors import InvalidCall
from rackactor.records import dataclass


@dataclass(frozen=True)
class NovaSettings:
    """The options of a group's machines. Ids work in place of names everywhere."""

    #: A name in clouds.yaml. None: what the environment (`OS_*`) says.
    cloud: str | None = None
    #: Holds the guest program: see images/README.md.
    image: str = "rackactor"
    #: Shell commands that install RackActor on machines whose image lacks it, as root, at each boot. For a first try of
    #: a cloud's own image: an image that contains RackActor boots in a fraction of the time.
    install: str | None = None
    #: None: the smallest that the image fits into. `fork(flavor=)` sets another one for a process.
    flavor: str | None = None
    #: Of the supervisor's machine; None: as the others.
    supervisor_flavor: str | None = None
    #: An existing network. None: one is made for the group, with a subnet, and a router to the external network.
    network: str | None = None
    #: Where a new network leads to, and where floating IPs come from. None: the only external network.
    external_network: str | None = None
    #: Addresses of a network that is made. Change it if the cloud's own services have addresses in there.
    cidr: str = "10.213.0.0/20"
    #: Name servers of a network that is made; the cloud's own by default.
    dns_nameservers: tuple[str, ...] = ()
    #: Whether the supervisor gets a floating IP. "auto": if this host cannot reach the supervisor's network directly.
    floating_ip: bool | str = "auto"
    #: In addition to the group's own, which allows only the group's traffic.
    security_groups: tuple[str, ...] = ()
    #: An existing one. None: one is made for the group of your public key in ~/.ssh, if there is one. False: none.
    keypair: str | bool | None = None
    availability_zone: str | None = None
    #: Whether no two machines of the group may share a host (a quota bounds how many a server group has, often 10).
    anti_affinity: bool = False
    #: Whether machines get their metadata on a config drive; None: as the cloud does it.
    config_drive: bool | None = None
    #: The most machines that come up at the same time.
    boot_concurrency: int = 10
    #: Seconds within which a machine's program must join; the group's own setting by default.
    boot_timeout: float | None = None
    #: Who may reach the supervisor's port (CIDR, or several). It is encrypted, and admits known keys only.
    allow_from: tuple[str, ...] = ("0.0.0.0/0", "::/0")
    #: The supervisor's port.
    port: int = 7710
    #: An application credential for the supervisor, if yours cannot make one: `application_credential_id` and
    #: `application_credential_secret`, and `auth_url`, `region_name` if they differ from the cloud's.
    credential: Mapping[str, Any] | None = None

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> NovaSettings:
        """Check settings by name and type.

        Raises:
            InvalidCall: it names the setting and its possible values.
        """
        known = {field.name for field in fields(cls)}
        checked: dict[str, Any] = {}
        for name, value in given.items():
            if name not in known:
                raise InvalidCall(f"the provider 'nova' has no setting {name!r}; it has: {', '.join(sorted(known))}")
            checked[name] = _CHECKS[name](name, value)
        return cls(**checked)


def _name(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _wrong(name, "a name or an id", value)
    return value


def _optional(name: str, value: Any) -> str | None:
    return None if value is None else _name(name, value)


def _commands(name: str, value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or not value.strip() or "\0" in value):
        raise _wrong(name, "shell commands", value)
    return value


def _names(name: str, value: Any) -> tuple[str, ...]:
    values = [each.strip() for each in value.split(",")] if isinstance(value, str) else value
    if values is None:
        return ()
    if not isinstance(values, list | tuple) or not all(isinstance(each, str) and each for each in values):
        raise _wrong(name, "a name, or a list of names", value)
    return tuple(values)


def _networks(name: str, value: Any) -> tuple[str, ...]:
    try:
        return tuple(str(ipaddress.ip_network(each, strict=False)) for each in _names(name, value))
    except ValueError as error:
        raise _wrong(name, f"a network such as 203.0.113.0/24, or a list of such ({error})", value) from None


def _network(name: str, value: Any) -> str:
    found = _networks(name, value)
    if len(found) != 1 or ipaddress.ip_network(found[0]).num_addresses < 8:
        raise _wrong(name, "one network of at least 8 addresses, such as 10.213.0.0/20", value)
    return found[0]


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _wrong(name, "True or False", value)
    return value


def _flag_or(extra: Any, words: str) -> Any:
    def check(name: str, value: Any) -> Any:
        if value == extra and type(value) is type(extra):
            return value
        if not isinstance(value, bool):
            raise _wrong(name, words, value)
        return value

    return check


def _keypair(name: str, value: Any) -> str | bool | None:
    if value is None or value is False:
        return value
    if value is True:
        return None
    return _name(name, value)


def _whole(low: int, high: int) -> Any:
    def check(name: str, value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise _wrong(name, f"an integer from {low} to {high}", value)
        return value

    return check


def _seconds(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        raise _wrong(name, "a positive number of seconds", value)
    return float(value)


def _credential(name: str, value: Any) -> Mapping[str, Any] | None:
    keys = ("application_credential_id", "application_credential_secret")
    if value is not None and not (isinstance(value, dict) and all(value.get(key) for key in keys)):
        raise InvalidCall(f"the setting {name!r} is a map with {' and '.join(keys)}")  # not shown: a secret
    return value


def _wrong(name: str, words: str, value: Any) -> InvalidCall:
    return InvalidCall(f"the setting {name!r} of the provider 'nova' is {words}, not {value!r}")


_CHECKS: dict[str, Any] = {
    "cloud": _optional,
    "image": _name,
    "install": _commands,
    "flavor": _optional,
    "supervisor_flavor": _optional,
    "network": _optional,
    "external_network": _optional,
    "cidr": _network,
    "dns_nameservers": _names,
    "floating_ip": _flag_or("auto", '"auto", True or False'),
    "security_groups": _names,
    "keypair": _keypair,
    "availability_zone": _optional,
    "anti_affinity": _flag,
    "config_drive": _flag_or(None, "True, False or None"),
    "boot_concurrency": _whole(1, 1000),
    "boot_timeout": _seconds,
    "allow_from": _networks,
    "port": _whole(1, 65535),
    "credential": _credential,
}


def own_swift(files: Any) -> dict[str, Any] | None:
    """Return a group's setting `files` as a map, if it is the cloud's own Swift; None: it is something else.

    With `cloud` or `auth` of its own it is whatever those say.
    """
    found = {"url": files} if isinstance(files, str) else dict(files or {})
    url = found.get("url")
    own = isinstance(url, str) and url.startswith("swift://") and not {"cloud", "auth"} & set(found)
    return found if own else None


def swift_access(credential: Mapping[str, Any]) -> dict[str, Any]:
    """Return how the file service signs in to Swift by the supervisor's credential."""
    auth = ("auth_url", "application_credential_id", "application_credential_secret")
    more = {"region": credential.get("region_name"), "interface": credential.get("interface")}
    return {
        "auth_type": "v3applicationcredential",
        "auth": {name: credential[name] for name in auth},
        **{name: value for name, value in more.items() if value is not None},
    }
