"""Running a script as a process: what the process of `rack run script.py` does.

The script is sent as text: it need not exist as a file where it runs. It runs as `__main__`, so its classes and
functions are sent by value to the processes that it forks. A `main` with annotated parameters that the script does not
call itself is called with the options of the command line.
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
from typing import Any

from rackactor.errors import InvalidCall
from rackactor.kernel import coroutines
from rackactor.program import options
from rackactor.records import dataclass
from rackactor.wire import main_module, unpacked

#: The path of a script that came on standard input.
STDIN = "<stdin>"


@dataclass(frozen=True)
class Script:
    """A script, as it is sent to its process."""

    #: Its absolute path on the author's disk. On another machine it lies where its directory was unpacked.
    path: str
    #: Its text, in the encoding that it declares.
    source: bytes
    #: Its name as given on the command line: `sys.argv[0]`.
    name: str
    #: The directory or zip archive that was given; the script is its `__main__.py`.
    whole: str | None = None


def run_script(script: Script, words: Sequence[str], launcher: str | None = None) -> None:
    """Run a script to its end, as `python script ARGS...` does.

    Args:
        script: what to run.
        words: its command-line arguments.
        launcher: the entry of `sys.path` that belongs to the command which sent the script, and not to the script.

    Raises:
        InvalidCall: the script lies in an archive that does not exist here.
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
        return os.path.dirname(os.path.realpath(path))  # modules lie beside a link's target
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
    """Call a function with the options of the command line, which its parameters define.

    For a script that also works without `rack run`: `if __name__ == "__main__": call(main)`. If the function returns an
    integer, that is the exit code.

    Raises:
        InvalidCall: a parameter cannot be an option.
    """
    args, kwargs = options.read(main, os.path.basename(sys.argv[0]), sys.argv[1:])
    status = main(*args, **kwargs)
    if coroutines.is_coroutine(status):
        status = coroutines.run_target(status)
    if isinstance(status, int) and not isinstance(status, bool):
        sys.exit(status)


def wants_options(text: str) -> bool:
    """Tell whether a script expects `rack run` to call its `main`.

    It does if it defines a `main` whose parameters are all annotated, does not call it at its top level, and has no
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
    """Yield the nodes that run with the script itself: not the bodies of its functions and classes."""
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
