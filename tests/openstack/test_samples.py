"""Every sample on machines, unchanged: by `rack run --cloud`, from the directory of the project.

What a sample prints is what it prints on a laptop (tests/integration/test_samples.py); afterwards the cloud's own lists
have nothing of the group.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cloudrack import CLOUD, CloudRack, a_cloud_rack

pytestmark = [
    pytest.mark.openstack,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not CLOUD, reason="RACK_TEST_CLOUD names no cloud (make test-openstack brings one up)"),
]


@pytest.fixture
def rack() -> Iterator[CloudRack]:
    with a_cloud_rack() as made:
        yield made


def run(rack: CloudRack, *words: str, text: str = "") -> list[str]:
    """Run something on the cloud; return the lines that it printed."""
    done = rack("run", *words, input=text)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.qemu
def test_pi(rack: CloudRack) -> None:
    (estimate,) = run(rack, "samples/pi.py", "--workers", "4")
    assert 3.1 < float(estimate) < 3.18


def test_wordcount(rack: CloudRack) -> None:
    shown = run(rack, "samples/wordcount.py", "--top", "1")
    assert any(line.endswith("words in GPL-3") for line in shown)
    assert shown[-1].split()[1] == "the"


def test_ring(rack: CloudRack) -> None:
    shown = run(rack, "samples/ring.py", "--stations", "3", "--laps", "25")
    assert shown[0] == "the token has arrived"
    assert shown[1].startswith("75 steps through 3 processes: ")


def test_mapreduce(rack: CloudRack) -> None:
    shown = run(rack, "samples/mapreduce.py", "--mappers", "2", "--reducers", "2", "--top", "1")
    assert re.fullmatch(r"\d+ words in \d+ texts; the mappers took \d+, \d+ of them", shown[0])
    assert shown[1].split()[1] == "the"


def test_stages(rack: CloudRack) -> None:
    shown = run(rack, "samples/stages.py", "--items", "50", "--slow", "2")
    assert shown[0] == "sum of the squares below 50: 40425"


def test_life(rack: CloudRack) -> None:
    shown = run(rack, "samples/life.py", "--bands", "2", "--generations", "8", "--width", "12")
    alive = {(x, y) for y, row in enumerate(shown) for x, cell in enumerate(row) if cell == "#"}
    assert alive == {(x + 2, y + 2) for x, y in [(1, 0), (2, 1), (0, 2), (1, 2), (2, 2)]}


def test_checkpoint(rack: CloudRack) -> None:
    shown = run(rack, "samples/checkpoint.py", "--upto", "100000", "--every", "500")
    assert "the first one: signalled by SIGKILL (code 137)" in shown
    assert any(re.fullmatch(r"process \d+ goes on at \d+", line) for line in shown)
    assert shown[-1] == "9592 primes below 100000"


def test_thespian(rack: CloudRack) -> None:
    shown = run(rack, "samples/thespian_hello.py")
    assert any(line.endswith(": Hello World, and RackActor!") for line in shown)


def test_any_language(rack: CloudRack) -> None:
    lines = run(rack, "--", "sh", "samples/any_language.sh", text="one two three\n")
    found = re.fullmatch(r"I am process (\d+) of group [0-9a-f-]{36}; my parent is process 2", lines[0])
    assert found is not None
    assert "my input has 3 words" in lines
    assert f"{found[1]} command running" in lines
    assert f"process {found[1]} got the signal that it sent itself" in lines


def test_words_of_the_shell(rack: CloudRack) -> None:
    lines = run(rack, "--", "sh", "samples/shell_words.sh", "samples/pi.py")
    assert lines[0].endswith(" words came through the pipe")
    assert lines[-2:] == [f"pi.py {len(_text('pi.py'))}", _text("pi.py").splitlines()[0]]


@pytest.mark.skipif(shutil.which("perl") is None, reason="the image is made from this system's packages: no perl")
def test_perl(rack: CloudRack) -> None:
    assert run(rack, "--", "perl", "samples/parent_and_child.pl", "1000")[-1] == "the numbers add up to 500500"


def test_a_pipeline(rack: CloudRack) -> None:
    done = rack("pipeline", "cat README.md", "tr a-z A-Z", "-n", "2", "grep -c RACK")
    assert (done.returncode, done.stderr) == (0, "")
    expected = sum("RACK" in line for line in (_root() / "README.md").read_text().upper().splitlines())
    assert int(done.stdout) == expected


def test_an_exit_status(rack: CloudRack) -> None:
    assert rack("run", "--", "sh", "-c", "exit 7").returncode == 7


def _root() -> Path:
    return Path(__file__).parents[2]


def _text(name: str) -> str:
    return (_root() / "samples" / name).read_text()
