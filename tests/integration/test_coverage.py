"""Lines that run in processes count, with coverage.py set up as the docs say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("coverage", minversion="7.10")

ROOT = Path(__file__).parents[2]
ENOUGH = 60.0

PROGRAM = """\
import rackactor as rack


def in_the_child(n):
    total = 0
    for number in range(n):
        total += number
    return total


class Twice(rack.Actor):
    def receiveMsg_int(self, message, sender):
        double = 2 * message
        self.send(sender, double)


if __name__ == "__main__":
    with rack.group() as g:
        print(g.fork(in_the_child, 5).result())
        print(g.fork(Twice).ask(4))
"""


def test_every_line_of_a_program_counts(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text()
    settings = re.search(r"```ini\n(\[run\]\n.*?)```", text, re.DOTALL)
    assert settings is not None
    (tmp_path / ".coveragerc").write_text(settings[1])
    (tmp_path / "program.py").write_text(PROGRAM)

    def coverage(*words: str) -> str:
        command = [sys.executable, "-m", "coverage", *words]
        done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True, timeout=ENOUGH, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert coverage("run", "program.py") == "10\n8\n"
    coverage("combine")
    coverage("json", "--include", f"{tmp_path}{os.sep}*")
    found = json.loads((tmp_path / "coverage.json").read_text())["files"]["program.py"]
    assert found["missing_lines"] == []
