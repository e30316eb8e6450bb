"""The capabilities of a group's actor system, as passed to Thespian's `actorSystemCapabilityCheck`."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from thespian.actors import ThespianGeneration

from rackactor.wire.codec import encode, open_from

#: The capability name under which logging definitions are sent; capability checks do not see it.
LOGGING = "rackactor.logging"


def standard() -> dict[str, Any]:
    """Return the capabilities that every system base of Thespian has."""
    return {
        "Python Version": tuple(sys.version_info),
        "Thespian Generation": ThespianGeneration,
        "Thespian Version": str(int(time.time() * 1000)),
        "Thespian ActorSystem Name": "rackactor",
        "Thespian ActorSystem Version": 1,
        "Thespian Watch Supported": True,
        "AllowRemoteActorSources": "No",
    }


def pack(capabilities: Mapping[str, Any], *, allow_pickle: bool = True) -> dict[str, bytes | None]:
    """Pack values to be sent; None removes a capability."""
    return {
        name: None if value is None else encode(value, allow_pickle=allow_pickle)
        for name, value in capabilities.items()
    }


def apply(capabilities: dict[str, Any], changes: Mapping[str, bytes | None], *, allow_pickle: bool = True) -> None:
    """Apply changes that have been received."""
    for name, value in changes.items():
        if value is None:
            capabilities.pop(name, None)
        else:
            capabilities[name] = open_from(value, "the capability", repr(name), allow_pickle=allow_pickle)
