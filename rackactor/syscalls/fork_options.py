"""The options of `fork`, checked before anything is started: what cannot be used is an `InvalidCall`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TypedDict

from rackactor import units
from rackactor.errors import InvalidCall
from rackactor.strings import os_text, show, to_bytes
from rackactor.wire.calls.fork import PLACEMENT

Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]
#: The longest argument that an error shows, characters.
MAX_SHOWN = 255
OnOrphan = Literal["kill", "adopt", "detach"]


class ForkOptions(TypedDict, total=False):
    """The options of `Session.fork`, where they are described."""

    kwargs: dict[str, Any] | None
    name: str | None
    env: Mapping[str, str] | None
    cwd: Path | None
    deadline: float | str | None
    on_orphan: OnOrphan
    memory: int | str | None
    image: str | None
    flavor: str | None
    availability_zone: str | None
    keypair: str | None
    security_groups: str | Sequence[str] | None
    stdin: Any
    stdout: Any
    stderr: Any
    min_ok: int | None
    timeout: float | None


def first_arguments(each: Iterable[Any] | None) -> list[Any] | None:
    """Return the first argument of each process; None: they are not told apart by it."""
    if each is None:
        return None
    try:
        return list(each)
    except TypeError as error:
        raise InvalidCall(f"each= holds the first argument of each process: {error}") from None


def keywords(kwargs: dict[str, Any] | None) -> dict[str, Any]:
    """Return the keyword arguments of the target."""
    if kwargs is not None and not (isinstance(kwargs, dict) and all(isinstance(key, str) for key in kwargs)):
        raise InvalidCall(f"kwargs is a dict of the target's keyword arguments by name, not {kwargs!r}")
    return kwargs or {}


def check_text(value: str | None, name: str) -> str | None:
    """Return a string as it is, or None."""
    if value is not None and (not isinstance(value, str) or "\0" in value):
        raise InvalidCall(f"{name} is a string without NUL characters, not {show(value)}")
    return value


def placement(security_groups: str | Sequence[str] | None = None, **given: str | None) -> dict[str, Any]:
    """Return the options for the machine that a process is to run on."""
    said: dict[str, Any] = {name: value for name, value in given.items() if _check_label(value, name)}
    if security_groups is not None:
        said["security_groups"] = _names(security_groups, "security_groups")
    return said


def _check_label(value: str | None, name: str) -> str | None:
    """Return the name of a cloud's object as it is; it has no surrogates."""
    if check_text(value, name) is not None and str(value).encode("utf-8", "replace") != to_bytes(str(value)):
        raise InvalidCall(f"{name} is a string that UTF-8 can encode, not {show(value)}")
    return value


def _names(value: str | Sequence[str], name: str) -> list[str]:
    """Return names, which may be given as one string, separated by commas."""
    found = [each.strip() for each in value.split(",")] if isinstance(value, str) else value
    if not isinstance(found, (list, tuple)) or not all(isinstance(each, str) and each for each in found):
        raise InvalidCall(f"{name} is a name, or a list of names, not {value!r}")
    return [each for each in found if _check_label(each, name)]


def wanted_placement(requirements: Any) -> dict[str, Any]:
    """Return the machine options in Thespian's `targetActorRequirements`."""
    if not isinstance(requirements, Mapping):
        return {}
    return placement(**{name: requirements.get(name) for name in PLACEMENT})


def other_requirements(requirements: Any) -> Any:
    """Return the rest of `targetActorRequirements`, which is compared with the group's capabilities."""
    if not isinstance(requirements, Mapping):
        return requirements or {}
    return {name: value for name, value in requirements.items() if name not in PLACEMENT}


def directory(cwd: Path | None) -> str | None:
    """Return a working directory as a string."""
    return None if cwd is None else os_text(cwd, "cwd")


def shown_arguments(kwargs: dict[str, Any]) -> dict[str, str]:
    """Return the keyword arguments that are strings; a cloud's list of machines shows them."""
    return {name: value for name, value in kwargs.items() if isinstance(value, str) and len(value) <= MAX_SHOWN}


def check_bounds(min_ok: int | None, timeout: float | None, count: int) -> None:
    """Refuse a number of processes that must come up which cannot be reached, and a time that is none."""
    if min_ok is not None and not (type(min_ok) is int and 1 <= min_ok <= count):
        raise InvalidCall(f"min_ok is an integer from 1 to n ({count}), not {min_ok!r}")
    units.timeout(timeout)


def count(n: int | None, items: list[Any] | None) -> int:
    """Return how many processes to fork."""
    if n is not None and items is not None:
        raise InvalidCall("fork takes n= or each=, not both")
    if n is not None and (not isinstance(n, int) or isinstance(n, bool) or n < 0):
        raise InvalidCall(f"n is how many processes to fork, a non-negative integer, not {n!r}")
    return len(items) if items is not None else 1 if n is None else n


def environment(env: Mapping[Any, Any] | None) -> dict[str, str]:
    """Return environment variables as strings."""
    if env is not None and not isinstance(env, Mapping):
        raise InvalidCall(f"env is a dict of strings, not {show(env)}")
    found: dict[str, str] = {}
    for key, value in (env or {}).items():
        name = os_text(key, "the name of an environment variable")
        if not name or "=" in name:
            raise InvalidCall(f"the name of an environment variable is a string without =, not {show(name)}")
        found[name] = os_text(value, f"the environment variable {show(name)}")
    return found
