"""Text that UTF-8 cannot carry passes wherever it passes in Python's own `os` and `subprocess`."""

from __future__ import annotations

import os
import pathlib
import sys
from pathlib import Path
from typing import Any

import pytest
from rackcommand import Rack, a_rack
from targets import Echo

import rackactor as rack
from rackactor.status import Cause

ENOUGH = 20.0
#: The bytes of a name that is no UTF-8, as Python holds them; and a lone surrogate that stands for no byte.
ODD, LONE = "bad \udcff name", "lone \ud800"
#: The environment of a program in the poorest of locales.
ASCII = {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}


#: A program whose processes, values and files have odd names; it stays.
NAMES = """
import sys, time
import rackactor as rack

ODD, LONE = "bad \\udcff name é", "lone \\ud800"

def fail():
    raise ValueError(ODD + LONE)

sleeper = rack.fork(["sleep", "60"], ODD, name=f"{ODD} {LONE}")
failed = rack.fork(fail, name=ODD)
failed.wait()
rack.shm["é"] = [ODD, LONE]
for name in (ODD, "é"):
    with rack.open(name, "w") as file:
        file.write("within")
reader, writer = rack.pipe()
print("ready", flush=True)
time.sleep(60)
"""


def raise_it(text: str) -> None:
    raise ValueError(f"cannot read {text}")


def leave_with(text: str) -> None:
    sys.exit(text)


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def raise_unspeakable() -> None:
    raise Unspeakable


def leave_with_unspeakable() -> None:
    raise SystemExit(Unspeakable())


class Refusing:
    """Stands for a standard error that takes nothing."""

    def write(self, text: str) -> None:
        raise RuntimeError("not here")

    flush = write


def raise_without_stderr(stand_in: Any) -> None:
    sys.stderr = stand_in
    raise ValueError(ODD)


def tell_place() -> tuple[str, str | None]:
    return os.getcwd(), os.environ.get("ODD")


def own_name() -> str:
    return str(rack.process(rack.getpid()).info()["name"])


def hear_words() -> list[Any]:
    heard: list[Any] = []
    while (value := rack.receive().value) != "stop":
        heard.append(value)
    return heard


@pytest.fixture
def odd_file(tmp_path: Path) -> Path:
    path = tmp_path / os.fsdecode(b"f\xffx")
    path.write_text("within")
    return path


@pytest.mark.machines
def test_words_of_a_command(group: rack.Group, odd_file: Path) -> None:
    forms: list[Any] = [str, os.fsencode, Path, pathlib.PurePosixPath]
    for word in [form(str(odd_file)) for form in forms]:
        assert group.fork(["printf", "%s", word]).stdout.read() == os.fsencode(odd_file), word
        assert group.fork(["printf", "%s"], word).stdout.read() == os.fsencode(odd_file), word
    each = group.fork(["printf", "%s"], each=[b"a", *[form(str(odd_file)) for form in forms]])
    assert [process.stdout.read() for process in each] == [b"a", *[os.fsencode(odd_file)] * len(forms)]


def test_entries_of_a_directory_are_words(group: rack.Group, odd_file: Path) -> None:
    for place in (str(odd_file.parent), os.fsencode(odd_file.parent)):
        with os.scandir(place) as entries:
            (entry,) = entries
        assert group.fork(["cat", entry]).stdout.read() == b"within"
        assert group.fork(["cat"], entry).stdout.read() == b"within"
        assert group.run(["cat", entry]).stdout.read() == b"within"


def test_what_is_no_word_is_refused_by_name(group: rack.Group) -> None:
    for word in (3, 1.5, None, ["a"], object()):
        calls: list[tuple[Any, list[Any]]] = [
            (group.fork, [["cat", word]]), (group.fork, [["cat"], word]), (group.run, [[word, "a"]])
        ]  # fmt: skip
        for call, args in calls:
            with pytest.raises(rack.InvalidCall, match="an argument of a command is a str, bytes or a path"):
                call(*args)


def test_what_no_system_takes_is_refused_before_anything_is_started(group: rack.Group) -> None:
    for text in ("a\0b", LONE):
        refused: list[tuple[Any, dict[str, Any]]] = [
            (["cat", text], {}),
            (tell_place, {"cwd": text}),
            (tell_place, {"env": {"A": text}}),
            (tell_place, {"env": {text: "a"}}),
        ]
        for target, options in refused:
            with pytest.raises(rack.InvalidCall, match="cannot hold a"):
                group.fork(target, **options)
        with pytest.raises(rack.InvalidCall, match="cannot hold a"):
            group.fork(["cat"], text)
    assert len(group.ps()) == 1


def test_directory_and_environment(group: rack.Group, tmp_path: Path) -> None:
    place = tmp_path / os.fsdecode(b"d\xff")
    place.mkdir()
    for form in (str(place), os.fsencode(place), place):
        child = group.fork(tell_place, cwd=form, env={"ODD": ODD})
        assert child.result(ENOUGH) == (str(place), ODD)
    command = group.fork(["sh", "-c", 'printf %s "$ODD"'], env={b"ODD": os.fsencode(ODD)})  # type: ignore[dict-item]
    assert command.stdout.read() == os.fsencode(ODD)


@pytest.mark.machines
def test_no_text_changes_an_exit_status(group: rack.Group) -> None:
    texts = [ODD, LONE, "a\0b", "x" * 300_000]
    all_raise, all_leave = group.fork(raise_it, each=texts), group.fork(leave_with, each=texts)
    for text, raised, leaving in zip(texts, all_raise, all_leave, strict=True):
        status = raised.wait(ENOUGH)
        assert (status.cause, status.code) == (Cause.EXCEPTION, 1)
        assert text[-100:] in status.evidence
        with pytest.raises(ValueError, match="cannot read") as caught:
            raised.result(ENOUGH)
        assert str(caught.value) == f"cannot read {text}"
        left = leaving.wait(ENOUGH)
        assert (left.cause, left.code) == (Cause.EXITED, 1)
        assert text[-100:] in left.evidence


