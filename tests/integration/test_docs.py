"""README and docs keep their word: each snippet runs, each command exists, nothing that has a name is left out."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from rackcommand import Rack, a_rack
from support import ROOT

from rackactor import errors
from rackactor.status import Cause
from rackactor_runtime.supervisor.decisions.settings import Settings

pytestmark = pytest.mark.timeout(180)

#: The pages whose snippets are meant to be run as they stand.
PAGE_NAMES = ("reference", "troubleshooting", "files", "shared-memory", "pipes")
PAGES = [ROOT / "README.md", *(ROOT / f"docs/{name}.md" for name in PAGE_NAMES)]
#: All pages: their links lead somewhere.
ALL_PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def rack() -> Iterator[Rack]:
    with a_rack() as made:
        yield made


def blocks(language: str, *, run: bool) -> list[Any]:
    """Return the snippets of a language, each with the line it stands on."""
    made = []
    for page in PAGES:
        text = page.read_text("utf-8")
        for found in BLOCK.finditer(text):
            if found[1] == language and ("no-run" not in found[2]) is run:
                line = text.count("\n", 0, found.start()) + 1
                made.append(pytest.param(found[3], id=f"{page.name}:{line}"))
    return made


def test_there_are_snippets() -> None:
    assert len(blocks("python", run=True)) >= 7
    assert len(blocks("sh", run=True)) >= 2


@pytest.mark.parametrize("text", blocks("python", run=True))
def test_python(rack: Rack, tmp_path: Path, text: str) -> None:
    path = tmp_path / "snippet.py"
    path.write_text(text, "utf-8")
    done = subprocess.run(
        [sys.executable, path], env=rack.env, cwd=ROOT, text=True, capture_output=True, timeout=150, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert done.stderr == "" or "1 / 0" in text  # the traceback that the tour provokes


@pytest.mark.parametrize("text", blocks("sh", run=True))
def test_shell(rack: Rack, text: str) -> None:
    done = subprocess.run(
        ["sh", "-eu", "-c", text], env=rack.env, cwd=ROOT, text=True, capture_output=True, timeout=150, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("text", blocks("sh", run=False))
def test_what_is_not_run_exists(rack: Rack, text: str) -> None:
    targets = re.findall(r"^make ([a-z-]+)", text, re.MULTILINE)
    commands = re.findall(r"^rack ([a-z]+)", text, re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert targets or commands
    assert all("--cloud" in rack(command, "--help").stdout for command in commands)
    assert not [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)]


def test_what_the_tour_promises_is_what_it_prints(rack: Rack) -> None:
    tour = "".join(param.values[0] for param in blocks("python", run=True))
    done = subprocess.run(
        [sys.executable, "-c", tour], env=rack.env, cwd=ROOT, text=True, capture_output=True, timeout=150, check=False
    )
    assert done.returncode == 0, done.stderr
    for line in ("144", "[0, 1, 4, 9, 16]", "42", "50", "b'ANY LANGUAGE\\n'", "7", "hello, world"):
        assert line in done.stdout.splitlines(), done.stdout
    assert "signalled by SIGTERM (code 143)" in done.stdout
    assert "1 exception\nZeroDivisionError: division by zero\n" in done.stdout
    assert "deadline - its deadline passed" in done.stdout


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path) if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in _anchors(file), target


def _anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_module_on_the_map_exists() -> None:
    page = (ROOT / "docs/internals/README.md").read_text("utf-8")
    paths = re.findall(r"`([^`\s]+\.py)`", page)
    assert len(paths) > 50
    assert not [path for path in paths if not (ROOT / path).is_file()]


def test_every_error_and_cause_can_be_looked_up() -> None:
    page = (ROOT / "docs/troubleshooting.md").read_text("utf-8")
    names = [name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)]
    assert len(names) > 15
    assert not [name for name in names if not re.search(rf"^\| `{name}`", page, re.MULTILINE)]
    assert not [cause for cause in Cause if f"| `{cause}` |" not in page]


def test_every_setting_cause_and_command_is_in_the_reference(rack: Rack) -> None:
    page = (ROOT / "docs/reference.md").read_text("utf-8")
    assert not [f.name for f in fields(Settings) if f"| `{f.name}` |" not in page]
    assert not [cause for cause in Cause if f"| `{cause}` |" not in page]
    listed = rack("help").stdout.partition("Commands:")[2]
    commands = [line.split("  ")[1] for line in listed.splitlines() if line.startswith("  ")]
    assert len(commands) > 8
    assert not [name for name in commands if name not in ("help", "complete") and f"`rack {name}" not in page]
