"""Pipes, shared memory, files and pipelines from the command line: inside a process, and from outside."""

from __future__ import annotations

import json
import logging
import os
import pty
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rackcommand import BIN, RACK, Rack, a_rack
from support import eventually

import rackactor
from rackactor.cli import copying
from rackactor.cli.main import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def rack() -> Iterator[Rack]:
    with a_rack() as made:
        yield made


@pytest.fixture(scope="module")
def group() -> Iterator[rackactor.Group]:
    """A group for the commands that leave nothing to the next ones."""
    with rackactor.group("cli", provider_settings={"warm": 0}) as made:
        made.fs.exists("/")  # the service that this starts outlives the test
        yield made


@pytest.fixture
def run(group: rackactor.Group, capfd: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Run a command of ours in this very process (a program of its own takes a third of a second to start)."""
    handlers = list(logging.root.handlers)

    def call(*words: Any) -> tuple[int, str, str]:
        if words[0] == "pipeline":  # it leaves threads to its end, and its standard input to them
            command = [RACK, "pipeline", "-g", group.gid, *words[1:]]
            done = subprocess.run(command, input="", text=True, capture_output=True, timeout=120, check=False)
            return done.returncode, done.stdout, done.stderr
        code = main([*map(str, words[:2]), "-g", group.gid, *map(str, words[2:])])
        logging.root.handlers[:] = handlers
        out, err = capfd.readouterr()
        return code, out, err

    yield call
    logging.root.handlers[:] = handlers


# -- shared memory -----------------------------------------------------------------------------------------


def test_values_go_in_and_come_out(run: Run, group: rackactor.Group) -> None:
    assert run("shm", "set", "text", "two words") == (0, "", "")
    assert run("shm", "get", "text") == (0, "two words\n", "")
    assert run("shm", "set", "--json", "list", '[1, "a", null]') == (0, "", "")
    assert (group.shm["list"], run("shm", "get", "list")[1]) == ([1, "a", None], '[1, "a", null]\n')
    group.shm["raw"] = b"\x00\xff"
    group.shm["odd"] = {1, 2}
    assert run("shm", "get", "odd")[1].startswith("pickle, ")
    assert run("shm", "get", "--unpickle", "odd")[1] == "{1, 2}\n"
    shown = json.loads(run("shm", "ls", "-f", "json")[1])
    assert {row["Key"]: row["Value"] for row in shown}["raw"] == "\x00\\xff"
    assert [row["Key"] for row in json.loads(run("shm", "ls", "l", "-f", "json")[1])] == ["list"]
    assert run("shm", "rm", "text", "list", "raw", "odd") == (0, "", "")


def test_what_is_not_there(run: Run) -> None:
    words = "rack: shared memory has no key 'no'\n"
    assert run("shm", "get", "no") == (1, "", words)
    assert run("shm", "get", "--default", "", "no") == (0, "\n", "")
    assert run("shm", "rm", "no") == (1, "", words)
    assert run("shm", "ls", "no", "-f", "value")[1].strip() == ""


def test_counting_and_comparing(run: Run) -> None:
    assert [run("shm", "incr", "n")[1], run("shm", "incr", "n", "-3")[1]] == ["1\n", "-2\n"]
    assert run("shm", "cas", "n", "-2", "7") == (0, "", "")
    assert run("shm", "cas", "n", "-2", "8") == (1, "", "rack: n is 7\n")
    assert run("shm", "incr", "n")[1] == "8\n"  # it is a number still
    assert run("shm", "cas", "--absent", "n", "1") == (1, "", "rack: n is 8\n")
    assert run("shm", "cas", "m", "1", "2") == (1, "", "rack: m does not exist\n")
    assert run("shm", "cas", "--absent", "m", "one") == (0, "", "")
    code, _, words = run("shm", "incr", "m")
    assert (code, words.count("\n")) == (1, 1)
    assert words.startswith("rack: the value of 'm' is no integer")
    assert words.endswith("(a number is set by `rack shm set --json m 5`)\n")
    run("shm", "rm", "n", "m")


def test_watching(run: Run, group: rackactor.Group) -> None:
    start = group.shm.revision
    group.shm["w/a"] = "one line"
    group.shm["elsewhere"] = 0
    group.shm["w/b"] = "two\nlines"
    del group.shm["w/a"], group.shm["w/b"], group.shm["elsewhere"]
    lines = run("shm", "watch", "w/", "--from-revision", start + 1, "-n", 3)[1].splitlines()
    assert lines == [f"{start + 1} put w/a one line", f'{start + 3} put w/b "two\\nlines"', f"{start + 4} delete w/a"]
    first, *_, last = run("shm", "watch", "w/", "--from-revision", start + 1, "-n", 4, "-f", "json")[1].splitlines()
    assert json.loads(first) == {"revision": start + 1, "change": "put", "key": "w/a", "value": "one line"}
    assert json.loads(last) == {"revision": start + 5, "change": "delete", "key": "w/b"}


def test_wrong_words(run: Run) -> None:
    for words in (
        ["shm", "set", "k"],
        ["shm", "set", "--json", "k", "five"],
        ["shm", "set", "--lease", "k", "v"],
        ["shm", "cas", "k", "v"],
        ["shm", "watch", "-n", 0],
        ["pipe", "read", "-n", 0, "p"],
        ["fs", "cp", "a", "b"],
    ):
        code, out, err = run(*words)
        assert (code, out, err.count("\n")) == (1, "", 1), words
        assert err.startswith("rack: "), words


# -- files -------------------------------------------------------------------------------------------------


def test_files_into_the_group_within_it_and_out_of_it(run: Run, group: rackactor.Group, tmp_path: Path) -> None:
    (tmp_path / "tree/below").mkdir(parents=True)
    (tmp_path / "tree/a").write_bytes(b"\x00a" * 100_000)
    (tmp_path / "tree/below/b").write_text("b\n")
    assert run("fs", "cp", "-r", tmp_path / "tree", "rack:/kept") == (0, "", "")
    assert run("fs", "cp", "-r", "rack:kept", "rack:/kept2")[0] == 0
    assert run("fs", "cp", "-r", "rack:/kept2", tmp_path)[0] == 0
    assert subprocess.run(["diff", "-r", tmp_path / "tree", tmp_path / "kept2"], check=False).returncode == 0
    assert run("fs", "cp", "rack:/kept/below/b", "-") == (0, "b\n", "")
    assert run("fs", "cat", "kept/below/b", "rack:/kept/below/b") == (0, "b\nb\n", "")
    assert run("fs", "ls", "/kept", "-f", "value", "-c", "Name", "-c", "Size")[1] == "a 200000\nbelow/ \n"
    assert run("fs", "mv", "/kept/a", "/kept/below/b", "/kept2")[0] == 0
    assert sorted(group.listdir("/kept2")) == ["a", "b", "below"]
    assert run("fs", "rm", "-r", "/kept", "/kept2") == (0, "", "")
    assert group.listdir("/") == []


def test_files_that_are_not_there_or_in_the_way(run: Run, tmp_path: Path) -> None:
    missing = "rack: rack:/no: No such file or directory\n"
    for words in (["ls", "no"], ["cat", "no"], ["rm", "no"], ["mv", "no", "x"], ["cp", "rack:/no", tmp_path]):
        assert run("fs", *words) == (1, "", missing), words
    local = tmp_path / "no"
    assert run("fs", "cp", local, "rack:/")[2] == f"rack: {local}: No such file or directory\n"
    assert run("fs", "rm", "-f", "no") == (0, "", "")
    assert run("fs", "mkdir", "/a/b")[2] == "rack: rack:/a/b: No such file or directory\n"
    assert run("fs", "mkdir", "-p", "/a/b") == run("fs", "mkdir", "-p", "/a/b") == (0, "", "")
    assert run("fs", "mkdir", "/a")[2] == "rack: rack:/a: File exists\n"
    assert run("fs", "rm", "/a")[2].startswith("rack: rack:/a is a directory: -r removes it")
    assert run("fs", "cp", tmp_path, "rack:/x")[2].startswith(f"rack: {tmp_path} is a directory: -r copies it")
    assert run("fs", "cp", "-r", "rack:/a", "rack:/a/b")[2] == "rack: /a cannot be copied into itself\n"
    assert run("fs", "rm", "-r", "/a")[0] == 0


def test_a_copy_that_fails_leaves_nothing(
    group: rackactor.Group, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(bytes(3 << 20))
    (tmp_path / "sub").mkdir()

    class Failing(copying._Here):
        def open(self, path: str, mode: str) -> Any:
            file = super().open(path, mode)
            read, parts = file.read, iter(range(2))

            class Torn:
                def __enter__(self) -> Torn:
                    return self

                def __exit__(self, *_: object) -> None:
                    file.close()

                def read(self, size: int) -> bytes:
                    if next(parts, None) is None:
                        raise OSError(5, "Input/output error", path)
                    return bytes(read(size))

            return Torn()

    monkeypatch.setattr(copying, "_Here", Failing)
    with pytest.raises(OSError, match="Input/output"):
        copying.copy(group, [str(tmp_path / "a")], "rack:/whole", recursive=False)
    assert group.listdir("/") == []


def test_large_copies_show_how_far_they_are(rack: Rack, tmp_path: Path) -> None:
    large = tmp_path / "large"
    with open(large, "wb") as file:
        file.truncate(copying.LARGE)
    screen, terminal = pty.openpty()
    words = f"{RACK} fs cp {large} rack:/large; {RACK} fs ls -f value -c Size"
    inside = f"exec 2>{os.ttyname(terminal)}; {words}"
    done = rack("run", "--", "sh", "-c", inside)
    os.close(terminal)
    shown = os.read(screen, 65536)
    os.close(screen)
    assert (done.returncode, done.stdout) == (0, f"{copying.LARGE}\n")
    assert b"MB" in shown


# -- pipes -------------------------------------------------------------------------------------------------


def test_values_of_pipes(run: Run, group: rackactor.Group) -> None:
    with group.pipe("values", "w") as pipe:
        for value in ("text", b"raw", 5, ["list"], "a line\n"):
            pipe.send(value)
        row = json.loads(run("pipe", "list", "-f", "json")[1])[0]
        assert (row["Name"], row["Readers"], row["Writers"]) == ("values", [], [group.getpid()])
        assert run("pipe", "read", "-n", 2, "values") == (0, "text\nraw", "")
    assert run("pipe", "read", "values") == (0, '5\n["list"]\na line\n', "")


def test_pipes_of_a_shell(rack: Rack) -> None:
    text = """
        seq 20000 | rack pipe write numbers &
        rack pipe read numbers | md5sum; seq 20000 | md5sum
        seq 5 | rack pipe write -l lines; rack pipe read -n 2 lines; echo; rack pipe read lines
        yes | rack pipe write endless & writer=$!
        rack pipe read endless | head -1; wait $writer; echo "the writer: $?"
    """
    done = rack("run", "--", "sh", "-c", text)
    assert (done.returncode, done.stderr) == (0, "")
    one, other, *rest = done.stdout.splitlines()
    assert one == other
    assert rest == ["1", "2", "", "3", "4", "5", "y", "the writer: 141"]


def test_a_writer_that_dies_is_no_end_of_the_pipe(group: rackactor.Group, run: Run) -> None:
    def die() -> None:
        pipe = rackactor.pipe("broken", "w")
        pipe.send("last words")
        pipe.flush()
        os.kill(os.getpid(), signal.SIGKILL)

    dying = group.fork(die)
    code, out, err = run("pipe", "read", "broken")
    assert (code, out) == (1, "last words\n")
    assert err.startswith("rack: ")
    assert err.count("\n") == 1
    assert dying.wait(10).code == 137


def test_a_reader_of_ours_that_goes_is_noticed_while_nothing_comes(group: rackactor.Group) -> None:
    with group.pipe("quiet", "w") as pipe:
        pipe.send("first")
        words = f"{RACK} pipe read -g {group.gid} quiet | head -1"
        done = subprocess.run(["bash", "-o", "pipefail", "-c", words], capture_output=True, timeout=120, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (141, b"first\n", b"")
    watch = f"{RACK} shm watch -g {group.gid} --from-revision 1 | head -1"
    group.shm["seen"] = 1
    done = subprocess.run(["bash", "-o", "pipefail", "-c", watch], capture_output=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (141, b"")


# -- pipelines ---------------------------------------------------------------------------------------------


def test_a_pipeline_with_a_stage_of_several(rack: Rack) -> None:
    done = rack("pipeline", "seq 3000", "sed s/^/x/", "-n", 3, "sort -V", "sha1sum")
    text = "".join(f"x{n}\n" for n in range(1, 3001))
    expected = subprocess.run(["sha1sum"], input=text, capture_output=True, text=True, check=True).stdout
    assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")


def test_input_is_shared_by_the_first_and_errors_come_from_all(rack: Rack) -> None:
    lines = "".join(f"{n}\n" for n in range(500))
    done = rack("pipeline", "echo one >&2; cat", "-n", 2, "echo two >&2; sort -n", input=lines)
    assert (done.returncode, done.stdout, sorted(done.stderr.split())) == (0, lines, ["one", "one", "two"])


@pytest.mark.parametrize("codes", [(3, 0), (3, 4, 0)])
def test_the_exit_status_is_that_of_pipefail(group: rackactor.Group, run: Run, codes: tuple[int, ...]) -> None:
    stages = [f"cat; exit {code}" for code in codes]
    bash = subprocess.run(["bash", "-o", "pipefail", "-c", " | ".join(f"({stage})" for stage in stages)], check=False)
    assert run("pipeline", *stages) == (bash.returncode, "", "")


def test_head_stops_the_pipeline(group: rackactor.Group, run: Run) -> None:
    assert run("pipeline", "yes", "cat", "head -1") == (141, "y\n", "")
    assert [row for row in group.ps() if not row["ended"] and row["kind"] == "command"] == []


def test_whoever_stops_reading_us_stops_the_pipeline(group: rackactor.Group) -> None:
    words = f"PATH={BIN}:$PATH; rack pipeline -g {group.gid} 'yes' 'cat' </dev/null | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", words], capture_output=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (141, b"y\n", b"")
    assert [row for row in group.ps() if not row["ended"] and row["kind"] == "command"] == []


def test_ctrl_c_goes_to_all_of_a_pipeline(rack: Rack) -> None:
    # exec: a shell that is about to start a program when the signal comes swallows it.
    running = rack.start("pipeline", "echo up >&2; exec sleep 60", "cat", start_new_session=True)
    assert running.stderr is not None
    assert running.stderr.readline() == "up\n"
    os.killpg(running.pid, signal.SIGINT)
    assert running.wait(10) == 130
    running.communicate()


def test_what_is_no_pipeline(run: Run) -> None:
    assert main(["pipeline", "cat", " "]) == 1
    code, out, err = run("pipeline", "no-such-command", "cat")
    assert (code, out) == (127, "")
    assert "no-such-command" in err


def test_a_pipeline_that_cannot_be_whole_leaves_nothing_in_its_group() -> None:
    with rackactor.group("few", max_spawns=1, spawn_period=60.0, provider_settings={"warm": 0}) as few:
        command = [RACK, "pipeline", "-g", few.gid, "sleep 100", "cat"]
        done = subprocess.run(command, input="", text=True, capture_output=True, timeout=120, check=False)
        assert done.returncode == 1
        assert "max_spawns" in done.stderr
        assert eventually(lambda: [row for row in few.ps() if not row["ended"] and row["kind"] == "command"] == [])
