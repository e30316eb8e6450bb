"""The access rules of the supervisor's application credential, in Keystone's form; pure."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

#: Service -> what may be asked of it below its endpoint's path. Nova asks image and network services in the name of
#: whoever creates a server, unless it is configured to send a token of its own beside it: so these rules are needed.
NEEDED: Mapping[str, tuple[tuple[str, str], ...]] = {
    "compute": (
        ("GET", "/"),
        ("GET", ""),
        ("GET", "/servers"),
        ("GET", "/servers/detail"),
        ("GET", "/servers/*"),
        ("POST", "/servers"),
        ("POST", "/servers/*/action"),
        ("DELETE", "/servers/*"),
        ("GET", "/flavors"),
        ("GET", "/flavors/detail"),
        ("GET", "/flavors/*"),
    ),
    "network": (
        ("GET", "/"),
        ("GET", ""),
        ("GET", "/**"),
        ("POST", "/ports"),
        ("PUT", "/ports/*"),
        ("DELETE", "/ports/*"),
    ),
    "image": (("GET", "/**"),),
    # only where the group's files lie there
    "object-store": tuple((method, "/**") for method in ("GET", "HEAD", "PUT", "DELETE")),
}


def access_rules(bases: Mapping[str, str], version: Mapping[str, str]) -> list[dict[str, str]]:
    """Return the rules for the services of one cloud.

    Args:
        bases: each service's endpoint. Its path may be that of a proxy before the service, which sees none of it;
            both are allowed.
        version: the path of the version in use, where the endpoint does not have it ("/v2.0").
    """
    rules: list[dict[str, str]] = []
    for service, allowed in NEEDED.items():
        if service not in bases:
            continue
        for base in _bases(bases[service], version.get(service, "")):
            for method, path in allowed:
                rule = {"service": service, "method": method, "path": base + path or "/"}
                if rule not in rules:
                    rules.append(rule)
    return rules


def _bases(url: str, version: str) -> list[str]:
    path = urlsplit(url).path.rstrip("/")
    if version and not path.endswith(version):
        path += version
    parts = path.split("/")
    start = next((index for index, part in enumerate(parts) if part[:1] == "v" and part[1:2].isdigit()), None)
    bare = path if start is None else "/" + "/".join(parts[start:])
    return list(dict.fromkeys([path, bare]))
