"""The settings of the local provider, checked when they come in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from rackactor.errors import InvalidCall
from rackactor.records import dataclass
from rackactor_runtime.providers.local import linux, namespaces

#: Processes kept ready by default: at the start, and at most.
FIRST, WARM = 8, 32


@dataclass(frozen=True)
class LocalSettings:
    """What the provider is told; see `LocalProvider`."""

    #: Names of modules that the fork server imports.
    preload: tuple[str, ...]
    #: How many processes are kept ready, at the start and at most.
    first_warm: int
    warm: int
    #: Paths of network namespaces.
    networks: tuple[str, ...]

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> LocalSettings:
        """Check settings.

        Raises:
            InvalidCall: names the setting and what it may be.
        """
        for name in given:
            if name not in ("preload", "warm", "namespaces"):
                raise InvalidCall(f"the local provider has no setting {name!r}; it has: preload, warm, namespaces")
        preload = _check_preload(given.get("preload", ()))
        networks = namespaces.check(given.get("namespaces", ()))
        warm = _check_warm(given.get("warm", 0 if networks else WARM))
        if warm and networks:
            raise InvalidCall("with 'namespaces' no process is kept ready: leave 'warm' out, or make it 0")
        return cls(preload, warm if "warm" in given else min(warm, FIRST), warm, networks)


def _check_preload(value: object) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) for name in value):
        raise InvalidCall(f"the setting 'preload' is a list of names of modules, not {value!r}")
    return tuple(value)


def _check_warm(value: object) -> int:
    if type(value) is not int or not 0 <= value <= 1000:
        raise InvalidCall(f"the setting 'warm' is an integer from 0 to 1000, not {value!r}")
    return value


def check_state_dir(path: str) -> str:
    """Return the absolute path of the directory to remove.

    Raises:
        ValueError: nobody can want this directory to be removed.
    """
    if not path:
        return ""
    path = os.path.abspath(path)
    if path in (os.path.abspath(os.sep), os.path.expanduser("~"), linux.current_directory()):
        raise ValueError(f"not a directory of a group's own: {path!r}")
    return path
