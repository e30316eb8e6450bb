"""The samples do what they say, by `rack run` and as ordinary programs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rackcommand import ROOT, Rack, a_rack

SAMPLES = ROOT / "samples"


@pytest.fixture
def rack() -> Iterator[Rack]:
    with a_rack() as made:
        yield made


def run(rack: Rack, how: str, name: str, *words: str) -> str:
    """Run a sample; return what it printed."""
    if how == "rack":
        done = rack("run", SAMPLES / name, *words)
    else:
        command = [sys.executable, SAMPLES / name, *words]
        done = subprocess.run(command, env=rack.env, text=True, capture_output=True, timeout=40, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


both = pytest.mark.parametrize("how", ["rack", "python"])


@both
def test_pi(rack: Rack, how: str) -> None:
    estimate = float(run(rack, how, "pi.py", "--workers", "3", "--throws", "300_000"))
    assert 3.1 < estimate < 3.18


@both
def test_wordcount(rack: Rack, how: str, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("to be or not to be")
    (tmp_path / "two").write_text("Be! That is the question.")
    shown = run(rack, how, "wordcount.py", "--folder", str(tmp_path), "--top", "2").splitlines()
    assert [line.split() for line in shown] == [
        ["6", "words", "in", "one"],
        ["5", "words", "in", "two"],
        ["3", "be"],
        ["2", "to"],
    ]


def test_wordcount_of_what_debian_ships(rack: Rack) -> None:
    if not any(Path("/usr/share/common-licenses").glob("GPL-*")):
        pytest.skip("no licences here: this is no Debian")
    assert re.search(r"^ +\d+ the$", run(rack, "rack", "wordcount.py"), re.MULTILINE)


def test_wordcount_without_texts(rack: Rack, tmp_path: Path) -> None:
    done = rack("run", SAMPLES / "wordcount.py", "--folder", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{tmp_path} holds no texts.")


@both
def test_ring(rack: Rack, how: str) -> None:
    shown = run(rack, how, "ring.py", "--stations", "4", "--laps", "25").splitlines()
    assert shown[0] == "the token has arrived"
    assert shown[1].startswith("100 steps through 4 processes: ")


def test_any_language(rack: Rack) -> None:
    done = rack("run", "--", "sh", SAMPLES / "any_language.sh", input="one two three\n")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"I am process 3 of group [0-9a-f-]{36}; my parent is process 2", lines[0])
    assert "my input has 3 words" in lines
    assert "3 command running" in lines
    assert "process 3 got the signal that it sent itself" in lines
