"""Whether this host reaches a machine's own address: by the kernel's routes, nothing is sent."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

ROUTES = Path("/proc/net/route")


def routed(address: str, table: str | None = None) -> bool:
    """Tell whether a route of this host leads to just this network, and not only the default one.

    Args:
        address: of the machine.
        table: the kernel's IPv4 routes, as in /proc/net/route.
    """
    wanted = ipaddress.ip_address(address)
    if wanted.version != 4:
        return _same_way(address)
    try:
        lines = (ROUTES.read_text() if table is None else table).splitlines()[1:]
    except OSError:
        return False
    for line in lines:
        fields = line.split()
        if len(fields) < 8 or not int(fields[3], 16) & 1:
            continue
        # As the host's own integers of what is in network order.
        base, mask = (socket.ntohl(int(text, 16)) for text in (fields[1], fields[7]))
        if mask and int(wanted) & mask == base:
            return True
    return False


def _same_way(address: str) -> bool:
    """Tell for IPv6, roughly: it is reached from an address that shares its first 64 bits."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))
            own = ipaddress.ip_address(probe.getsockname()[0].partition("%")[0])
    except OSError:
        return False
    return int(own) >> 64 == int(ipaddress.ip_address(address)) >> 64