def test_no_object_that_is_shown_changes_an_exit_status(group: rack.Group) -> None:
    status = group.fork(raise_unspeakable).wait(ENOUGH)
    assert (status.cause, status.code) == (Cause.EXCEPTION, 1)
    assert "Unspeakable" in status.evidence
    status = group.fork(leave_with_unspeakable).wait(ENOUGH)
    assert (status.cause, status.code) == (Cause.EXITED, 1)
    for stand_in in (Refusing(), None, 3):
        status = group.fork(raise_without_stderr, stand_in).wait(ENOUGH)
        assert (status.cause, status.code) == (Cause.EXCEPTION, 1)
        assert ODD in status.evidence


@pytest.mark.machines
def test_names_messages_signals_locks_and_values(group: rack.Group) -> None:
    hearer, echo = group.fork(hear_words), group.fork(Echo)
    heard: list[Any] = []
    for text in (ODD, LONE):
        child = group.fork(own_name, name=text)
        assert child.result(ENOUGH) == text
        assert group.process(child.pid).info()["name"] == text
        values: list[Any] = [text, [text], {text: text}, (text,)]
        for value in values:
            hearer.tell(value)
        heard += values
        assert echo.ask(text, ENOUGH) == text
        echo.kill(text)
        with group.lock(text):
            assert group.lock(text).holder() == group.getpid()
        group.shm["key"] = {text: [text]}
        assert group.shm["key"] == {text: [text]}
        with pytest.raises(rack.InvalidCall, match="UTF-8"):
            group.shm[text] = 1
        with pytest.raises(rack.InvalidCall, match="printable"):
            group.pipe(text)
        reader, writer = group.pipe()
        with reader, writer:
            writer.send([text])
            assert reader.recv(ENOUGH) == [text]
    hearer.tell("stop")
    assert hearer.result(ENOUGH) == heard


def test_what_goes_without_pickle(where: dict[str, Any]) -> None:
    with rack.group(**where, pickle=False, end_grace=0.5) as group:
        group.shm["key"] = ODD
        assert group.shm["key"] == ODD
        reader, writer = group.pipe()
        with reader, writer:
            writer.send([ODD, LONE])
            assert reader.recv(ENOUGH) == [ODD, LONE]


def test_files_are_named_as_on_a_disk(group: rack.Group) -> None:
    for name in (ODD, "é", os.fsencode(ODD) + b"2"):
        with group.open(name, "w") as file:
            file.write("within")
        with group.open(name) as file:
            assert file.read() == "within"
    assert set(group.listdir()) >= {ODD, "é", ODD + "2"}
    with pytest.raises(FileNotFoundError) as missing:
        group.open(f"none {ODD}")
    assert ODD in missing.value.filename
    for name in (LONE, "a\0b"):
        with pytest.raises(ValueError, match=r"surrogate|null"):
            group.open(name, "w")


@pytest.mark.parametrize("env", [pytest.param({}, marks=pytest.mark.wide), ASCII], ids=["utf-8", "ascii"])
def test_the_command_line(tmp_path: Path, env: dict[str, str]) -> None:
    names = [os.fsdecode(b"f\xffx"), "é", "日本"]
    for name in names:
        (tmp_path / name).write_text(f"in {len(name)}\n")
    (tmp_path / "é.py").write_text(
        "import sys\nprint('ran', len(sys.argv))\nif len(sys.argv) > 2:\n    sys.exit('é \\udcff')"
    )
    with a_rack() as run:
        run.env |= env
        for name in names:
            done = run("run", "--", "cat", name, cwd=tmp_path)
            assert (done.returncode, done.stdout) == (0, f"in {len(name)}\n"), done.stderr
            done = run("pipeline", f"cat {name}", "cat", cwd=tmp_path)
            assert (done.returncode, done.stdout) == (0, f"in {len(name)}\n"), done.stderr
        done = run("run", "é.py", names[0], cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, "ran 2\n"), done.stderr
        done = run("run", "é.py", names[0], "é", cwd=tmp_path, errors="surrogateescape")
        assert (done.returncode, done.stdout) == (1, "ran 3\n"), done.stderr
        done = run("run", "--", "cat", "no \udcff é", cwd=tmp_path, errors="surrogateescape")
        assert done.returncode == 1, done.stderr
        done = run("run", "--", "no-program-é\udcff", cwd=tmp_path, errors="surrogateescape")
        assert done.returncode == 127, done.stderr
        assert "encode" not in done.stderr


@pytest.mark.parametrize("env", [pytest.param({}, marks=pytest.mark.wide), ASCII], ids=["utf-8", "ascii"])
def test_lists_show_every_name(env: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(NAMES)
    with a_rack() as run, run.start("run", "--name", "gruppe-é", "odd.py", cwd=tmp_path) as script:
        assert script.stdout is not None
        assert script.stdout.readline().strip() == "ready"
        run.env |= env
        try:
            _look_at_all(run)
        finally:
            run("kill", "-s", "KILL", "3")


def _look_at_all(run: Rack) -> None:
    lists = ["ps", "ps --tree", "ps -f json", "ps -f csv", "group list", "why 4", "why 5", "logs 5"]
    for words in [*lists, "shm get é", "shm ls", "shm ls -f json", "fs ls", "pipe list", "fs cat é"]:
        done = run(*words.split(), errors="surrogateescape")
        assert done.returncode == 0, (words, done.stderr)
        assert "codec" not in done.stderr, (words, done.stderr)
        assert done.stdout or words == "logs 5", words
