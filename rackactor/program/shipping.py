"""A program's own code on its way to processes that run elsewhere.

Where processes share the program's disk nothing of this happens. Elsewhere (a machine, a network namespace) the first
fork packs what is local (`rackactor.program.archive`) into archives, and puts each into the group's files under its
hash: once for the group, whoever does it first. The processes fetch them before their target is unpickled, and hand the
same hashes on to their own children.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rackactor.errors import InvalidCall
from rackactor.kernel.kernel import Kernel

if TYPE_CHECKING:
    from rackactor.program.archive import Tree

#: Where the archives lie: in a part of the group's files that no listing of "/" shows, and no program can change.
PLACE = "/.rack/code"
#: What a pickle holds when the code of a function is in it, and not just its name.
_BY_VALUE = b"make_code"


def path_of(name: str) -> str:
    """Return where the archive of a hash lies in the group's files."""
    return f"{PLACE}/{name}.zip"


class Shipping:
    """Put into a group's files what its processes need of this program.

    Args:
        kernel: this program's half of the wire.
        open_: opens a file of the group.
    """

    def __init__(self, kernel: Kernel, open_: Callable[[str, str], Any]) -> None:
        self._kernel = kernel
        self._open = open_
        self._lock = threading.RLock()  # a signal handler may interrupt its holder
        self._scripts: list[str] = []
        self._shipped: dict[Tree, str] = {}

    @property
    def needed(self) -> bool:
        """Tell whether the group's processes run where this program's disk is not."""
        return self._kernel.welcome.remote

    def add_script(self, path: str) -> None:
        """Have a script's directory go along; it is run by a process of the group, not by this one."""
        self._scripts.append(path)

    def for_fork(self, kind: str, words: Sequence[str] | None, blobs: Sequence[Any], *, placed: bool) -> list[str]:
        """Return the hashes that go with a fork; what the group does not have yet is put there.

        Args:
            kind: of the target.
            words: the command.
            blobs: the target and its arguments, pickled.
            placed: whether the caller has said what the working directory is.

        Raises:
            InvalidCall: there is too much of it, or it is for another Python.
        """
        from rackactor.program import archive  # with zipfile and others, which programs on one host do without

        if kind == "command":
            tree = None if placed else archive.named_files(_words_of(words or ()))
            # What a command reads may change from one to the next; what is imported here already may not.
            return [] if tree is None else [self._put(tree)]
        welcome = self._kernel.welcome
        check_python(welcome.python, blobs)
        if welcome.kind:  # a process of the group itself has from its parent all that there is
            return list(welcome.code)
        return self._ship(self._trees())

    def _trees(self) -> list[Tree]:
        from rackactor.program import archive

        own = archive.main_script()
        scripts = [archive.script_tree(path) for path in [*self._scripts, *([own] if own else [])]]
        whole = list(dict.fromkeys(tree for tree in scripts if tree is not None))
        roots = {tree.root for tree in whole}
        return whole + [tree for tree in archive.module_trees() if tree.root not in roots]

    def _ship(self, trees: Sequence[Tree]) -> list[str]:
        with self._lock:
            for tree in trees:
                if tree not in self._shipped:
                    self._shipped[tree] = self._put(tree)
            return [self._shipped[tree] for tree in trees]

    def _put(self, tree: Tree) -> str:
        """Put the archive of a tree into the group's files, unless it is there; return its hash."""
        import hashlib

        from rackactor.program import archive

        data = archive.pack(tree)
        name = hashlib.sha256(data).hexdigest()
        try:
            with self._open(path_of(name), "xb") as file:
                file.write(data)
        except FileExistsError:
            pass  # the same bytes: that is what its name says
        return name


def _words_of(words: Sequence[str]) -> Sequence[str]:
    """Return the arguments of a command; of `sh -c STRING`, the words in the string."""
    if len(words) != 3 or os.path.basename(words[0]) not in ("sh", "bash", "dash") or words[1] != "-c":
        return words
    import shlex

    text = shlex.shlex(words[2], posix=True, punctuation_chars=True)
    text.whitespace_split = True
    try:
        return list(text)
    except ValueError:
        return ()


def check_python(there: Any, blobs: Sequence[Any]) -> None:
    """Refuse to send bytecode to another Python: it would crash there, or worse.

    Args:
        there: its version, [3, 11]; None: not known.
        blobs: what is to be sent.

    Raises:
        InvalidCall: names both.
    """
    here = list(sys.version_info[:2])
    if there is None or list(there) == here or not any(_BY_VALUE in bytes(blob) for blob in blobs):
        return
    mine, theirs = (".".join(map(str, version)) for version in (here, there))
    raise InvalidCall(
        f"this program runs on Python {mine}, and the group's processes on Python {theirs}: what is defined in the"
        f" program's main file travels as bytecode, which differs. Run it with Python {theirs}, or make an image with"
        f" Python {mine}; scripts under `rack run`, and modules that are imported, travel as text"
    )
