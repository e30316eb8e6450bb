"""A little network inside this machine: namespaces with an address each, on a bridge, with cables to pull."""

from __future__ import annotations

import functools
import ipaddress
import os
import secrets
import shutil
import subprocess
from types import TracebackType
from typing import Any

#: Where networks are looked for that this machine has no address in.
RANGE = ipaddress.ip_network("10.64.0.0/10")


#: What the names of this run's labs begin with, except of those that outlive a test. Others may have labs here too.
_made: set[str] = set()


class Lab:
    """Network namespaces on a bridge whose other end is this machine; use it as a context manager.

    Attributes:
        names: of the namespaces, as `ip netns` knows them.
        address: this machine's on the bridge, for `rack.group(address=...)`.
        addresses: the namespaces', in their order.
    """

    def __init__(self, count: int = 2, *, ipv6: bool = False, shared: bool = False) -> None:
        self._id = f"rk{secrets.token_hex(3)}"
        if not shared:
            _made.add(self._id)
        self.names = [f"{self._id}-{number}" for number in range(count)]
        self._bridge = f"{self._id}br"
        if ipv6:
            net = ipaddress.ip_network(f"fd{secrets.token_hex(1)}:{secrets.token_hex(2)}:{secrets.token_hex(2)}::/64")
            self._length = 64
        else:
            net, self._length = _free_network(), 24
        self.address = str(net[1])
        self.addresses = [str(net[2 + number]) for number in range(count)]

    def __enter__(self) -> Lab:
        try:
            self._build()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of a group whose processes live in this network."""
        return {"transport": "tcp", "address": self.address, "provider_settings": {"namespaces": self.names}}

    def cut_between(self) -> None:
        """Let no namespace reach another any more; this machine still reaches each."""
        _ip(*(f"link set dev {name} type bridge_slave isolated on" for name in self.names))

    def mend_between(self) -> None:
        """Undo `cut_between`."""
        _ip(*(f"link set dev {name} type bridge_slave isolated off" for name in self.names))

    def cut(self, number: int) -> None:
        """Cut one namespace off from everything: its packets vanish, and nobody is told."""
        _ip(f"link set dev {self.names[number]} down")

    def mend(self, number: int) -> None:
        """Undo `cut`."""
        _ip(f"link set dev {self.names[number]} up")

    def remove(self) -> None:
        """Leave nothing; idempotent."""
        links, names = set(os.listdir("/sys/class/net")), namespaces()
        _ip(*(f"link del {link}" for link in (*self.names, self._bridge) if link in links))
        _ip(*(f"netns del {name}" for name in self.names if name in names))

    def _build(self) -> None:
        length = self._length
        nodad = " nodad" if ":" in self.address else ""
        _ip(*(f"netns add {name}" for name in self.names))
        _ip(
            f"link add {self._bridge} type bridge mcast_snooping 0",
            f"addr add {self.address}/{length} dev {self._bridge}{nodad}",
            f"link set {self._bridge} up",
            *(f"link add {name} type veth peer name e0 netns {name}" for name in self.names),
            *(f"link set {name} master {self._bridge} up" for name in self.names),
        )
        for name, address in zip(self.names, self.addresses, strict=True):
            _ip("link set lo up", f"addr add {address}/{length} dev e0{nodad}", "link set e0 up", within=name)


@functools.cache
def hindrance() -> str:
    """Return why this machine cannot have a `Lab`, or ""."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "there is no `ip`: apt-get install iproute2"
    try:
        with Lab(1):
            return ""
    except subprocess.CalledProcessError as error:
        return f"network namespaces cannot be made here: {error.stderr.strip()}"


def namespaces() -> set[str]:
    """Return the names of the network namespaces of this machine."""
    return set(os.listdir("/run/netns")) if os.path.isdir("/run/netns") else set()


def networks() -> set[str]:
    """Return the namespaces and links of this run's labs, to see what a test leaves behind."""
    found = namespaces() | set(os.listdir("/sys/class/net"))
    return {name for name in found if name.startswith(tuple(_made))}


def _free_network() -> ipaddress.IPv4Network:
    said = subprocess.run(["ip", "-4", "-o", "route"], check=True, capture_output=True, text=True).stdout
    taken = [ipaddress.IPv4Network(line.split()[0]) for line in said.splitlines() if line[0].isdigit()]
    while True:
        net = ipaddress.IPv4Network((int(RANGE[0]) + (secrets.randbelow(1 << 14) << 8), 24))
        if not any(net.overlaps(other) for other in taken):
            return net


def _ip(*commands: str, within: str = "") -> None:
    subprocess.run(
        ["ip", *(["-n", within] if within else []), "-batch", "-"],
        input="\n".join(commands) + "\n",
        check=True,
        capture_output=True,
        text=True,
    )
