"""The shape of the house: each module can be imported by its full name, and no two need each other."""

from __future__ import annotations

import ast
import functools
import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import rackactor
import rackactor_runtime

PACKAGES = (rackactor, rackactor_runtime)
#: Modules that run when they are imported.
PROGRAMS = frozenset({"__main__"})


def modules() -> dict[str, Path]:
    """All modules by name, packages themselves left out."""
    found = {}
    for package in PACKAGES:
        root = Path(package.__path__[0])
        for path in sorted(root.rglob("*.py")):
            if path.name != "__init__.py":
                parts = path.relative_to(root).with_suffix("").parts
                found[".".join((package.__name__, *parts))] = path
    return found


KNOWN = modules()


def imported(name: str) -> Iterator[str]:
    """What a module imports, when it is used or for its types only included."""
    for node in ast.walk(ast.parse(KNOWN[name].read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = name.split(".")[: -node.level]
                base = ".".join([*package, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


@functools.cache
def graph() -> dict[str, set[str]]:
    """What each module imports of the others."""
    return {name: {other for other in imported(name) if other in KNOWN and other != name} for name in KNOWN}


def room(name: str) -> str:
    return ".".join(name.split(".")[:2])


def test_no_modules_need_each_other() -> None:
    try:
        tuple(TopologicalSorter(graph()).static_order())
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' <- '.join(error.args[1])}")


def test_no_rooms_import_each_other() -> None:
    ways = {(room(a), room(b)) for a, others in graph().items() for b in others if room(a) != room(b)}
    assert [way for way in sorted(ways) if way[::-1] in ways] == []


def test_a_circle_would_be_seen() -> None:
    with pytest.raises(CycleError):
        tuple(TopologicalSorter({"a": {"b"}, "b": {"c"}, "c": {"a"}}).static_order())


def test_each_module_can_be_imported_by_its_full_name() -> None:
    """A function of the package that has the name of a subpackage would stand in its way."""
    names = [info.name for each in PACKAGES for info in pkgutil.walk_packages(each.__path__, f"{each.__name__}.")]
    names = [name for name in names if name.rpartition(".")[2] not in PROGRAMS]
    assert len(names) > 250
    lines = "\n".join(f"import {name} as it; assert it.__name__ == {name!r}, it" for name in names)
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert importlib.import_module(names[0])
