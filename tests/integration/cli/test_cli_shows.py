"""What `rack` shows of others' things: data as data, no escape sequence of theirs, no pickle opened, no long lines."""

from __future__ import annotations

import fcntl
import json
import os
import pickle
import pty
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rackcommand import RACK, Rack, a_rack
from rich.cells import cell_len

import rackactor
from rackactor.system.readiness import readable

pytestmark = pytest.mark.timeout(120)

#: Would clear the screen, tear a table, and turn what follows around.
NASTY = "a\x1b[2J\nb\u202ec\x9b1m\r"
SHOWN = "a\\x1b[2J\\nb\\u202ec\\x9b1m\\r"


@pytest.fixture(scope="module")
def rack() -> Iterator[Rack]:
    with a_rack() as made:
        yield made


@pytest.fixture(scope="module")
def group(rack: Rack) -> Iterator[rackactor.Group]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", rack.env["XDG_RUNTIME_DIR"])
        with rackactor.group("shows", provider_settings={"warm": 0}, echo=False) as made:
            made.fork(["sh", "-c", f"printf '%s' '{NASTY}'; kill -TERM $$", NASTY], name=NASTY)
            made.fork(["sleep", "600"], name="living")
            assert rack("wait", 3).returncode == 143  # and it stays in the table
            made.shm[NASTY] = NASTY
            made.shm["plain"] = {"n": 5, "text": NASTY}
            made.fs.pipe_file(f"/dir/{NASTY}", b"12345")
            yield made


VERBS: dict[str, list[Any]] = {
    "ps": ["ps"],
    "tree": ["ps", "--tree"],
    "value": ["ps", "-f", "value"],
    "why": ["why", 3],
    "wait": ["wait", 3],
    "shm ls": ["shm", "ls"],
    "shm watch": ["shm", "watch", "--from-revision", 1, "-n", 2],
    "fs ls": ["fs", "ls", "/dir"],
    "error": ["shm", "get", NASTY + "?"],
    "another": ["fs", "cat", NASTY + "?"],
}


@pytest.mark.parametrize("words", VERBS.values(), ids=VERBS)
def test_nothing_that_a_terminal_obeys_is_shown(rack: Rack, group: rackactor.Group, words: list[Any]) -> None:
    done = rack(*words)
    shown = (done.stdout + done.stderr).replace("\n", "").replace("\t", "")
    assert all(character.isprintable() for character in shown), shown
    assert "\x9b" not in shown
    assert "\\u202e" in shown


def test_processes_as_data(rack: Rack, group: rackactor.Group) -> None:
    rows = {row["PID"]: row for row in json.loads(rack("ps", "-f", "json").stdout)}
    ended, living = rows[3], rows[4]
    assert (ended["Name"], ended["Code"], ended["Signal"], ended["Cause"]) == (NASTY, 143, 15, "signalled")
    assert ended["Created"] <= ended["Started"] <= ended["Ended"] <= time.time()
    assert ended["Age"] == pytest.approx(ended["Ended"] - ended["Created"], abs=0.002)
    assert [living[name] for name in ("PPID", "PGID", "State", "Code", "Ended")] == [2, 4, "running", None, None]
    tree = json.loads(rack("ps", "--tree", "-f", "json").stdout)
    assert [(row["PID"], row["PPID"]) for row in tree] == [(1, 0), (2, 1), (3, 2), (4, 2)]
    why = json.loads(rack("why", "-f", "json", 3).stdout)
    assert (why["code"], why["signal"], why["cause"], why["name"]) == (143, 15, "signalled", NASTY)
    assert why["ended"] == ended["Ended"]


def test_groups_files_pipes_and_keys_as_data(rack: Rack, group: rackactor.Group) -> None:
    (listed,) = json.loads(rack("group", "list", "-f", "json").stdout)
    shown = json.loads(rack("group", "show", "-f", "json").stdout)
    assert listed["GID"] == shown["gid"] == group.gid
    assert listed["Created"] == shown["created"] == rackactor.groups()[0]["created"]
    assert time.time() - shown["created"] == pytest.approx(shown["age"], abs=60)
    (file,) = json.loads(rack("fs", "ls", "-f", "json", "/dir").stdout)
    assert (file["Name"], file["Type"], file["Size"]) == (NASTY, "file", 5)
    assert file["Modified"] == pytest.approx(time.time(), abs=600)
    (folder,) = (row for row in json.loads(rack("fs", "ls", "-f", "json").stdout) if row["Name"] == "dir")
    assert (folder["Type"], folder["Size"]) == ("directory", None)
    keys = {row["Key"]: row for row in json.loads(rack("shm", "ls", "-f", "json").stdout)}
    assert keys["plain"]["Value"] == {"n": 5, "text": NASTY}
    assert (keys[NASTY]["Value"], keys[NASTY]["Kind"], keys[NASTY]["Lease"]) == (NASTY, "value", None)
    with group.pipe("named", "w"):
        (pipe,) = (row for row in json.loads(rack("pipe", "list", "-f", "json").stdout) if row["Name"] == "named")
    assert (pipe["Readers"], pipe["Writers"]) == ([], [2])


