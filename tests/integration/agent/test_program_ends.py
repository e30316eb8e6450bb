"""What a program wrote is there when it has ended, as if Python had ended it: in scripts, functions and actors."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import endings
import pytest
from rackcommand import Rack, a_rack
from support import FEW_WARM, HELPERS, eventually

import rackactor as rack
from rackactor.status import Cause

ENOUGH = 60.0
PROGRAM = HELPERS / "endings.py"


@pytest.fixture
def here() -> Iterator[rack.Group]:
    with rack.group("ends", grace=2.0, end_grace=0.5, provider_settings=FEW_WARM, echo=False) as made:
        yield made


@pytest.fixture
def command() -> Iterator[Rack]:
    with a_rack() as made:
        yield made


@pytest.mark.parametrize("way", ["return", "raise", "exit"])
def test_a_script_ends_as_python_ends_it(command: Rack, tmp_path: Path, way: str) -> None:
    ends = {}
    for name in ("python", "rack"):
        place = tmp_path / name
        place.mkdir()
        words = [str(PROGRAM), str(place), way]
        if name == "python":
            done = subprocess.run([sys.executable, *words], text=True, capture_output=True, timeout=ENOUGH, check=False)
        else:
            done = command("run", *words)
        ends[name] = (done.returncode, done.stdout, re.sub("(?m)^  .*\n", "", done.stderr))
    assert ends["rack"] == ends["python"]
    assert endings.written(tmp_path / "rack") == endings.WRITTEN
    theirs = endings.WRITTEN | endings.written(tmp_path / "python")
    assert {name for name in theirs if theirs[name] != endings.WRITTEN.get(name)} <= endings.OURS


@pytest.mark.parametrize("way", ["return", "raise", "exit", "rack.exit"])
@pytest.mark.parametrize("by_value", [False, True], ids=["imported", "by value"])
def test_a_function(here: rack.Group, tmp_path: Path, way: str, by_value: bool) -> None:
    target = (lambda place, way: endings.leave_open(place, way)) if by_value else endings.leave_open
    child = here.fork(target, str(tmp_path), way)
    status = child.wait(ENOUGH)
    assert (status.code, status.cause) == {
        "return": (0, Cause.EXITED),
        "raise": (1, Cause.EXCEPTION),
        "exit": (3, Cause.EXITED),
        "rack.exit": (3, Cause.EXITED),
    }[way], status
    assert endings.written(tmp_path) == endings.WRITTEN
    if way == "return":
        assert child.result() == "return"


@pytest.mark.parametrize("way", ["return", "raise", "exit", "exit itself", "exit request", "TERM"])
def test_an_actor(here: rack.Group, tmp_path: Path, way: str) -> None:
    from thespian.actors import ActorExitRequest

    child = here.fork(endings.Leaver)
    if way == "exit":
        child.tell((str(tmp_path), way))
    else:
        assert child.ask((str(tmp_path), way)) == "left"
    if way == "TERM":
        child.kill()
    elif not way.startswith("exit") or way == "exit request":
        child.tell(ActorExitRequest())
    status = child.wait(ENOUGH)
    assert status.code == {"exit": 3, "exit itself": 3, "TERM": 143}.get(way, 0), status
    assert endings.written(tmp_path) == {**endings.WRITTEN, "own": "data"}


def test_a_function_of_the_programs_main_file(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import rackactor as rack\n"
        "def work(place):\n"
        "    global file\n"
        "    file = open(place, 'w')\n"
        "    file.write('data')\n"
        "if __name__ == '__main__':\n"
        f"    print(rack.fork(work, {str(tmp_path / 'written')!r}).wait().cause)\n"
    )
    done = subprocess.run([sys.executable, tmp_path / "program.py"], text=True, capture_output=True, timeout=ENOUGH)
    assert (done.stdout, (tmp_path / "written").read_text()) == ("exited\n", "data"), done.stderr


# -- threads that go on ------------------------------------------------------------------------------------


def go_on(mark: str) -> int:
    def forever() -> None:
        Path(mark).touch()
        threading.Event().wait()

    threading.Thread(target=forever, name="the endless one").start()
    return 7


class Starter(rack.Actor):
    def receiveMsg_str(self, mark: str, sender: Any) -> None:
        go_on(mark)
        self.exit(0)


@pytest.mark.parametrize("kind", ["function", "actor"])
def test_a_thread_that_never_ends_keeps_its_process_until_that_is_told_to_end(
    here: rack.Group, tmp_path: Path, kind: str
) -> None:
    mark = tmp_path / "mark"
    if kind == "function":
        child = here.fork(go_on, str(mark))
    else:
        child = here.fork(Starter)
        child.tell(str(mark))
    assert eventually(mark.exists)
    said = child.stderr.readline().decode()
    assert "has done its work, and waits for its threads: the endless one" in said
    assert child.info()["state"] == "running"
    child.kill()
    assert child.wait(ENOUGH).signal == signal.SIGTERM


def test_a_thread_that_never_ends_is_subject_to_the_deadline(here: rack.Group, tmp_path: Path) -> None:
    child = here.fork(go_on, str(tmp_path / "mark"), deadline=1.0)
    assert child.wait(ENOUGH).cause == Cause.DEADLINE


def test_an_interrupt_ends_the_wait_for_threads_as_in_python(here: rack.Group, tmp_path: Path) -> None:
    child = here.fork(go_on, str(tmp_path / "mark"))
    assert eventually((tmp_path / "mark").exists)
    assert b"waits for its threads" in child.stderr.readline()
    child.kill("INT")
    assert child.result(ENOUGH) == 7
    assert b"KeyboardInterrupt" in child.stderr.read()


def test_daemon_threads_neither_keep_a_process_nor_are_heard(here: rack.Group, tmp_path: Path) -> None:
    def work(place: str) -> None:
        file = open(place, "w")  # noqa: SIM115
        file.write("data")

        def spin() -> None:
            while True:
                file.name.upper()
                helper()

        threading.Thread(target=spin, daemon=True).start()

    def helper() -> None:
        time.sleep(0.0001)

    child = here.fork(work, str(tmp_path / "file"))
    assert child.wait(ENOUGH).ok
    assert (tmp_path / "file").read_text() == "data"
    assert child.stderr.read() == b""


# -- the group's own things ----------------------------------------------------------------------------------


def test_text_that_is_still_in_the_buffer_of_a_pipe(here: rack.Group) -> None:
    reader, writer = here.pipe()

    def work() -> None:
        global kept
        kept = writer.file()  # type: ignore[name-defined]
        kept.write("the last words")  # type: ignore[name-defined]

    child = here.fork(work)
    writer.close()
    assert reader.file("rb").read() == b"the last words"
    assert child.wait(ENOUGH).ok


def test_what_goes_with_a_program_that_failed_closes_no_pipe(here: rack.Group) -> None:
    reader, writer = here.pipe()

    def work() -> None:
        global kept
        kept = writer.file()
        kept.write("half of it")
        raise LookupError

    child = here.fork(work)
    writer.close()
    with pytest.raises(rack.PipeBroken):
        list(reader)
    assert child.wait(ENOUGH).cause == Cause.EXCEPTION


def test_a_file_of_the_group_that_was_not_closed_leaves_nothing(here: rack.Group) -> None:
    def work() -> None:
        global kept
        kept = rack.open("/unfinished", "w")  # type: ignore[name-defined]
        kept.write("half")  # type: ignore[name-defined]

    assert here.fork(work).wait(ENOUGH).ok
    assert here.listdir("/") == []


def test_a_handler_that_comes_too_late_finds_nothing_and_does_no_harm(here: rack.Group) -> None:
    def work() -> None:
        signal.signal(signal.SIGUSR1, lambda *_: None)
        rack.signal("late", lambda *_: None)
        rack.process(rack.getppid()).tell("ready")

    for _ in range(5):
        child = here.fork(work)
        rack.receive(ENOUGH)
        for sig in ("USR1", "late"):
            try:
                child.kill(sig)
            except rack.NoSuchProcess:
                pass
        status = child.wait(ENOUGH)
        assert (status.ok, status.evidence) == (True, ""), status


def test_large_words_in_a_hook_and_a_large_result(here: rack.Group) -> None:
    import atexit

    reader, writer = here.pipe()

    def work() -> bytes:
        writer.send(bytes(1 << 20))
        atexit.register(writer.send, bytes(2 << 20))
        return bytes(3 << 20)

    child = here.fork(work)
    writer.close()
    assert [len(part) for part in reader] == [1 << 20, 2 << 20]
    assert len(child.result(ENOUGH)) == 3 << 20
