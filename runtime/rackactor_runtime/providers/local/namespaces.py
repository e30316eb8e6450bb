"""Processes of one machine that are as far from each other as machines are: each in a network namespace.

A program that works on one host may do so because of what its processes share there: a directory, /dev/shm,
loopback. Here they have an address of their own and reach each other by that alone. It is a way to try a program,
and a test of this package; it is no prison: the rest of the file system is the host's, and so is its kernel.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from rackactor.errors import InvalidCall
from rackactor_runtime.providers.local import linux

#: Where `ip netns add` puts its names.
NAMES = "/run/netns"
#: Directories that processes of one host are wont to share: each gets empty ones of its own.
SHARED = ("/tmp", "/var/tmp", "/dev/shm", "/run/user")


def check(value: object) -> tuple[str, ...]:
    """Return the paths of the network namespaces of a setting: names as `ip netns` knows them, or paths.

    Raises:
        InvalidCall: one that does not exist, or this user may not enter any.
    """
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) and name for name in value):
        raise InvalidCall(f"the setting 'namespaces' is a list of names or paths, not {value!r}")
    if value and os.geteuid() != 0:
        raise InvalidCall("the setting 'namespaces' needs root: nobody else may enter a network namespace")
    return tuple(_find(name) for name in value)


def _find(name: str) -> str:
    path = name if "/" in name else f"{NAMES}/{name}"
    try:
        good = linux.is_namespace(path, linux.CLONE_NEWNET)
    except OSError as error:
        raise InvalidCall(f"there is no network namespace {name!r} ({path}: {error.strerror})") from None
    if not good:
        raise InvalidCall(f"{path} is not a network namespace: see `ip netns`")
    return os.path.abspath(path)


def enter(namespace: str, hidden: Iterable[str]) -> None:
    """Move this process, which has one thread and no ZeroMQ context yet, into a network namespace.

    It also gets a mount namespace of its own, in which `hidden` and what hosts usually share is empty. What Python
    itself needs of that stays in its place, read only.
    """
    linux.enter_namespace(namespace, linux.CLONE_NEWNET)
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount("none", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    here = linux.current_directory()
    places = sorted({os.path.realpath(path) for path in (*SHARED, *hidden, os.environ.get("XDG_RUNTIME_DIR", ""))})
    covered: list[str] = []
    for place in places:
        if os.path.isdir(place) and place != "/" and not any(_within(place, other) for other in covered):
            _cover(place)
            covered.append(place)
    if any(_within(here, place) for place in covered):
        os.chdir(here if os.path.isdir(here) else "/")


def _cover(place: str) -> None:
    """Put an empty directory over one, with what Python needs of it still there."""
    needed = {path: os.open(path, os.O_PATH) for path in _needed() if _within(path, place) and path != place}
    mode = 0o1777 if place in SHARED else 0o700
    linux.mount("tmpfs", place, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, f"mode={mode:o}")
    for path, fd in sorted(needed.items()):
        if os.path.exists(path):
            continue  # it lies in one that is there already
        if os.path.isdir(f"/proc/self/fd/{fd}"):
            os.makedirs(path)
        else:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            Path(path).touch()
        linux.mount(f"/proc/self/fd/{fd}", path, flags=linux.MS_BIND)
        linux.mount("none", path, flags=linux.MS_BIND | linux.MS_REMOUNT | linux.MS_RDONLY)
    for fd in needed.values():
        os.close(fd)


def _needed() -> set[str]:
    """Return where Python finds itself and its modules."""
    paths = {sys.prefix, sys.exec_prefix, sys.base_prefix, *sys.path, os.getcwd(), *_editable(), *_loaded()}
    return {os.path.realpath(path) for path in paths if path and os.path.exists(path)}


def _editable() -> Iterator[str]:
    """Yield where packages are that were installed to be edited, and that an import hook finds: not `sys.path`."""
    for finder in sys.meta_path:
        module = sys.modules.get(getattr(finder, "__module__", "") or "")
        mapping = getattr(module, "MAPPING", None)  # of setuptools
        if isinstance(mapping, dict):
            yield from (str(path) for path in mapping.values())
        known = getattr(finder, "known_source_files", None)  # of scikit-build-core and meson-python
        if isinstance(known, dict):
            yield from (str(path) for path in known.values())


def _loaded() -> Iterator[str]:
    """Yield where the packages and modules are that are imported already, from wherever."""
    for name, module in list(sys.modules.items()):
        if "." in name:
            continue
        try:
            places = list(getattr(module, "__path__", None) or ())
        except Exception:
            continue
        file = getattr(module, "__file__", None)
        yield from (path for path in places or [file] if isinstance(path, str))


def _within(path: str, place: str) -> bool:
    return path == place or path.startswith(place.rstrip("/") + "/")