def test_times_are_shown_as_iso_8601(rack: Rack, group: rackactor.Group) -> None:
    from datetime import datetime

    shown = datetime.fromisoformat(rack("group", "show", "-f", "value", "-c", "created").stdout.strip())
    assert shown.tzinfo is not None
    assert abs(shown.timestamp() - json.loads(rack("group", "show", "-f", "json").stdout)["created"]) < 1


# -- on a terminal ---------------------------------------------------------------------------------------


def on_a_terminal(rack: Rack, columns: int, *words: Any) -> str:
    """Run a command on a terminal; return what it has shown."""
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))
    environment = {name: value for name, value in rack.env.items() if name not in ("COLUMNS", "LINES")}
    running = subprocess.Popen([RACK, *map(str, words)], env=environment, stdin=terminal, stdout=terminal)
    os.close(terminal)
    seen = b""
    try:
        while readable([controller], 40) and (data := _read(controller)):
            seen += data
    finally:
        os.close(controller)
        running.wait(20)
    return seen.decode()


def _read(controller: int) -> bytes:
    try:
        return os.read(controller, 4096)
    except OSError:  # the other end is closed
        return b""


@pytest.mark.parametrize("columns", [120, 80, 60, 40, 24])
@pytest.mark.parametrize(
    "words", [["ps"], ["ps", "--tree"], ["group", "list"], ["group", "show"], ["shm", "ls"]], ids=" ".join
)
def test_tables_fit_the_terminal(rack: Rack, group: rackactor.Group, columns: int, words: list[str]) -> None:
    lines = on_a_terminal(rack, columns, *words).splitlines()
    assert all(cell_len(line) <= columns for line in lines), lines
    wanted = {"ps": "living", "group": group.gid[:8], "shm": "plain"}[words[0]]
    assert any(wanted in line for line in lines), lines


def test_tables_are_whole_in_a_pipe(rack: Rack, group: rackactor.Group) -> None:
    header = rack("ps").stdout.splitlines()[1]
    assert header.replace("|", "").split()[:6] == ["PID", "PPID", "PGID", "Name", "Kind", "State"]


def test_a_terminal_gets_no_text_that_it_obeys_and_a_pipe_gets_it_as_it_is(rack: Rack, group: rackactor.Group) -> None:
    group.shm["line"] = "one\x1b[31m\ntwo"
    assert on_a_terminal(rack, 80, "shm", "get", "line") == "one\\x1b[31m\r\ntwo\r\n"
    assert rack("shm", "get", "line").stdout == "one\x1b[31m\ntwo\n"
    group.shm["line"] = b"one\x1b[31m"
    assert on_a_terminal(rack, 80, "shm", "get", "line") == "one\x1b[31m"  # bytes are what was asked for
    csv = on_a_terminal(rack, 80, "ps", "-f", "csv", "-c", "Name")
    assert SHOWN in csv.replace("\\\\", "\\")  # CSV doubles them
    assert "\x1b" not in csv


# -- pickles ---------------------------------------------------------------------------------------------


class Trap:
    """Leaves a trace where it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.trace),)


def _put(group: rackactor.Group, key: str, trap: Trap) -> None:
    group.shm[key] = trap


def _append(group: rackactor.Group, key: str, trap: Trap) -> None:
    group.shm.append(key, "an element")
    group.shm.append(key, trap)


@pytest.mark.parametrize("put, key, changes", [(_put, "trap", 1), (_append, "traps", 2)])
def test_no_pickle_of_a_member_is_opened(
    rack: Rack, group: rackactor.Group, tmp_path: Path, put: Callable[..., None], key: str, changes: int
) -> None:
    trace = tmp_path / "trace"
    begin = group.shm.revision + 1
    put(group, key, Trap(trace))
    got = rack("shm", "get", key)
    assert (got.returncode, got.stderr) == (0, "")
    assert got.stdout.startswith("pickle, ")
    size = int(got.stdout.split()[1])
    assert "pickle, " in rack("shm", "ls", key).stdout
    (row,) = [row for row in json.loads(rack("shm", "ls", "-f", "json", key).stdout) if row["Key"] == key]
    assert row["Value"] is None
    assert row["Kind"] == ("pickle" if put is _put else "list")
    watched = rack("shm", "watch", "--from-revision", begin, "-n", changes)
    assert f"{key} pickle, {size} bytes" in watched.stdout
    cas = rack("shm", "cas", key, "old", "new")
    assert (cas.returncode, cas.stderr) == (1, f"rack: {key} is pickle, {size} bytes\n")
    assert not trace.exists()
    assert rack("shm", "get", "--unpickle", key).returncode == 0
    assert trace.exists()


def test_no_message_of_a_pipe_is_unpickled(rack: Rack, group: rackactor.Group, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    trap, large = Trap(trace), {"trap": Trap(trace), "data": pickle.PickleBuffer(bytearray(200_000))}
    with group.pipe("traps", "w") as pipe:
        for message in ("first", trap, large, 5):
            pipe.send(message)
        first, second, third, fourth = rack("pipe", "read", "-n", 4, "traps").stdout.splitlines()
        assert (first, fourth) == ("first", "5")
        assert second.startswith("pickle, ")
        assert third.startswith("pickle, 200")
    assert not trace.exists()
    with group.pipe("more traps", "w") as pipe:
        pipe.send(trap)
        assert rack("pipe", "read", "--unpickle", "-n", 1, "more traps").returncode == 0
    assert trace.exists()
