"""Where the groups of this host live: one directory each, for nobody but their owner."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rackactor.errors import StartError

#: What a group's directory holds: how to reach it (`group.json`), sockets, output, the supervisor's log.
CARD = "group.json"
#: Longest path of a UNIX socket, bytes (sun_path, less the final NUL).
MAX_SOCKET_PATH = 107
#: Where a group's directory has its shared memory, or a link to it.
MEMORY = "memory"
_MAIN_MEMORY = "/dev/shm"


def base() -> Path:
    """Return the directory of all groups of this user: `$XDG_RUNTIME_DIR/rackactor`, or one in the temporary directory.

    Raises:
        StartError: there is none, it belongs to somebody else, or others may enter it.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    path = Path(runtime) / "rackactor"
    if not runtime or not os.access(runtime, os.W_OK | os.X_OK) or not _make(path):
        path = Path(tempfile.gettempdir()) / f"rackactor-{os.getuid()}"
        if not _make(path):
            raise StartError(f"no directory for groups can be made: neither in XDG_RUNTIME_DIR nor as {path}")
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise StartError(f"{path} must be a directory of yours that nobody else may enter (chmod 700, or remove it)")
    return path


def _make(path: Path) -> bool:
    """Make a directory unless there is something of that name; tell whether there is."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except OSError:
        return False  # it says that it can be written to, and cannot: /proc, a full or read-only file system
    return True


def group_dir(gid: str) -> Path:
    """Return the directory of a group."""
    return base() / gid[:12]


def memory_dir(directory: Path, size: int) -> Path:
    """Make the directory of a group's shared memory, and return it.

    It lies in main memory when there is room for all of it (`/dev/shm`), and a link in the group's directory leads
    there, made first, so that whoever removes the one finds the other. On a disk, the system would hold its writer
    up whenever it has to write much.
    """
    path = directory / MEMORY
    if path.exists():
        return path.resolve()
    if room_in_memory(size):
        link = Path(f"{_MAIN_MEMORY}/rackactor-{os.getuid()}-{directory.name}")
        path.symlink_to(link)
        try:
            link.mkdir(mode=0o700)
        except OSError:
            path.unlink()
        else:
            return link
    path.mkdir(mode=0o700)
    return path


def room_in_memory(size: int) -> str | None:
    """Return a directory in main memory if there is room for so many bytes, or None."""
    try:
        found = os.statvfs(_MAIN_MEMORY)
    except OSError:
        return None
    good = found.f_bavail * found.f_frsize >= size and os.access(_MAIN_MEMORY, os.W_OK | os.X_OK)
    return _MAIN_MEMORY if good else None


def remove(directory: str | os.PathLike[str]) -> None:
    """Remove a group's directory, its shared memory included, wherever that is."""
    memory = Path(directory) / MEMORY
    if memory.is_symlink() and os.readlink(memory).startswith(f"{_MAIN_MEMORY}/rackactor-{os.getuid()}-"):
        shutil.rmtree(os.readlink(memory), ignore_errors=True)
    shutil.rmtree(directory, ignore_errors=True)


def write_card(path: Path, card: dict[str, Any]) -> None:
    """Write how to reach a group, all at once."""
    draft = path / (CARD + ".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(card, file)
    draft.rename(path / CARD)


def cards() -> Iterator[dict[str, Any]]:
    """Yield how to reach each group of this host whose supervisor lives, oldest first."""
    found = []
    for path in base().glob(f"*/{CARD}"):
        try:
            found.append((path.stat().st_mtime, json.loads(path.read_text())))
        except (OSError, ValueError):
            continue  # it is ending this very moment
    for _, card in sorted(found, key=lambda pair: pair[0]):
        if alive(card):
            yield card


def alive(card: dict[str, Any]) -> bool:
    """Tell whether the supervisor of a card still runs (its pid, and the time it was started)."""
    return bool(start_time(card["os_pid"]) == card["os_started"])


def start_time(os_pid: int) -> int:
    """Return when a process was started, in clock ticks since boot; 0 when there is none."""
    try:
        text = Path(f"/proc/{os_pid}/stat").read_text()
    except OSError:
        return 0
    fields = text.rpartition(")")[2].split()
    return 0 if fields[0] in "ZX" else int(fields[19])
