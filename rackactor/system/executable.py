"""Which executable starts the programs behind a group: this Python, or a replacement for it.

A supervisor is started as `python -m rackactor_runtime.supervisor`. In a frozen program (PyInstaller, Nuitka,
cx_Freeze) or an embedded interpreter (uWSGI, Blender), `sys.executable` is the application. Started with these
arguments, the application would run again, and start another one. So an executable that is no Python is refused before
it is started. Two ways work: `freeze_support`, as in multiprocessing, and `set_executable`. Besides, the environment of
a started program says what it must become: an application that runs again instead starts nothing.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from typing import NoReturn

from rackactor.errors import InvalidCall, StartError

#: The first argument that makes an application run as one of our programs; the second argument says which one.
MARK = "--rackactor-program"
#: Environment variable of a program that is started as one of ours; removed once it runs as that.
VARIABLE = "RACKACTOR_STARTING"
#: Our programs: where the `main` function of each is.
_PROGRAMS = {
    "rackactor_runtime.supervisor": "rackactor_runtime.supervisor.program",
    "rackactor_runtime.services": "rackactor_runtime.services.runner",
    "rackactor_runtime.services.files.check": "rackactor_runtime.services.files.check",
}
_PYTHON = re.compile(r"(python|pypy|graalpy)[\w.\-]*", re.ASCII)

_chosen: str | None = None
_supported = False


def set_executable(path: str | os.PathLike[str] | None) -> None:
    """Choose the Python that starts supervisors and services, instead of `sys.executable`.

    For embedded interpreters. RackActor must be installed for that Python, in the same version. The program's main
    file is sent as bytecode, so the Python version (3.x) must be the same, too.

    Args:
        path: of a Python; None: back to `sys.executable`.

    Raises:
        InvalidCall: there is no such program.

    Source: multiprocessing.set_executable.
    """
    global _chosen
    if path is not None:
        path = os.fspath(path)
        if not isinstance(path, str) or not (os.path.isfile(path) and os.access(path, os.X_OK)):
            raise InvalidCall(f"set_executable: {path!r} is not a program that can be started")
    _chosen = path


def freeze_support() -> None:
    """Run as a supervisor or service if a frozen program was started as one; otherwise do nothing.

    Call it first in the main module of a frozen program, before the program reads its arguments. In a supervisor or
    service it does not return. Bundle all of `rackactor_runtime` (PyInstaller: `--collect-all rackactor_runtime`).

    Source: multiprocessing.freeze_support.
    """
    global _supported
    _supported = True
    if len(sys.argv) >= 3 and sys.argv[1] == MARK and sys.argv[2] in _PROGRAMS:
        _become(sys.argv[2], sys.argv[3:])


def _become(name: str, words: list[str]) -> NoReturn:
    os.environ.pop(VARIABLE, None)
    sys.argv[1:] = words
    # Imported by name: this package must not depend on the runtime.
    sys.exit(importlib.import_module(_PROGRAMS[name]).main(*words))


def started() -> None:
    """Note that this process now runs as the program that it was started as."""
    os.environ.pop(VARIABLE, None)


def environment() -> dict[str, str]:
    """Return the environment for a program to start."""
    return {**os.environ, VARIABLE: str(os.getpid())}


def words(name: str, *arguments: str, options: tuple[str, ...] = ()) -> list[str]:
    """Return the command that starts one of our programs.

    Args:
        name: the module that is the program.
        arguments: its arguments.
        options: of the interpreter.

    Raises:
        StartError: the executable would start something else.
    """
    if VARIABLE in os.environ:
        raise StartError(
            "this process was started to be the supervisor of a group, and has become the program itself: call"
            " rackactor.freeze_support() first of all in the main module, before anything that makes a group"
        )
    # -P: a module of the current directory must not stand in for one of the standard library.
    python = ["-P", *options, "-m", name, *arguments]
    if _chosen is not None:
        return [_chosen, *python]
    frozen = _why_not_python()
    if not frozen:
        return [sys.executable, *python]
    if _supported and name in _PROGRAMS:
        return [_application(), MARK, name, *arguments]
    raise StartError(
        f"no supervisor can be started: {frozen}. In a frozen program call rackactor.freeze_support() first of all in"
        " its main module; in an embedded interpreter name a Python that has RackActor, by rackactor.set_executable()"
    )


def _why_not_python() -> str:
    """Return why `sys.executable` is not an ordinary Python, or ""."""
    if getattr(sys, "frozen", False) or "__compiled__" in vars(sys.modules.get("__main__", sys)):
        return "this program is frozen, its executable is not a Python"
    path = sys.executable
    if not path:
        return "Python does not know its own executable (sys.executable is empty)"
    if not any(_PYTHON.fullmatch(os.path.basename(name)) for name in (path, os.path.realpath(path))):
        return f"sys.executable is {path!r}, which is not a Python"
    return ""


def _application() -> str:
    return sys.executable if sys.executable and os.path.isfile(sys.executable) else os.readlink("/proc/self/exe")
