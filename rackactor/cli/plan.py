"""What `rack run` will run, prepared before anything is started."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Any

from rackactor.errors import InvalidCall
from rackactor.program.script import STDIN, Script, run_script
from rackactor.records import dataclass


@dataclass(frozen=True)
class Plan:
    """What a process will run."""

    target: Any
    args: tuple[Any, ...]
    name: str
    #: A script: its children may print, too, and all output is shown.
    script: bool
    #: Where a script lies: what it may import from there is sent to other machines.
    path: str = ""


def for_command(words: Sequence[str]) -> Plan:
    """Prepare a command."""
    return Plan(list(words), (), os.path.basename(words[0]) or words[0], script=False)


def for_script(path: str, words: Sequence[str]) -> Plan:
    """Prepare a script: it is sent as text.

    Args:
        path: a script in Python's sense: a file, `-` for standard input, or a directory or a zip archive that
            contains a `__main__.py`.
        words: its command-line arguments.

    Raises:
        InvalidCall: it cannot be read, or is no Python script.
        SystemExit: it has a syntax error, which has been shown as Python shows it.
    """
    script = _read(path)
    shebang = script.source.partition(b"\n")[0]
    if shebang.startswith(b"#!") and b"python" not in shebang:
        raise InvalidCall(f"{path!r} is no Python script: run it as a command, `rack run -- {path}`")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are shown where the script runs
            compile(script.source, script.path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        traceback.print_exception(error.with_traceback(None))
        raise SystemExit(1) from None
    launcher = None if sys.flags.safe_path else sys.path[0]
    home = "" if script.path == STDIN else script.path
    name = os.path.basename(path.rstrip("/")) or path
    return Plan(run_script, (script, list(words), launcher), name, script=True, path=home)


def _read(path: str) -> Script:
    if path == "-":
        return Script(STDIN, sys.stdin.buffer.read(), "-")
    try:
        if os.path.isdir(path):
            return _main_of(path)
        with open(path, "rb") as file:
            source = file.read()
        if b"\0" in source and _is_archive(path):
            return _main_in(path)
    except OSError as error:
        raise InvalidCall(f"cannot read the script {path!r}: {error.strerror}") from error
    return Script(_absolute(path), source, path)


def _main_of(path: str) -> Script:
    """Return the main script of a directory."""
    main = os.path.join(path, "__main__.py")
    if not os.path.exists(main):
        raise InvalidCall(f"cannot find a '__main__.py' in the directory {path!r}")
    with open(main, "rb") as file:
        return Script(_absolute(main), file.read(), path, _absolute(path))


def _absolute(path: str) -> str:
    """Return an absolute path as Python makes `__file__`: not normalized."""
    return path if os.path.isabs(path) else os.path.join(os.getcwd(), path)


def _is_archive(path: str) -> bool:
    import zipfile  # slow to import, and rarely needed

    return zipfile.is_zipfile(path)


def _main_in(path: str) -> Script:
    """Return the main script of an archive."""
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            source = archive.read("__main__.py")
    except KeyError:
        raise InvalidCall(f"cannot find a '__main__.py' in the archive {path!r}") from None
    except zipfile.BadZipFile as error:
        raise InvalidCall(f"cannot read the archive {path!r}: {error}") from None
    whole = _absolute(path)
    return Script(os.path.join(whole, "__main__.py"), source, path, whole)
