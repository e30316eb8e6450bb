"""Programs and supervisors with more open files than select(2) can count."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from crowded import take_descriptors
from rackcommand import a_rack
from support import FEW_WARM, ROOT

import rackactor as rack
from rackactor.system.readiness import readable, writable


@pytest.fixture(name="crowd")
def many_descriptors() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = take_descriptors()
    try:
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def use_everything(group: rack.Group) -> None:
    """Use whatever a group has."""
    assert group.fork(abs, -3).result(30) == 3
    with group.open("/a.txt", "w") as file:
        file.write("text")
    with group.open("/a.txt") as file:
        assert file.read() == "text"
    group.shm["k"] = 1
    assert group.shm["k"] == 1
    with group.lock("l"):
        pass
    reader, writer = group.pipe()
    with reader, writer:
        writer.send("through")
        assert reader.recv(30) == "through"
    cat = group.fork(["cat"])  # it waits for its input, and does not end by itself
    cat.kill(signal.SIGTERM)
    assert cat.wait(30).signal == signal.SIGTERM


@pytest.mark.usefixtures("crowd")
def test_a_program_with_many_open_files(transport: str) -> None:
    with rack.group(transport=transport, provider_settings=FEW_WARM) as group:
        use_everything(group)


def test_a_supervisor_with_many_open_files(transport: str) -> None:
    with rack.group(transport=transport, provider="crowded:Crowded", provider_settings=FEW_WARM) as group:
        use_everything(group)  # the files' service is started, watched and ended by the supervisor


@pytest.mark.usefixtures("crowd")
def test_command_lines_in_a_program_with_many_open_files(tmp_path: Path) -> None:
    with a_rack() as command:
        script = tmp_path / "job.py"
        script.write_text("import rackactor as rack\ndef main():\n    print(rack.fork(abs, -3).result())\n")
        assert command("run", script).stdout == "3\n"


@pytest.mark.usefixtures("crowd")
def test_readiness_has_no_bound_on_numbers() -> None:
    reading, writing = os.pipe()
    try:
        assert reading > 1024
        assert readable([reading], 0) == []
        assert writable([writing], 0) == [writing]
        assert readable([reading], 0.01) == []
        os.write(writing, b"x")
        assert readable([reading]) == [reading]
        assert readable([reading], float(sys.maxsize)) == [reading]
    finally:
        os.close(reading)
        os.close(writing)


def test_select_is_nowhere() -> None:
    root = ROOT
    folders = ("rackactor", "runtime", "tests", "benchmarks", "samples", "images")
    word = "select." + "select("
    users = [path for folder in folders for path in (root / folder).rglob("*.py") if word in path.read_text()]
    assert users == []
