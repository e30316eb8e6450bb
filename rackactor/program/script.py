"""Running a script as a process: what `rack run script.py` has its process do.

The script travels as text: it need not be a file where it runs. It runs as `__main__`, so that its classes and
functions reach the processes that it forks by value. A `main` with annotated parameters, which the script does not
call itself, is called with the options of the command line.
"""

from __future__ import annotations

import ast
import builtins
import importlib.machinery
import importlib.util
import linecache
import os
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rackactor.errors import InvalidCall
from rackactor.kernel import coroutines
from rackactor.program import options
from rackactor.wire import main_module, unpacked

#: Where a script lies that came on standard input.
STDIN = "<stdin>"


@dataclass(frozen=True)
class Script:
    """A script on its way to its process."""

    #: Where its author has it; an absolute path. On another machine it lies where its directory was unpacked.
    path: str
    #: Its text, in the encoding that it declares.
    source: bytes
    #: Its name as it was given, which is `sys.argv[0]`.
    name: str
    #: The directory or the zip archive that was given, of which it is the `__main__.py`.
    whole: str | None = None


def run_script(script: Script, words: Sequence[str], launcher: str | None = None) -> None:
    """Run a script to its end, as `python script words...` does.

    Args:
        script: what is to run.
        words: its command line.
        launcher: the entry of `sys.path` that belongs to the command which sent it here, and not to the script.

    Raises:
        InvalidCall: it lies in an archive, which is not here.
    """
    path, name, source = script.path, script.name, script.source
    if path != STDIN:
        path = unpacked.home_of(path, source)
    if path != script.path:
        name = path
    text = importlib.util.decode_source(source)
    linecache.cache[path] = (len(source), None, text.splitlines(keepends=True), path)  # tracebacks show its lines
    place = _place(script, path)
    sys.argv = [name, *words]
    sys.path = [place, *(entry for entry in sys.path if entry not in (launcher, place))]
    module = _make_main(script, path)
    main_module.replace(module)
    exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)
    if wants_options(text):
        call(module.__dict__["main"])


def _place(script: Script, path: str) -> str:
    """Return the first entry of a script's `sys.path`."""
    if path == STDIN:
        return ""
    if script.whole is None:
        return os.path.dirname(os.path.realpath(path))  # a link's target has its modules beside it
    whole = os.path.dirname(path)
    if not os.path.exists(whole):
        raise InvalidCall(f"the archive {whole} is not on this machine: unpack it, and run the directory")
    return whole


def _make_main(script: Script, path: str) -> types.ModuleType:
    """Return the `__main__` that Python makes for a script."""
    module = types.ModuleType("__main__")
    names = {"__builtins__": builtins, "__annotations__": {}, "__spec__": None, "__package__": None}
    module.__dict__.update(names)
    if path == STDIN:
        module.__dict__.update(__file__=path, __loader__=importlib.machinery.BuiltinImporter)
        return module
    module.__dict__.update(__file__=path, __cached__=None)
    module.__loader__ = importlib.machinery.SourceFileLoader("__main__", path)
    if script.whole is not None:
        module.__package__ = ""
    return module


def call(main: Callable[..., Any]) -> None:
    """Call a function with what the command line says, its parameters being the options.

    For a script that is to work by itself too: `if __name__ == "__main__": call(main)`. An integer that it returns is
    the exit code.

    Raises:
        InvalidCall: a parameter that cannot be an option.
    """
    args, kwargs = options.read(main, os.path.basename(sys.argv[0]), sys.argv[1:])
    status = main(*args, **kwargs)
    if coroutines.is_coroutine(status):
        status = coroutines.run_target(status)
    if isinstance(status, int) and not isinstance(status, bool):
        sys.exit(status)


def wants_options(text: str) -> bool:
    """Tell whether a script leaves it to us to call its `main`.

    It does if it defines one whose parameters are all annotated, does not call it at its top level, and has no
    `if __name__ == "__main__"`.
    """
    tree = ast.parse(text)
    mains = [
        node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == "main"
    ]
    return bool(mains) and _annotated(mains[-1].args) and not any(map(_starts_itself, _top_level(tree)))


def _annotated(args: ast.arguments) -> bool:
    each = [*args.posonlyargs, *args.args, *args.kwonlyargs, *filter(None, (args.vararg, args.kwarg))]
    return all(arg.annotation is not None for arg in each)


def _top_level(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what runs when the script does, not the insides of its functions and classes."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            yield child
            yield from _top_level(child)


def _starts_itself(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "main"
    return isinstance(node, ast.If) and any(
        isinstance(part, ast.Name) and part.id == "__name__" for part in ast.walk(node.test)
    )
