"""Which of a program's files are sent to machines that do not have them, packed into archives.

Installed code (the standard library, site-packages) must be in the image. Local code is sent: the directory of the
script, and the modules and packages that were imported from elsewhere. The same files always give the same bytes, so an
archive's hash serves as its name. The exclusions and limits are there so that nobody sends a home directory, or the
credentials in it, to each machine by mistake.
"""

from __future__ import annotations

import fnmatch
import io
import os
import site
import stat
import sys
import sysconfig
import zipfile
from collections.abc import Iterator, Sequence
from types import ModuleType

from rackactor.errors import InvalidCall
from rackactor.records import dataclass

#: The most that one archive may hold: bytes before compression, and files.
MAX_BYTES, MAX_FILES = 32 << 20, 5000
#: Names that a search may visit in one directory tree before it is given up.
MAX_LOOKED_AT = 50_000
#: Files other than Python's are sent too if they are no longer than this.
MAX_DATA = 1 << 20
#: Built for the machine that they are on, or rebuilt from what is sent.
_COMPILED = (".so", ".pyd", ".pyc", ".pyo", ".dll", ".dylib", ".o", ".a")
#: Often lie beside a script, and must stay private.
_SECRETS = ("clouds*.y*ml", "secure.y*ml", "*openrc*", "*.pem", "*.key", "*.p12", "id_rsa*", "id_ed25519*", "*secret*")
_LEFT_OUT = frozenset({"__pycache__", "node_modules", "site-packages", "dist-packages"})
#: The image has its own versions of these.
_OURS = frozenset({"rackactor", "rackactor_runtime", "__main__", "__mp_main__"})
#: The earliest date in zip: modification times must not change the hash.
_ALWAYS = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Tree:
    """Files below one directory."""

    root: str
    #: Top-level modules and packages; None: the directory of a script, with everything that it may import.
    names: tuple[str, ...] | None = None
    #: Files by their relative paths; replaces the above.
    files: tuple[str, ...] | None = None


def script_tree(path: str) -> Tree | None:
    """Return the files that belong to a script; None if it lies where commands are installed."""
    root = os.path.dirname(os.path.realpath(path))
    commands = {os.path.realpath(place) for place in (sysconfig.get_path("scripts"), *os.get_exec_path())}
    return None if root in commands or _installed(root) else Tree(root)


def main_script() -> str | None:
    """Return the script that this program runs; None for `python -m` or an interactive Python."""
    main = sys.modules.get("__main__")
    path = getattr(main, "__file__", None)
    if path is None or getattr(main, "__spec__", None) is not None or not os.path.isfile(path):
        return None
    return str(path)


def module_trees() -> list[Tree]:
    """Return the local modules and packages that this program has imported, grouped by directory."""
    found: dict[str, set[str]] = {}
    for name, module in list(sys.modules.items()):
        if "." in name or name in _OURS or name in sys.stdlib_module_names or not isinstance(module, ModuleType):
            continue
        for root in _roots(name, module):
            if not _installed(root):
                found.setdefault(root, set()).add(name)
    return [Tree(root, tuple(sorted(names))) for root, names in sorted(found.items())]


def named_files(words: Sequence[str]) -> Tree | None:
    """Return the files below the current directory that a command names by relative paths."""
    found = {os.path.normpath(word) for word in words if word and not os.path.isabs(word) and os.path.isfile(word)}
    inside = tuple(sorted(path for path in found if not path.startswith("..")))
    return Tree(os.getcwd(), files=inside) if inside else None


def pack(tree: Tree) -> bytes:
    """Return an archive of a tree: the same bytes for the same files.

    Raises:
        InvalidCall: it holds more than may be sent; the message names the directory and a remedy.
    """
    archive, size = io.BytesIO(), 0
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for count, (name, path) in enumerate(sorted(_listed(tree)), 1):
            try:
                with open(path, "rb") as file:
                    mode, data = os.fstat(file.fileno()).st_mode, file.read(MAX_BYTES + 1)
            except OSError:
                continue  # removed meanwhile, or not readable: its import fails on the other side
            size += len(data)
            if size > MAX_BYTES or count > MAX_FILES:
                raise _too_much(tree)
            about = zipfile.ZipInfo(name, _ALWAYS)
            about.external_attr = (0o755 if mode & stat.S_IXUSR else 0o644) << 16
            about.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(about, data)
    return archive.getvalue()


