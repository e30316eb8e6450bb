"""Which of a host's addresses others reach it at.

Nothing is looked up and nothing sent: the kernel's own routes decide. A name would mean another address on each
host, and a listener on every address at once is a door that nobody has asked for; both are refused.
"""

from __future__ import annotations

import socket
from typing import Any

from rackactor.errors import InvalidCall

#: Where a supervisor is reached unless it is told otherwise: by its own host only.
LOOPBACK = "127.0.0.1"


def check(address: object) -> str:
    """Return an address that this host has, as it is written on the wire.

    Raises:
        InvalidCall: it is no address, stands for all of them, or is not this host's.
    """
    import ipaddress  # most groups have no use for it

    if not isinstance(address, str):
        raise InvalidCall(f"address is a string such as '10.0.0.1' or 'fd00::1', not {address!r}")
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        raise InvalidCall(
            f"address is an IPv4 or IPv6 address of this host, not {address!r}: a name means another one elsewhere"
        ) from None
    if parsed.is_unspecified or parsed.is_multicast:
        raise InvalidCall(f"address is one address of this host that the others can reach, not {address!r}")
    family = socket.AF_INET6 if parsed.version == 6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind(_resolve(address, 0, family))
    except OSError as error:
        raise InvalidCall(f"{address} is not an address of this host: {error.strerror}") from None
    return str(parsed)


def is_loopback(address: str) -> bool:
    """Tell whether a checked address is reached from its own host (or network namespace) only."""
    return address.startswith("127.") or address == "::1"


def listener(address: str, port: int = 0) -> str:
    """Return the endpoint that listens on a port of an address, or on any that is free."""
    return f"tcp://{f'[{address}]' if ':' in address else address}:{port or '*'}"


def is_ipv6(endpoint: str) -> bool:
    """Tell whether an endpoint is one of IPv6, which ZeroMQ must be told of."""
    return endpoint.startswith("tcp://[")


def toward(endpoint: str) -> str:
    """Return this host's own address on the way to an endpoint (tcp://address:port).

    Raises:
        OSError: no way leads there.
    """
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect(_resolve(host.strip("[]"), int(port), family))
        own: tuple[str, ...] = probe.getsockname()
    scope = f"%{host.partition('%')[2].rstrip(']')}" if "%" in host and "%" not in own[0] else ""
    return own[0] + scope


def outward() -> str:
    """Return this host's own address on its way to everywhere else: its default route's.

    Raises:
        OSError: there is no such way, of IPv4 or IPv6.
    """
    try:
        return toward("tcp://203.0.113.1:9")  # of a network that is nowhere (RFC 5737); nothing is sent
    except OSError:
        return toward("tcp://[2001:db8::1]:9")


def _resolve(address: str, port: int, family: int) -> Any:
    """Return an address as sockets take it; a name is never looked up."""
    return socket.getaddrinfo(address, port, family, socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)[0][4]
