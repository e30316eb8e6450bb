"""A child has its parent's environment, directory, umask, limits and flags, as they are at the fork."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import surroundtargets
from rackcommand import Rack, a_rack
from support import HELPERS
from surroundtargets import SHELL, Looker, go_on, look

import rackactor as rack
from rackactor.errors import InvalidCall
from rackactor.launch import process_context
from rackactor.launch.directories import cards
from rackactor.syscalls.group import attach
from rackactor.wire.calls.fork import Fork

ENOUGH = 60.0


@pytest.fixture
def around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Have everything else than when the group began, until the test ends."""
    before, core = os.umask(0o27), resource.getrlimit(resource.RLIMIT_CORE)
    place = tmp_path / "place ä"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("RACK_TEST_X", "changed")
    monkeypatch.delenv("RACK_TEST_GONE")
    resource.setrlimit(resource.RLIMIT_CORE, (0, core[1]))
    yield place
    os.umask(before)
    resource.setrlimit(resource.RLIMIT_CORE, core)


@pytest.fixture(params=[0, 4], ids=["cold", "warm"])
def begun(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[rack.Group]:
    monkeypatch.setenv("RACK_TEST_GONE", "there")
    with rack.group("around", provider_settings={"warm": request.param}, echo=False) as made:
        yield made


def test_all_kinds_have_what_the_parent_has_at_the_fork(begun: rack.Group, around: Path) -> None:
    here = look()
    assert (here["cwd"], here["x"], here["gone"], here["umask"]) == (str(around), "changed", None, 0o27)
    assert begun.fork(look).result(ENOUGH) == here
    assert begun.fork(Looker).ask("look") == here
    shell = begun.fork(SHELL).stdout.read().decode()
    assert shell == f"{around}\n0027\n0\nchanged unset\n"


def test_grandchildren_have_it_from_their_parent(begun: rack.Group, around: Path, tmp_path: Path) -> None:
    found, shell = begun.fork(go_on, str(tmp_path)).result(ENOUGH)
    assert found == {**look(), "cwd": str(tmp_path), "x": "nested", "umask": 0o77}
    assert shell.decode() == f"{tmp_path}\n0077\n0\nnested unset\n"
    assert begun.fork(look).result(ENOUGH) == look(), "and nobody else"


def test_what_is_given_comes_first(begun: rack.Group, around: Path) -> None:
    (around / "below").mkdir()
    found = begun.fork(look, env={"RACK_TEST_X": "given", "RACK_TEST_GONE": "back"}, cwd="below").result(ENOUGH)
    assert (found["x"], found["gone"], found["cwd"]) == ("given", "back", str(around / "below"))


def test_a_directory_that_is_removed_is_inherited_all_the_same(begun: rack.Group, around: Path) -> None:
    around.rmdir()
    assert begun.fork(lambda: os.stat(".").st_nlink).result(ENOUGH) == 0
    around.mkdir()


def test_limits_are_the_programs_and_not_its_agents(begun: rack.Group) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, before[1]))
    try:
        assert begun.fork(resource.getrlimit, resource.RLIMIT_NOFILE).result(ENOUGH) == (200, before[1])
        assert begun.fork(["sh", "-c", "ulimit -n"]).stdout.read() == b"200\n"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert begun.fork(resource.getrlimit, resource.RLIMIT_NOFILE).result(ENOUGH) == before


def test_who_comes_from_outside_brings_all_it_has(begun: rack.Group, around: Path) -> None:
    (card,) = [card for card in cards() if card["gid"] == begun.gid]
    visitor = attach(card)
    try:
        child = visitor.fork(SHELL)
        assert child.stdout.read().decode() == f"{around}\n0027\n0\nchanged unset\n"
        child.wait(ENOUGH)
    finally:
        visitor.leave()


