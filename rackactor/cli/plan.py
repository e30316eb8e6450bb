"""What `rack run` is to run, made ready before anything is started."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rackactor.errors import InvalidCall
from rackactor.script import run_script


@dataclass(frozen=True)
class Plan:
    """What a process is to run."""

    target: Any
    args: tuple[Any, ...]
    name: str
    #: A script: its children print too, and everything that is printed is shown.
    script: bool
    #: Where a script lies: what it may import from there goes along to other machines.
    path: str = ""


def for_command(words: Sequence[str]) -> Plan:
    """Make a command ready."""
    return Plan(list(words), (), os.path.basename(words[0]) or words[0], script=False)


def for_script(path: str, words: Sequence[str]) -> Plan:
    """Make a script ready: it travels as text.

    Raises:
        InvalidCall: it cannot be read, or is no Python script.
        SystemExit: it has a syntax error, which has been shown as Python shows it.
    """
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        raise InvalidCall(f"cannot read the script {path!r}: {error.strerror}") from error
    shebang = source.partition(b"\n")[0]
    if shebang.startswith(b"#!") and b"python" not in shebang:
        raise InvalidCall(f"{path!r} is no Python script: run it as a command, `rack run -- {path}`")
    absolute = os.path.abspath(path)
    try:
        compile(source, absolute, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        traceback.print_exception(error.with_traceback(None))
        raise SystemExit(1) from None
    launcher = None if sys.flags.safe_path else sys.path[0]
    return Plan(
        run_script, (absolute, source, list(words), launcher), os.path.basename(path), script=True, path=absolute
    )
