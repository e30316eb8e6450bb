"""Processes of one machine that are as separate as on several machines: each in a network namespace.

A program that works on one host may depend on what its processes share there: a directory, /dev/shm,
loopback. Here each has its own address, and they reach each other only by that. This is for trying a program,
and for testing this package, not for isolation: the rest of the file system, and the kernel, are the host's.
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
#: Directories that processes of one host usually share: each process gets its own, empty ones.
SHARED = ("/tmp", "/var/tmp", "/dev/shm", "/run/user")


def check(value: object) -> tuple[str, ...]:
    """Return the paths of the network namespaces of a setting: names as `ip netns` knows them, or paths.

    Raises:
        InvalidCall: one does not exist, or this user may not enter any.
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

    It also gets its own mount namespace, in which `hidden` and the directories that hosts usually share are empty.
    What Python itself needs of them stays in its place, read only.
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
    """Cover a directory with an empty one, in which what Python needs is still there."""
    needed = {path: os.open(path, os.O_PATH) for path in _needed() if _within(path, place) and path != place}
    mode = 0o1777 if place in SHARED else 0o700
    linux.mount("tmpfs", place, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, f"mode={mode:o}")
    for path, fd in sorted(needed.items()):
        if os.path.exists(path):
            continue  # it lies in another one that is kept
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
    """Return the directories of Python itself and its modules."""
    paths = {sys.prefix, sys.exec_prefix, sys.base_prefix, *sys.path, os.getcwd(), *_editable(), *_loaded()}
    return {os.path.realpath(path) for path in paths if path and os.path.exists(path)}


def _editable() -> Iterator[str]:
    """Yield the directories of editable packages that an import hook finds: they are not in `sys.path`."""
    for finder in sys.meta_path:
        module = sys.modules.get(getattr(finder, "__module__", "") or "")
        mapping = getattr(module, "MAPPING", None)  # of setuptools
        if isinstance(mapping, dict):
            yield from (str(path) for path in mapping.values())
        known = getattr(finder, "known_source_files", None)  # of scikit-build-core and meson-python
        if isinstance(known, dict):
            yield from (str(path) for path in known.values())


def _loaded() -> Iterator[str]:
    """Yield the directories of all packages and modules that are imported already."""
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
