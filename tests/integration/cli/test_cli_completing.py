"""`rack complete`: real shells, without any package beside them, and a real Tab."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rackcommand import RACK

from rackactor.system.readiness import readable

pytestmark = pytest.mark.timeout(180)

SHELLS = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
Line = Callable[[str], str]


@pytest.fixture(scope="module", params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    if shutil.which(SHELLS[request.param][0]) is None:
        pytest.skip(f"no {request.param} here")
    return str(request.param)


@pytest.fixture(scope="module")
def script(shell: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("complete") / "script"
    path.write_text(subprocess.run([RACK, "complete", "--shell", shell], capture_output=True, text=True).stdout)
    return path


@pytest.fixture
def tab(shell: str, script: Path) -> Iterator[Line]:
    """Type a line with Tabs in it to a shell in which `rack` says what it was given; return that."""
    (script.parent / "data file.py").touch()
    said = script.parent / "bin/rack"
    said.parent.mkdir(exist_ok=True)
    said.write_text('#!/bin/sh\nprintf "said<%s>\\n" "$*"\n')
    said.chmod(0o700)
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(script.parent)
        more = {"PATH": f"{said.parent}:{os.environ['PATH']}", "TERM": "vt100", "HOME": str(script.parent), "PS1": "$ "}
        os.execvpe(SHELLS[shell][0], SHELLS[shell], {**os.environ, **more})

    def until(end: bytes) -> str:
        seen, latest = b"", time.monotonic() + 30
        while end not in seen:
            assert readable([terminal], latest - time.monotonic()), seen
            seen += os.read(terminal, 4096)
        return seen.decode()

    def typed(line: str) -> str:
        os.write(terminal, line.encode() + b"\n")
        return until(b">\r\n").rpartition("said<")[2].partition(">\r\n")[0]

    os.write(terminal, f"source {script}; rack is ready\n".encode())
    until(b"said<is ready>\r\n")
    try:
        yield typed
    finally:
        os.close(terminal)  # hangs up
        os.waitpid(pid, 0)


def test_words_are_completed(tab: Line) -> None:
    for line, said in (
        ("rack gro\tsho\t", "group show"),
        ("rack group show -f js\t", "group show -f json"),
        ("rack ps --tr\t", "ps --tree"),
        ("rack run -n 3 --na\tx", "run -n 3 --name x"),
        ("rack run --transport i\t", "run --transport ipc"),
        ("rack shm wat\t--form\tjs\t", "shm watch --format json"),
        ("rack run dat\t--name", "run data file.py --name"),
        ("rack run x.py --dea\t", "run x.py --dea"),
        ("rack help gro\t", "help group"),
    ):
        assert tab(line).strip() == said


def test_what_shells_are_known() -> None:
    done = subprocess.run([RACK, "complete", "--shell", "csh"], capture_output=True, text=True)
    assert done.returncode == 2
    for word in ("bash", "fish", "zsh"):
        assert word in done.stderr


def test_each_script_knows_every_command() -> None:
    for each in SHELLS:
        text = subprocess.run([RACK, "complete", "--shell", each], capture_output=True, text=True).stdout
        for word in ("pipeline", "shm", "watch", "--unpickle", "unpickle")[: 4 if each != "fish" else 3]:
            assert word in text
