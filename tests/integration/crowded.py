"""A provider whose supervisor has more open descriptors than select(2) can count: `provider="crowded:Crowded"`."""

from __future__ import annotations

import os
import resource
from typing import Any

from rackactor_runtime.providers.local import LocalProvider

#: Of select(2).
FD_SETSIZE = 1024


def take_descriptors() -> list[int]:
    """Open descriptors until the next number is one that select(2) cannot take; the soft limit goes up for it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    taken = [os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)]
    while taken[-1] < FD_SETSIZE:
        taken.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    return taken


class Crowded(LocalProvider):
    """The local provider."""

    def __init__(self, settings: dict[str, Any], state_dir: str) -> None:
        super().__init__(settings, state_dir)
        self._taken = take_descriptors()