def test_names_that_are_no_text(begun: rack.Group, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = os.fsencode(tmp_path) + b"/\xff"
    os.mkdir(place)
    monkeypatch.chdir(os.fsdecode(place))
    monkeypatch.setitem(os.environb, b"RACK_TEST_X", b"\xfe")
    assert begun.fork(lambda: (os.getcwdb(), os.environb[b"RACK_TEST_X"])).result(ENOUGH) == (place, b"\xfe")


def test_a_pipeline_too(begun: rack.Group, around: Path) -> None:
    (around / "words").write_text("of this directory\n")
    assert (begun.run("cat words") | begun.run("tr a-z A-Z")).result() == b"OF THIS DIRECTORY\n"


#: Flags, and PYTHONWARNINGS where it has to do with them; what is left out of the ordinary run comes last.
FLAGS = [
    *(([], "error"), (["-W", "error"], "ignore"), (["-X", "dev"], ""), (["-E"], "error"), (["-I"], ""), (["-OO"], "")),
    *(([], ""), ([], "ignore"), (["-W", "error"], ""), (["-W", "error"], "error"), (["-X", "dev"], "error")),
    *((["-X", "dev"], "ignore"), (["-E"], ""), (["-E"], "ignore"), (["-O"], ""), (["-u"], ""), (["-bb"], "")),
    *((["-W", "error::UserWarning", "-O"], ""), (["-X", "faulthandler"], ""), (["-B", "-s"], "")),
]


@pytest.mark.parametrize(
    ("flags", "variable"),
    [*FLAGS[:6], *(pytest.param(*case, marks=pytest.mark.wide) for case in FLAGS[6:])],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_the_interpreters_flags(flags: list[str], variable: str) -> None:
    text = f"import sys; sys.path.append({str(HELPERS)!r}); import surroundtargets as s; s.report()"
    env = {**os.environ, "PYTHONWARNINGS": variable}
    words = [sys.executable, *flags, "-c", text]
    done = subprocess.run(words, env=env, text=True, capture_output=True, timeout=ENOUGH, check=False)
    assert done.stdout.startswith("True "), (done.stdout, done.stderr)
    assert done.returncode == 0


def test_half_a_line_is_not_held_back_if_the_program_says_so(begun: rack.Group, monkeypatch: Any) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    child = begun.fork(surroundtargets.speak)
    assert child.stdout.read1(20) == b"half a line"
    child.tell("go on")
    child.wait(ENOUGH)


def crash() -> None:
    import ctypes

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.string_at(0)


@pytest.mark.parametrize("how", ["variable", "enabled"])
def test_a_crash_shows_where_it_was(begun: rack.Group, how: str) -> None:
    import faulthandler

    was = faulthandler.is_enabled()
    (faulthandler.enable if how == "enabled" else faulthandler.disable)()
    try:
        env = {"PYTHONFAULTHANDLER": "1"} if how == "variable" else {}
        evidence = begun.fork(crash, env=env).wait(ENOUGH).evidence
    finally:
        (faulthandler.enable if was else faulthandler.disable)()
    assert "it crashed: SIGSEGV" in evidence
    assert "test_surroundings.py" in evidence
    assert "in crash" in evidence
    assert "rackactor" not in evidence.replace(str(HELPERS), "")


def test_the_umask_is_read_without_a_change(tmp_path: Path) -> None:
    """Other threads make files meanwhile, and none may have another mode."""
    before = os.umask(0o27)
    over = threading.Event()
    modes = set()

    def make() -> None:
        number = 0
        while not over.is_set():
            number += 1
            os.close(os.open(tmp_path / str(number), os.O_CREAT | os.O_WRONLY, 0o777))
            modes.add(os.stat(tmp_path / str(number)).st_mode & 0o777)

    thread = threading.Thread(target=make)
    thread.start()
    try:
        assert {process_context.umask() for _ in range(200)} == {0o27}
        assert {process_context._read_umask() for _ in range(200)} == {0o27}
    finally:
        over.set()
        thread.join()
        os.umask(before)
    assert modes == {0o750}


def test_nonsense_is_refused(begun: rack.Group) -> None:
    for wrong in ({"umask": "022"}, {"colour": 1}, {"limits": {}}, [1]):
        with pytest.raises(InvalidCall):
            call = Fork(1, "command", words=["true"], pipes=[[]], inherited=wrong)  # type: ignore[arg-type]
            begun.kernel.call(call, b"", b"")


def test_rack_pipeline_in_a_group_of_another_shell(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("from here\n")
    with a_rack() as command:
        first: Rack = command
        first("run", "--detach", "--name", "job", "--", "sleep", "60", cwd="/")
        done = first("pipeline", "-g", "job", "cat words", "cat", cwd=tmp_path)
        assert (done.stdout, done.stderr) == ("from here\n", "")
        first("group", "delete", "job")
