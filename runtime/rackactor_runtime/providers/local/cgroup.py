"""Memory control groups: a common limit for a process and all that it starts.

RLIMIT_DATA, which is always set, counts for each process alone and ignores shared and file
memory. If the kernel allows a control group (version 2 delegated to us, or version 1 as
root), a child with a limit gets its own, and an end by the kernel's OOM killer can be distinguished
from any other SIGKILL. Otherwise `MemoryGroups.make` returns None and only the rlimit holds.

All groups of one provider lie below one directory, whose name contains its maker's pid and start time. So
the next maker recognizes what a killed one left behind, and removes it.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from rackactor.records import dataclass
from rackactor_runtime.providers.local.linux import read_stat

_NAME = re.compile(r"rackactor-(\d+)-(\d+)-[0-9a-f]+")
#: Per version: (file of the limit, files to set where they exist, file that counts OOM kills).
_FILES = {
    1: ("memory.limit_in_bytes", {"memory.memsw.limit_in_bytes": "{}"}, "memory.oom_control"),
    2: ("memory.max", {"memory.swap.max": "0"}, "memory.events"),
}


@dataclass(frozen=True)
class MemoryGroup:
    """The control group of one child."""

    path: Path
    version: int

    def join(self) -> None:
        """Move this process into the group; its descendants from now on are in it, too."""
        (self.path / "cgroup.procs").write_text("0")

    def count_oom_kills(self) -> int:
        """Return how many processes of the group the kernel has killed for lack of memory."""
        try:
            return parse_oom_kills((self.path / _FILES[self.version][2]).read_text())
        except OSError:
            return 0


def parse_oom_kills(text: str) -> int:
    """Return the count on the line `oom_kill N`, or 0 (version 1 before Linux 4.13 has no such line)."""
    found = re.search(r"^oom_kill (\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else 0


def make_name() -> str:
    """Return a new name for the directory of this process's groups."""
    stat = read_stat(os.getpid())
    return f"rackactor-{os.getpid()}-{stat.started if stat else 0}-{os.urandom(4).hex()}"


def is_stale(name: str) -> bool:
    """Tell whether `name` is one of our directories whose maker is dead."""
    found = _NAME.fullmatch(name)
    if found is None:
        return False
    stat = read_stat(int(found[1]))
    return stat is None or stat.started != int(found[2])


class MemoryGroups:
    """Makes and removes the control groups of one provider; touches nothing until one is requested."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._home: tuple[Path, int] | None = None
        self._looked = False
        self._unwanted: list[Path] = []

    def make(self, name: str, limit: int) -> MemoryGroup | None:
        """Return a new group with a limit in bytes, or None if that is impossible."""
        home = self._find_home()
        if home is None:
            return None
        path, version = home[0] / name, home[1]
        limit_file, others, _ = _FILES[version]
        try:
            path.mkdir()
            (path / limit_file).write_text(str(limit))
        except OSError:
            self._remove(path)
            return None
        for other, value in others.items():
            with contextlib.suppress(OSError):  # a kernel without swap accounting
                (path / other).write_text(value.format(limit))
        return MemoryGroup(path, version)

    def discard(self, group: MemoryGroup) -> None:
        """Remove the group of a child that is gone, now or at the next `tidy`."""
        self._remove(group.path)

    def tidy(self) -> bool:
        """Try again to remove what the kernel still held; tell whether something is left."""
        paths, self._unwanted = self._unwanted, []
        for path in paths:
            self._remove(path)
        return bool(self._unwanted)

    def close(self) -> bool:
        """Remove every group of this name, whoever made it; tell whether something is left."""
        left = False
        for parent, _ in _find_parents():
            home = parent / self.name
            if home.is_dir():
                left |= not _remove_home(home)
        return left

    def _remove(self, path: Path) -> None:
        try:
            path.rmdir()
        except FileNotFoundError:
            pass
        except OSError:
            self._unwanted.append(path)

    def _find_home(self) -> tuple[Path, int] | None:
        if not self._looked:
            self._looked = True
            self._home = next(self._make_homes(), None)
        return self._home

    def _make_homes(self) -> Iterator[tuple[Path, int]]:
        """Yield the directories in which a group with its own limit can be made."""
        for parent, version in _find_parents():
            home = parent / self.name
            try:
                sweep(parent)
                if version == 2:
                    _delegate(parent)
                home.mkdir(exist_ok=True)
                if version == 2:
                    _delegate(home)
            except OSError:
                with contextlib.suppress(OSError):
                    home.rmdir()
                continue
            yield home, version


def sweep(parent: Path) -> None:
    """Remove the groups below `parent` that a killed maker left behind."""
    for entry in parent.iterdir():
        if is_stale(entry.name):
            _remove_home(entry)


def _remove_home(home: Path) -> bool:
    """Remove a directory of groups; one that still contains a process stays."""
    with contextlib.suppress(FileNotFoundError):
        for child in home.iterdir():
            if child.is_dir():
                with contextlib.suppress(OSError):
                    child.rmdir()
    try:
        home.rmdir()
    except OSError:
        return not home.exists()
    return True


def _delegate(path: Path) -> None:
    """Allow memory limits in the groups below `path` (in version 2 a parent must allow them)."""
    control = path / "cgroup.subtree_control"
    if "memory" not in control.read_text().split():
        control.write_text("+memory")


def _find_parents() -> list[tuple[Path, int]]:
    try:
        mounts = Path("/proc/self/mountinfo").read_text()
        own = Path("/proc/self/cgroup").read_text()
    except OSError:
        return []
    return [(Path(path), version) for path, version in find_parents(mounts, own)]


def find_parents(mounts: str, own: str) -> list[tuple[str, int]]:
    """Return where a group may be made, best first, from the contents of /proc/self/mountinfo and cgroup.

    Best is inside our own group, so that a limit on us still holds. Version 2 forbids groups with
    limits below a group that contains processes, as ours does: there, a sibling is the next best.
    """
    paths = {}
    for line in own.splitlines():
        number, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            paths[1] = path
        elif number == "0" and not controllers:
            paths[2] = path
    found: list[tuple[str, int]] = []
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        root, mount = before.split()[3:5]
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup" and "memory" in options.split(",") and 1 in paths:
            found += [(path, 1) for path in _candidates(mount, root, paths[1])]
        elif kind == "cgroup2" and 2 in paths:
            found += [(path, 2) for path in _candidates(mount, root, paths[2])]
    return found


def _candidates(mount: str, root: str, path: str) -> list[str]:
    # In a container the mount may show only a part of the hierarchy: its top is `root`.
    inner = path.removeprefix(root.rstrip("/")).strip("/") if path.startswith(root) else ""
    inside = os.path.join(mount, inner) if inner else mount
    return [inside] if inside == mount else [inside, os.path.dirname(inside)]
