"""Which executable starts the programs behind a group: this Python, or what stands in for it.

A supervisor is started as `python -m rackactor_runtime.supervisor`. In a frozen program (PyInstaller, Nuitka,
cx_Freeze) or an embedded interpreter (uWSGI, Blender) `sys.executable` is the application: started with those words, it
would run the application again, which would start another. So what is no Python is refused before it is started, and
there are two ways that work: `freeze_support`, as multiprocessing has it, and `set_executable`. And whatever is
started is told in its environment what it should become: an application that comes up instead starts nothing more.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from typing import NoReturn

from rackactor.errors import InvalidCall, StartError

#: The first argument of an application that is to be one of our programs; the second is which one.
MARK = "--rackactor-program"
#: In the environment of what is started to be one of our programs, until it is.
VARIABLE = "RACKACTOR_STARTING"
#: Our programs, and where the function `main` of each is.
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

    For embedded interpreters. RackActor must be installed for that Python, in this version. What is defined in the
    program's main file travels as bytecode, so it must be the same Python, too (3.x).

    Args:
        path: of a Python; None: `sys.executable` again.

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
    """Be a supervisor or service, if a frozen program was started to be one; otherwise do nothing.

    The first thing that the main module of a frozen program does, before it reads its arguments. Does not return in
    such a process. Bundle all of `rackactor_runtime` (PyInstaller: `--collect-all rackactor_runtime`).

    Source: multiprocessing.freeze_support.
    """
    global _supported
    _supported = True
    if len(sys.argv) >= 3 and sys.argv[1] == MARK and sys.argv[2] in _PROGRAMS:
        _become(sys.argv[2], sys.argv[3:])


def _become(name: str, words: list[str]) -> NoReturn:
    os.environ.pop(VARIABLE, None)
    sys.argv[1:] = words
    # By its name: this package knows the wire, and not what runs behind it.
    sys.exit(importlib.import_module(_PROGRAMS[name]).main(*words))


def started() -> None:
    """Take note that this process has become what it was started to be."""
    os.environ.pop(VARIABLE, None)


def environment() -> dict[str, str]:
    """Return the environment of what is started."""
    return {**os.environ, VARIABLE: str(os.getpid())}


def words(name: str, *arguments: str, options: tuple[str, ...] = ()) -> list[str]:
    """Return the command that starts one of our programs.

    Args:
        name: the module that is the program.
        arguments: its arguments.
        options: of the interpreter.

    Raises:
        StartError: it would start something else.
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
