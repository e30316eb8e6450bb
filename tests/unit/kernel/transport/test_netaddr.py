"""Which addresses a group may have, and where processes may be put."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rackactor.errors import InvalidCall
from rackactor.kernel.transport import netaddr
from rackactor_runtime.providers.local import namespaces
from rackactor_runtime.providers.local.provider import LocalProvider

SIX = Path("/proc/net/if_inet6").exists()


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.8.7", *(["::1"] if SIX else [])])
def test_this_hosts_own(address: str) -> None:
    assert netaddr.check(address) == address
    assert netaddr.is_loopback(address)
    endpoint = netaddr.listener(address).replace("*", "5555")
    assert netaddr.toward(endpoint) == ("127.0.0.1" if "." in address else "::1")
    assert netaddr.is_ipv6(endpoint) is (":" in address)


@pytest.mark.parametrize(
    "address, words",
    [
        ("0.0.0.0", "one address of this host"),
        ("::", "one address of this host"),
        ("224.0.0.1", "one address of this host"),
        ("localhost", "a name means another"),
        ("", "a name means another"),
        ("127.0.0.1:80", "a name means another"),
        ("192.0.2.254", "not an address of this host"),
        (5, "is a string"),
        (None, "is a string"),
    ],
)
def test_not_an_address_to_be_reached_at(address: object, words: str) -> None:
    with pytest.raises(InvalidCall, match=words):
        netaddr.check(address)


def test_where_no_way_leads() -> None:
    with pytest.raises(OSError):
        netaddr.toward("tcp://256.1.1.1:1")
    with pytest.raises(OSError):
        netaddr.toward("tcp://localhost:1")  # a name is never looked up
    with pytest.raises(ValueError):
        netaddr.toward("tcp://nonsense")


@pytest.mark.parametrize(
    "value, words",
    [
        ("one", "a list of names"),
        ([""], "a list of names"),
        ([5], "a list of names"),
        (["no-such-network"], "no network namespace 'no-such-network'"),
        (["/etc/passwd"], "is not a network namespace"),
        (["/proc/self/ns/mnt"], "is not a network namespace"),
        (["/etc"], "no network namespace"),
    ],
)
def test_no_namespaces(value: object, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(InvalidCall, match=words):
        namespaces.check(value)


def test_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    here = "/proc/self/ns/net"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert namespaces.check([]) == ()
    assert namespaces.check([here, here]) == (here, here)
    with pytest.raises(InvalidCall, match="leave 'warm' out"):
        LocalProvider({"namespaces": [here], "warm": 2}, "")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(InvalidCall, match="needs root"):
        namespaces.check([here])
