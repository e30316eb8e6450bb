"""A program's own code on its way to processes that run elsewhere.

Where processes share the program's disk, this does nothing. Elsewhere (a machine, a network namespace) the first fork
packs local code (`rackactor.program.archive`) into archives, and stores each in the group's files under its hash: once
per group. The processes fetch the archives before they unpickle their target, and pass the same hashes on to their own
children.
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

#: Where the archives lie: a part of the group's files that no listing of "/" shows and no program can change.
PLACE = "/.rack/code"
#: What a pickle contains when it holds a function's code and not just its name.
_BY_VALUE = b"make_code"


def path_of(name: str) -> str:
    """Return the path of an archive in the group's files, by its hash."""
    return f"{PLACE}/{name}.zip"


class Shipping:
    """Store in a group's files the code of this program that its processes need.

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
        """Tell whether the group's processes run where this program's disk cannot be seen."""
        return self._kernel.welcome.remote

    def add_script(self, path: str) -> None:
        """Ship a script's directory too; a process of the group will run the script."""
        self._scripts.append(path)

    def for_fork(self, kind: str, words: Sequence[str] | None, blobs: Sequence[Any], *, placed: bool) -> list[str]:
        """Return the hashes that a fork call carries; what the group does not have yet is stored first.

        Args:
            kind: of the target.
            words: the command.
            blobs: the target and its arguments, pickled.
            placed: whether the caller has given a working directory.

        Raises:
            InvalidCall: the code is too large, or is for another Python.
        """
        from rackactor.program import archive  # this imports zipfile and others, which programs on one host do without

        if kind == "command":
            tree = None if placed else archive.named_files(_words_of(words or ()))
            # Files that a command reads may change between forks. What is imported here is taken to be unchanged.
            return [] if tree is None else [self._put(tree)]
        welcome = self._kernel.welcome
        check_python(welcome.python, blobs)
        if welcome.kind:  # a process of the group has all of the program's code from its parent
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
    """Refuse to send bytecode to another Python version: it would crash there, or give wrong results.

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
