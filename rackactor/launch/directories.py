"""Where the groups of this host live: one directory each, which only their owner may enter."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rackactor.errors import StartError
from rackactor.system import procfs

#: What a group's directory holds: how to reach the group (`group.json`), sockets, output, the supervisor's log.
CARD = "group.json"
#: Says from which session the group was made.
SESSION = "session"
#: Longest path of a UNIX socket, bytes (sun_path, less the final NUL).
MAX_SOCKET_PATH = 107
#: The name, in a group's directory, of its shared memory or of a link to it.
MEMORY = "memory"
_MAIN_MEMORY = "/dev/shm"
#: In a group's directory: a link to its own files, which lie on a larger disk. And in those: the link back.
FILES, GROUP = "files", "group"
#: Prefix of the directories that hold a program's code for processes elsewhere.
_CODE = "rackactor-code-"
#: Seconds after which a directory without a group may be removed: several times what a start takes.
CARDLESS = 120.0
#: Seconds for which the removal of a group's files is retried while a process still writes there.
_PATIENCE = 5.0


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
    return _private(path)


def _private(path: Path) -> Path:
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise StartError(f"{path} must be a directory of yours that nobody else may enter (chmod 700, or remove it)")
    return path


def bases() -> list[Path]:
    """Return all directories in which groups of this user may be: a runtime directory comes and goes with logins."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    paths = [Path(runtime) / "rackactor"] if runtime else []
    paths.append(Path(tempfile.gettempdir()) / f"rackactor-{os.getuid()}")
    found = []
    for path in paths:
        try:
            found.append(_private(path))
        except (OSError, StartError):
            continue  # there is none, or it cannot be trusted
    return found


def files_base() -> Path:
    """Return the directory of the files of all groups of this user that have no other backend.

    It is in `$TMPDIR`, or in /var/tmp: the runtime directory is often a small one in memory.

    Raises:
        StartError: there is none, it belongs to somebody else, or others may enter it.
    """
    parents = [os.environ.get("TMPDIR", ""), "/var/tmp", tempfile.gettempdir()]
    for each in parents:
        path = Path(each) / f"rackactor-files-{os.getuid()}"
        if os.path.isabs(each) and os.access(each, os.W_OK | os.X_OK) and _make(path):
            return _private(path)
    raise StartError(f"no directory for files can be made in any of {', '.join(filter(None, parents))}")


def make_files_dir(directory: str) -> str:
    """Make the directory of a group's own files, linked from the group's directory, so that both are removed together.

    Args:
        directory: the group's.
    """
    link = os.path.join(directory, FILES)
    try:
        path = os.readlink(link)
    except FileNotFoundError:
        path = str(files_base() / os.path.basename(directory))
        os.symlink(path, link)  # the link comes first: so a crash between the two leaves nothing unknown
    os.makedirs(path, mode=0o700, exist_ok=True)
    if not os.path.lexists(os.path.join(path, GROUP)):
        os.symlink(directory, os.path.join(path, GROUP))
    return path


def files_dir(directory: str | Path) -> str:
    """Return where a group's own files lie, or "" before their first use."""
    return _target(os.path.join(directory, FILES))


def remove(directory: str | Path) -> None:
    """Remove the directory of an ended group, its own files and its shared memory."""
    memory = _target(os.path.join(directory, MEMORY))
    if memory.startswith(f"{_MAIN_MEMORY}/rackactor-{os.getuid()}-"):
        shutil.rmtree(memory, ignore_errors=True)
    files = _target(os.path.join(directory, FILES))
    if files and os.path.basename(files) == os.path.basename(directory):
        until = time.monotonic() + _PATIENCE
        shutil.rmtree(files, ignore_errors=True)
        while os.path.lexists(files) and time.monotonic() < until:
            time.sleep(0.02)  # the file service is still ending
            shutil.rmtree(files, ignore_errors=True)
    shutil.rmtree(directory, ignore_errors=True)


def _target(link: str) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""  # there is no such link


def sweep() -> None:
    """Remove what is left of groups whose supervisors and all their watchers were killed at once."""
    base()
    for path in (path for each in bases() for path in each.iterdir()):
        try:
            stale = not alive(json.loads((path / CARD).read_text()))
        except FileNotFoundError:
            stale = _age(path) > CARDLESS  # the supervisor was killed before it could write a card
        except (OSError, ValueError, KeyError):
            continue
        if stale:
            remove(path)
    try:
        kept = list(files_base().iterdir())
    except (OSError, StartError):
        kept = []  # the next process that wants files reports the error
    for path in kept:
        if _age(path) > CARDLESS and not _claimed(path):
            shutil.rmtree(path, ignore_errors=True)
    _sweep_code()


def _claimed(files: Path) -> bool:
    """Tell whether the group that owns these files lives, or at least its file service."""
    try:
        card = json.loads((files / GROUP / CARD).read_text())
        if alive(card):
            return True
    except (OSError, ValueError, KeyError):
        pass  # the group's directory is gone, perhaps since the last boot
    return _locked(files)


