"""The samples do what they say, by `rack run` and as ordinary programs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rackcommand import Rack, a_rack
from support import ROOT

pytestmark = pytest.mark.timeout(180)

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
        done = subprocess.run(command, env=rack.env, text=True, capture_output=True, timeout=150, check=False)
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


@both
def test_mapreduce(rack: Rack, how: str, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("to be or not to be")
    (tmp_path / "two").write_text("Be! That is the question.")
    words = ("--folder", str(tmp_path), "--mappers", "2", "--reducers", "2", "--top", "2")
    shown = run(rack, how, "mapreduce.py", *words).splitlines()
    assert re.fullmatch(r"11 words in 2 texts; the mappers took \d, \d of them", shown[0])
    assert [line.split() for line in shown[1:]] == [["3", "be"], ["2", "to"]]


@both
def test_stages(rack: Rack, how: str) -> None:
    shown = run(rack, how, "stages.py", "--items", "50", "--slow", "3", "--seconds", "0.002").splitlines()
    assert shown[0] == "sum of the squares below 50: 40425"
    taken = re.fullmatch(r"3 processes shared the slow stage: (\d+), (\d+), (\d+) items each", shown[1])
    assert taken is not None
    assert sum(map(int, taken.groups())) == 50


@both
def test_life(rack: Rack, how: str) -> None:
    shown = run(rack, how, "life.py", "--bands", "2", "--generations", "8", "--width", "12").splitlines()
    # A glider is the same after four generations, one cell further in both directions.
    alive = {(x, y) for y, row in enumerate(shown) for x, cell in enumerate(row) if cell == "#"}
    assert len(shown) == 12
    assert alive == {(x + 2, y + 2) for x, y in [(1, 0), (2, 1), (0, 2), (1, 2), (2, 2)]}


@both
def test_checkpoint(rack: Rack, how: str) -> None:
    shown = run(rack, how, "checkpoint.py", "--upto", "100000", "--every", "500").splitlines()
    assert "the first one: signalled by SIGKILL (code 137)" in shown
    (resumed,) = [re.fullmatch(r"process \d+ goes on at (\d+)", line) for line in shown if "goes on" in line]
    assert resumed is not None
    assert int(resumed[1]) >= 1000
    assert shown[-1] == "9592 primes below 100000"


def test_words_of_the_shell(rack: Rack, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("the first line\nand more words\n")
    done = rack("run", "--", "sh", SAMPLES / "shell_words.sh", text)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "6 words came through the pipe",
        "shared memory has: words=6 runs=1",
        "text 30",
        "the first line",
    ]


@pytest.mark.skipif(shutil.which("perl") is None, reason="no perl here")
def test_perl(rack: Rack) -> None:
    done = rack("run", "--", "perl", SAMPLES / "parent_and_child.pl", "1000")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "I am process 3\nthe numbers add up to 500500\n"
