"""`rack.fork` and the others say themselves what they take and give: to `help`, to `inspect`, to mypy."""

from __future__ import annotations

import inspect
import os
import pydoc
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import ROOT

import rackactor as rack
from rackactor.syscalls.session import Session

FUNCTIONS = [
    name
    for name in rack.__all__
    if inspect.isfunction(getattr(rack, name)) and not inspect.isclass(getattr(rack, name))
]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_help_needs_no_other_page(name: str) -> None:
    text = pydoc.plain(pydoc.render_doc(getattr(rack, name)))
    assert "see `Session" not in text
    assert "*args, **kwargs" not in text
    assert len(text.splitlines()) > 2


@pytest.mark.parametrize("name", ["fork", "wait", "kill", "signal", "pipe", "run", "receive", "open", "on_exit"])
def test_the_function_is_the_method(name: str) -> None:
    function, method = getattr(rack, name), getattr(Session, name)
    assert list(inspect.signature(function).parameters) == list(inspect.signature(method).parameters)[1:]
    assert (inspect.getdoc(function) or "").startswith(inspect.getdoc(method) or "?")


def test_the_reference_lists_what_fork_takes() -> None:
    text = (ROOT / "docs/reference.md").read_text()
    section = text.partition("## `rack.fork`")[2].partition("\n## ")[0]
    for name in inspect.signature(rack.fork).parameters:
        assert f"`{name}`" in section, name


CODE = """
import rackactor as rack
def f() -> int: return 1
async def c() -> str: return ""
class A(rack.Actor):
    def start(self) -> None:
        reveal_type(self.fork(f, n=2))
        reveal_type(self.pipe("x", "r"))
reveal_type(rack.fork(f))
reveal_type(rack.fork(f).result())
reveal_type(rack.fork(c).result())
reveal_type(rack.fork(A))
reveal_type(rack.fork(["cat"]))
reveal_type(rack.fork(f, n=2, deadline="1h", name="x"))
reveal_type(rack.fork(f, each=[1]))
reveal_type(rack.group().fork(f))
reveal_type(rack.pipe())
reveal_type(rack.pipe("x"))
reveal_type(rack.pipe("x", "w"))
reveal_type(rack.wait())
reveal_type(rack.run("cat"))
reveal_type(rack.receive())
rack.fork(f, deadlin=3)
"""
TYPES = [
    "Forked[int]",
    "PipeReader",
    "Process[int]",
    "int",
    "str",
    "Process[None]",
    "Process[None]",
    "Forked[int]",
    "Forked[int]",
    "Process[int]",
    "tuple[PipeReader, PipeWriter]",
    "Pipe",
    "PipeWriter",
    "tuple[int, ExitStatus]",
    "Pipeline",
    "Message",
]


@pytest.mark.timeout(180)
def test_module_functions_are_typed_as_the_methods_are(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(CODE)
    words = ["--config-file=", "--follow-imports=silent", "--ignore-missing-imports", "--cache-dir", tmp_path / "cache"]
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    done: Any = subprocess.run(
        [sys.executable, "-m", "mypy", *words, "program.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    found = re.findall(r'Revealed type is "(.*)"', done.stdout)
    assert [re.sub(r"[a-z_]+\.", "", each) for each in found] == TYPES, done.stdout
    assert 'Unexpected keyword argument "deadlin"' in done.stdout or "No overload variant" in done.stdout
    assert (ROOT / "rackactor/py.typed").exists()
