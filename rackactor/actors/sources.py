"""Loading sources into a group, as Thespian's loadActorSource does."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from rackactor.kernel.kernel import Kernel
from rackactor.wire.calls.actor_system import LoadSource, UnloadSource


def load(kernel: Kernel, source: Any) -> str:
    """Pass an archive of sources to the group; it can be used once the source authority has accepted it.

    Args:
        kernel: this process's half of the wire.
        source: the name of a file, or a file object.

    Returns: the hash that createActor's `sourceHash` takes.
    """
    data = source.read() if hasattr(source, "read") else Path(source).read_bytes()
    # The hash is a name, not a proof: the source authority decides who may load what.
    name = hashlib.md5(data, usedforsecurity=False).hexdigest()
    kernel.call(LoadSource(name), data)
    return name


def unload(kernel: Kernel, name: str) -> None:
    """Remove a source: no actor is made from it any more; running ones go on."""
    kernel.call(UnloadSource(name))