def _locked(directory: Path) -> bool:
    """Tell whether a directory's lock is (or may be) held; the lock ends with the process that took it."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


# -- the code that came with a program ------------------------------------------------------------------------


def make_code_directory() -> tuple[str, int]:
    """Make a directory for a program's code, for this process only.

    Directories that killed processes have left are removed first.

    Returns: its path, and a descriptor to keep open while the directory is used.
    """
    _sweep_code()
    parents = [parent for parent in _code_parents() if os.access(parent, os.W_OK | os.X_OK)]
    made = tempfile.mkdtemp(prefix=_CODE, dir=parents[0] if parents else None)
    descriptor = os.open(made, os.O_RDONLY | os.O_CLOEXEC)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return made, descriptor


def _code_parents() -> list[str]:
    """Return where such directories may be; `TMPDIR` may name a directory that exists on the supervisor's host only."""
    places = dict.fromkeys((tempfile.gettempdir(), "/tmp", "/var/tmp", _MAIN_MEMORY))
    return [place for place in places if os.path.isdir(place)]


def _sweep_code() -> None:
    for path in (path for parent in _code_parents() for path in Path(parent).glob(f"{_CODE}*")):
        try:
            ours = path.lstat().st_uid == os.getuid()
        except OSError:
            continue  # it has just gone
        if ours and _age(path) > CARDLESS and not _locked(path):
            shutil.rmtree(path, ignore_errors=True)


def _age(path: Path) -> float:
    """Return how long ago something was last made or removed in a directory, seconds."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def _make(path: Path) -> bool:
    """Make a directory unless the name exists; tell whether it exists now."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        pass
    except OSError:
        return False  # it is marked writable, but is not: /proc, a full or read-only file system
    return True


def group_dir(gid: str) -> Path:
    """Return a group's directory: where it is, or where it would be made."""
    found = (path / gid[:12] for path in bases())
    return next((path for path in found if path.is_dir()), None) or base() / gid[:12]


def move_in(directory: Path, files: str, memory: str) -> None:
    """Make a group's directory again after it was removed, with the links to the group's other directories.

    Args:
        directory: where it is to be.
        files: the directory of its own files, which is made at its first use.
        memory: the directory of its shared memory; "": none yet.

    Raises:
        OSError: it cannot be made.
    """
    directory.mkdir(mode=0o700, exist_ok=True)
    links = {MEMORY: memory} if memory and memory != str(directory / MEMORY) else {}
    if os.path.isdir(files):
        links[FILES] = files
        back = os.path.join(files, GROUP)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(back)
        os.symlink(directory, back)
    for name, target in links.items():
        if not os.path.lexists(directory / name):
            os.symlink(target, directory / name)


def memory_dir(directory: Path, size: int) -> Path:
    """Make the directory of a group's shared memory, and return it.

    It lies in main memory (`/dev/shm`) when all of it fits there. A link in the group's directory leads to it, and is
    made first, so that the removal of the group's directory finds the memory. On a disk, the kernel would block the
    writer whenever much has to be written back.
    """
    path = directory / MEMORY
    if path.exists():
        return path.resolve()
    path.unlink(missing_ok=True)  # a dangling link: its target has been removed
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
    """Return a directory in main memory that has room for so many bytes, or None."""
    try:
        found = os.statvfs(_MAIN_MEMORY)
    except OSError:
        return None
    good = found.f_bavail * found.f_frsize >= size and os.access(_MAIN_MEMORY, os.W_OK | os.X_OK)
    return _MAIN_MEMORY if good else None


def write_card(path: Path, card: dict[str, Any]) -> None:
    """Write a group's card (how to reach it), atomically."""
    draft = path / (CARD + ".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(card, file)
    draft.rename(path / CARD)


def has_card(gid: str, endpoint: str) -> bool:
    """Tell whether a group's card can be read from here and names this endpoint."""
    for path in bases():
        try:
            return bool(json.loads((path / gid[:12] / CARD).read_text())["endpoint"] == endpoint)
        except (OSError, ValueError, KeyError):
            continue
    return False


def cards() -> Iterator[dict[str, Any]]:
    """Yield the card of each group of this host whose supervisor lives, oldest first."""
    found = []
    for path in (path for each in bases() for path in each.glob(f"*/{CARD}")):
        try:
            found.append((path.stat().st_mtime, json.loads(path.read_text())))
        except (OSError, ValueError):
            continue  # it is just ending
    for _, card in sorted(found, key=lambda pair: pair[0]):
        if alive(card):
            yield card


def named(name: str) -> list[str]:
    """Return the gids of this host's groups with a name, in the order of a search by that name."""
    found = []
    for card in cards():
        if card["name"] == name:
            try:
                found.append(((group_dir(card["gid"]) / CARD).stat().st_ctime_ns, card["gid"]))
            except OSError:
                continue  # it is just ending
    return [gid for _, gid in sorted(found)]


def claim(gid: str) -> None:
    """Note that a group was made from this session (a setsid session: a terminal's shell and all that it started)."""
    try:
        (group_dir(gid) / SESSION).write_text(_session())
    except OSError:
        pass  # the group has just ended; or the disk is full, and then command lines must name the group


def is_own(card: dict[str, Any]) -> bool:
    """Tell whether a group was made from this session."""
    try:
        return (group_dir(card["gid"]) / SESSION).read_text() == _session()
    except OSError:
        return False


def _session() -> str:
    leader = os.getsid(0)
    return f"{leader} {start_time(leader)}"  # the number alone may have been another session's


def alive(card: dict[str, Any]) -> bool:
    """Tell whether the supervisor of a card still runs (by its pid and start time)."""
    return bool(start_time(card["os_pid"]) == card["os_started"])


def start_time(os_pid: int) -> int:
    """Return when a process was started, in clock ticks since boot; 0 when there is none."""
    try:
        text = Path(f"/proc/{procfs.number(os_pid)}/stat").read_text()
    except OSError:
        return 0
    fields = text.rpartition(")")[2].split()
    return 0 if fields[0] in "ZX" else int(fields[19])
