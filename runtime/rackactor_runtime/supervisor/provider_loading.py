"""The provider that a group's maker has asked for: found by its name, made, and checked against the transport."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from rackactor.errors import InvalidCall
from rackactor.kernel.transport import netaddr
from rackactor_runtime.providers.base import Capabilities, Provider

#: Our own entry points by module: a search through all installed packages would take much of a group's start.
OWN = {"local": "rackactor_runtime.providers.local:LocalProvider"}


def load(name: str, path: list[str]) -> Any:
    """Return the class of a provider, by the name of its entry point or by "module:Class".

    Args:
        name: see above.
        path: where such a module is searched for, too.

    Raises:
        InvalidCall: there is no such provider.
    """
    maker = _find(name, path)
    if not isinstance(getattr(maker, "capabilities", None), Capabilities):
        raise InvalidCall(
            f"the provider {name!r} does not say what it can: give its class an attribute `capabilities`, a"
            f" {Capabilities.__module__}.Capabilities"
        )
    return maker


def _find(name: str, path: list[str]) -> Any:
    """Import the class of a provider: see `load`."""
    if ":" in (place := OWN.get(name, name)):
        module, _, attribute = place.partition(":")
        sys.path += [entry for entry in path if entry not in sys.path]
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise InvalidCall(f"there is no provider {name!r}: {error}") from error
    from importlib.metadata import entry_points

    known = {point.name: point for point in entry_points(group="rackactor.providers")}
    point = known.get(name)
    if point is None:
        raise InvalidCall(f"there is no provider {name!r}; installed: {', '.join(sorted(known)) or 'none'}")
    try:
        return point.load()
    except ImportError as error:
        raise InvalidCall(f"the provider {name!r} cannot be imported: {error}") from error


def make(maker: Any, name: str, settings: Any, directory: Path, gid: str) -> Provider:
    """Make a provider.

    Args:
        maker: its class.
        name: by which it was asked for.
        settings: what it may be told.
        directory: the group's.
        gid: of the group.

    Raises:
        InvalidCall: it cannot use these settings.
    """
    if not isinstance(settings, dict):
        raise InvalidCall(f"provider_settings is a dict of what the provider {name!r} may be told, not {settings!r}")
    if maker.capabilities.machines:
        settings = {**settings, "gid": gid}
    try:
        provider: Provider = maker(settings, str(directory))
    except (TypeError, ValueError) as error:
        raise InvalidCall(f"the provider {name!r} cannot use its settings {settings!r}: {error}") from error
    return provider


def check_reach(provider: Provider, order: dict[str, Any]) -> None:
    """Refuse a group whose processes could never join it; the provider is closed then.

    Raises:
        InvalidCall: see above.
    """
    if provider.capabilities.remote and (order["transport"] != "tcp" or netaddr.is_loopback(order["address"])):
        provider.close(2.0)
        raise InvalidCall(
            "processes that are elsewhere (a network namespace, another machine) reach their supervisor by tcp only:"
            ' transport="tcp", and address= an address of this host that they have a way to'
        )