def _too_much(tree: Tree) -> InvalidCall:
    bound = f"more than {MAX_BYTES >> 20} MiB or {MAX_FILES} files"
    if tree.files is not None:
        return InvalidCall(
            f"the files in {tree.root} that the command names ({', '.join(tree.files[:5])}) are {bound}: put them into"
            " the group's files (`rack fs cp`), or give their whole paths if the image has them"
        )
    what = "the script and all that it may import" if tree.names is None else f"the packages {', '.join(tree.names)}"
    return InvalidCall(
        f"{tree.root} holds {bound}, and {what} would be sent from there to the group's machines: put the program into"
        " a directory of its own, or install what is large into the image. Hidden directories, virtual environments"
        " and compiled files are left out already."
    )


# -- which files -----------------------------------------------------------------------------------------


def _listed(tree: Tree) -> Iterator[tuple[str, str]]:
    """Yield (path in the archive, path here) of each file."""
    if tree.files is not None:
        yield from ((name, os.path.join(tree.root, name)) for name in tree.files)
        return
    walk = _Walk(tree)
    if tree.names is None:
        yield from walk.directory("", data=True)
        return
    for name in tree.names:
        if os.path.isdir(os.path.join(tree.root, name)):
            yield from walk.directory(name, data=True)
        else:
            yield f"{name}.py", os.path.join(tree.root, f"{name}.py")


class _Walk:
    """Finds the files to send below a directory."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._left = MAX_LOOKED_AT

    def directory(self, below: str, *, data: bool) -> Iterator[tuple[str, str]]:
        """Yield the files of a directory; `data`: not only modules.

        Data files are sent from packages and from the script's own directory; not from other directories below it.
        """
        try:
            entries = sorted(os.scandir(os.path.join(self._tree.root, below)), key=lambda entry: entry.name)
        except OSError:
            return
        self._left -= len(entries)
        if self._left < 0:
            raise _too_much(self._tree)
        for entry in entries:
            name = os.path.join(below, entry.name)
            if entry.name.startswith(".") or entry.name in _LEFT_OUT:
                continue
            if entry.is_dir(follow_symlinks=False):
                if not _foreign(entry.path):
                    package = (data and below != "") or os.path.isfile(os.path.join(entry.path, "__init__.py"))
                    yield from self.directory(name, data=package)
            elif entry.is_file() and (entry.name.endswith(".py") or (data and _is_data(entry))):
                yield name, entry.path


def _foreign(directory: str) -> bool:
    """Tell whether a directory is a virtual environment, or what an installer wrote about a package."""
    return directory.endswith((".egg-info", ".dist-info")) or os.path.exists(os.path.join(directory, "pyvenv.cfg"))


def _is_data(entry: os.DirEntry[str]) -> bool:
    if entry.name.endswith(_COMPILED) or any(fnmatch.fnmatch(entry.name.lower(), pattern) for pattern in _SECRETS):
        return False
    try:
        return entry.stat().st_size <= MAX_DATA
    except OSError:
        return False


def _roots(name: str, module: ModuleType) -> Iterator[str]:
    """Yield the directories that a top-level module is found in under its own name.

    What is installed is so wherever it really lies: Debian's sitecustomize is a link out of the standard library.
    """
    for place in _places(name, module):
        if not _installed(os.path.dirname(os.path.abspath(place))):
            yield os.path.dirname(os.path.realpath(place))


def _places(name: str, module: ModuleType) -> Iterator[str]:
    for place in getattr(module, "__path__", ()):  # of a namespace package there may be several
        if isinstance(place, str) and os.path.basename(place) == name and os.path.isdir(place):
            yield place
    path = getattr(module, "__file__", None)
    if isinstance(path, str) and os.path.basename(path) == f"{name}.py" and os.path.isfile(path):
        yield path


def _installed(directory: str) -> bool:
    """Tell whether a directory is one that installers write to."""
    if not _LEFT_OUT.isdisjoint(directory.split(os.sep)):
        return True
    places = [sysconfig.get_path(which) for which in ("stdlib", "platstdlib", "purelib", "platlib")]
    places += [*site.getsitepackages(), site.getusersitepackages()]
    return any(directory == place or directory.startswith(place + os.sep) for place in map(os.path.realpath, places))
