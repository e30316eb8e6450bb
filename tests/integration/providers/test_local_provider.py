"""The local provider with real processes: every end is told once, and then nothing is left."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from localdriver import (
    MB,
    TIMEOUT,
    Driver,
    act,
    await_ends,
    closing_provider,
    is_alive,
    nothing_is_left,
    reap_if_ours,
    server_of,
)
from support import HELPERS

from rackactor_runtime.providers.base import Created, CreateFailed, Ended, Key, Liveness, Order
from rackactor_runtime.providers.local import LocalProvider


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    with nothing_is_left():
        yield


@pytest.mark.parametrize(
    "do, args, code, signum",
    [
        ("exit", (0,), 0, None),
        ("exit", (7,), 7, None),
        ("exit", (256,), 0, None),
        ("exit", (-1,), 255, None),
        ("leave", (None,), 0, None),
        ("leave", (9,), 9, None),
        ("leave", ("words",), 1, None),
        ("leave_at_once", (41,), 41, None),
        ("raise", ("ValueError",), 70, None),
        ("raise", ("KeyboardInterrupt",), None, signal.SIGINT),
        ("say_and_die", (signal.SIGSEGV,), None, signal.SIGSEGV),
        ("say_and_die", (signal.SIGKILL,), None, signal.SIGKILL),
        ("say_and_die", (signal.SIGTERM,), None, signal.SIGTERM),
    ],
)
def test_exit_status(driver: Driver, do: str, args: tuple[Any, ...], code: int | None, signum: int | None) -> None:
    key = driver.create(do, *args)
    assert driver.ended(key) == Ended(key, code, signum)
    assert isinstance(driver.events[0], Created)


def test_killed_from_outside(driver: Driver) -> None:
    key = driver.create("wait")
    [ospid] = driver.heard(key)
    assert driver.os_pid(key) == ospid
    os.kill(ospid, signal.SIGKILL)
    assert driver.ended(key) == Ended(key, None, signal.SIGKILL)


def test_words_of_an_exception_and_of_sys_exit(driver: Driver) -> None:
    raised, left = driver.create("raise", "ValueError"), driver.create("leave", "so long")
    driver.ended(raised)
    driver.ended(left)
    assert b"ValueError: no good" in driver.output(raised, 2)
    assert driver.output(left, 2) == b"so long\n"


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSEGV])
def test_last_words_come_before_the_end(driver: Driver, signum: int) -> None:
    key = driver.create("say_and_die", signum)
    driver.ended(key)
    assert driver.output(key) == b"last words"
    assert driver.output(key, 2).startswith(b"last groans")


def test_output_waits_for_credit_and_every_byte_arrives(driver: Driver) -> None:
    key = driver.create("write", MB)
    driver.collect(lambda: len(driver.output(key)) == 65536)
    driver.quiet()
    assert len(driver.output(key)) == 65536
    assert driver.provider.probe(key) is Liveness.RUNNING
    granted = 65536
    while granted < MB:
        driver.provider.grant_output(key, 100_000)
        granted = min(MB, granted + 100_000)
        driver.collect(lambda wanted=granted: len(driver.output(key)) >= wanted)  # type: ignore[misc]
    assert driver.ended(key).code == 0
    assert driver.output(key) == random.Random(MB).randbytes(MB)


def test_a_deleted_process_that_waits_for_credit_ends(driver: Driver) -> None:
    key = driver.create("write", MB)
    driver.collect(lambda: len(driver.output(key)) == 65536)
    driver.provider.delete(key)
    assert driver.ended(key).signal == signal.SIGKILL


@pytest.mark.parametrize("stay", [True, False], ids=["deleted", "exits"])
def test_daemons_end_with_their_process(driver: Driver, stay: bool) -> None:
    other = driver.create("wait")
    key = driver.create("daemons", 3, stay)
    daemons = driver.heard(key)
    if stay:
        assert all(map(is_alive, daemons))
        driver.provider.delete(key)
    end = driver.ended(key)
    assert (end.code, end.signal, end.note) == ((None, 9, "") if stay else (0, None, ""))
    assert not any(map(is_alive, daemons))
    assert driver.provider.probe(other) is Liveness.RUNNING


def test_a_chain_of_forks_is_caught(driver: Driver) -> None:
    key = driver.create("chain")
    assert driver.ended(key) == Ended(key, 0, None)


def test_a_growing_tree_is_caught(driver: Driver) -> None:
    key = driver.create("bomb", 6)
    assert driver.ended(key) == Ended(key, 0, None)


def test_stopped_process_is_seen_and_deleted(driver: Driver) -> None:
    key = driver.create("wait")
    [ospid] = driver.heard(key)
    assert driver.provider.probe(key) is Liveness.RUNNING
    os.kill(ospid, signal.SIGSTOP)
    until = time.monotonic() + TIMEOUT
    while driver.provider.probe(key) is not Liveness.STOPPED:
        assert time.monotonic() < until
    driver.provider.delete(key)
    assert driver.ended(key).signal == signal.SIGKILL
    assert driver.provider.probe(key) is Liveness.GONE


def test_many_at_once(driver: Driver) -> None:
    keys = [driver.create("exit", number % 256) for number in range(200)]
    driver.collect(lambda: sum(isinstance(e, Ended) for e in driver.events) == len(keys))
    assert [driver.ended(key).code for key in keys] == [number % 256 for number in range(200)]


def test_delete_before_the_fork_of_the_unknown_and_of_the_ended(driver: Driver) -> None:
    keys = [driver.create("wait") for _ in range(40)]
    for key in [*keys, *keys, Key(4711, 0)]:
        driver.provider.delete(key)
    for key in keys:
        assert driver.ended(key).signal == signal.SIGKILL
    driver.provider.delete(keys[0])
    driver.provider.grant_output(keys[0], 5)
    driver.quiet()
    created = sum(isinstance(e, Created) for e in driver.events)
    assert created < len(keys), "the last of the queue were never started"


def test_a_second_process_of_a_living_key_is_refused(driver: Driver) -> None:
    key = driver.create("wait")
    with pytest.raises(ValueError, match="exists"):
        driver.provider.create(Order(key, {}))


def test_where_a_process_finds_itself(driver: Driver, tmp_path: Path) -> None:
    key = driver.create("facts", cwd=str(tmp_path), env={"RACK_TEST": "a b"})
    plain = driver.create("facts")
    [facts], [other] = driver.heard(key), driver.heard(plain)
    assert facts == {
        "cwd": str(tmp_path),
        "variable": "a b",
        "session": True,
        "descriptors": facts["descriptors"],
        "stdin": "",
        "signals": facts["signals"],
        "interrupt": True,
        "mask": [],
        "seekable": False,
    }
    assert sorted(facts["signals"]) == [signal.SIGPIPE, signal.SIGXFSZ]
    assert (other["cwd"], other["variable"]) == (os.getcwd(), None)


def test_children_get_the_descriptor_limit_that_the_supervisor_began_with() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
    driver = Driver(LocalProvider({}, "", entry=act))
    try:
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
        [facts] = driver.heard(driver.create("facts"))
        assert facts["descriptors"] == 512
    finally:
        driver.provider.close(5)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_siblings_draw_different_numbers(driver: Driver) -> None:
    assert driver.heard(driver.create("draw")) != driver.heard(driver.create("draw"))


@pytest.mark.parametrize(
    "options, words",
    [
        ({"cwd": "/nowhere/at/all"}, "cannot enter directory '/nowhere/at/all': No such file or directory"),
        ({"cwd": "/etc/passwd"}, "cannot enter directory '/etc/passwd': Not a directory"),
        ({"env": {"A=B": "c"}}, "not a name of an environment variable: 'A=B'"),
        ({"env": {"A": "\0"}}, "the environment variable A holds a null character"),
    ],
)
def test_what_cannot_be_made_is_said_in_words(driver: Driver, options: dict[str, Any], words: str) -> None:
    assert driver.failed(driver.create("exit", 0, **options)) == words
    assert driver.ended(driver.create("exit", 3)).code == 3


def test_a_birth_that_cannot_be_sent_fails(driver: Driver) -> None:
    assert "cannot pass on the order" in driver.failed(driver.create("exit", object()))


def test_a_child_has_no_descriptor_of_its_siblings(driver: Driver) -> None:
    siblings = [driver.create("wait") for _ in range(50)]
    for sibling in siblings:
        driver.os_pid(sibling)
    # 3 is the directory that is being listed.
    assert driver.heard(driver.create("open_files")) == ["0", "1", "2", "3"]


def test_a_module_that_cannot_be_preloaded_is_noted() -> None:
    driver = Driver(LocalProvider({"preload": ["no.such.module", "colorsys"]}, "", entry=act))
    with closing_provider(driver.provider):
        assert driver.ended(driver.create("exit", 4)).code == 4
        [note] = driver.provider.notes
        assert note.startswith("cannot preload 'no.such.module'")


def test_close_ends_what_lives_and_tells_it() -> None:
    driver = Driver(LocalProvider({}, "", entry=act))
    key = driver.create("daemons", 2, True)
    daemons = driver.heard(key)
    driver.provider.close(5)
    driver.provider.close(5)
    driver.events += driver.provider.events()
    assert driver.ended(key).signal == signal.SIGKILL
    assert not any(map(is_alive, daemons))
    assert not driver.provider.fds()
    driver.provider.create(Order(Key(77, 0), {}))
    assert driver.provider.events() == [CreateFailed(Key(77, 0), "the provider is closed")]


def test_close_of_a_fork_server_that_does_not_answer() -> None:
    driver = Driver(LocalProvider({}, "", entry=act))
    key = driver.create("daemons", 2, True)
    daemons = driver.heard(key)
    os.kill(server_of(driver, key), signal.SIGSTOP)
    began = time.monotonic()
    driver.provider.close(0.3)
    assert time.monotonic() - began < 2
    driver.events += driver.provider.events()
    assert driver.ended(key).signal == signal.SIGKILL
    assert not any(map(is_alive, daemons))


def test_fork_server_killed(driver: Driver) -> None:
    plain, parent = driver.create("wait"), driver.create("daemons", 3, True)
    daemons = driver.heard(parent)
    os.kill(server_of(driver, parent), signal.SIGKILL)
    for key in (plain, parent):
        end = driver.ended(key)
        assert end.signal == signal.SIGKILL
        assert "fork server died" in end.note
    assert not any(map(is_alive, daemons))
    assert "fork server died" in driver.failed(driver.create("exit", 0))


def test_fork_server_killed_leaves_another_of_the_same_process_alone(driver: Driver) -> None:
    other = Driver(LocalProvider({}, "", entry=act))
    with closing_provider(other.provider):
        theirs, ours = other.create("wait"), driver.create("wait")
        other.heard(theirs)
        os.kill(server_of(driver, ours), signal.SIGKILL)
        driver.ended(ours)
        assert other.provider.probe(theirs) is Liveness.RUNNING
        assert other.ended(other.create("exit", 5)).code == 5


SUPERVISOR = """
import json, os, signal, sys
sys.path[:0] = {path!r}
import localdriver as t
driver = t.Driver(t.LocalProvider({{}}, {state!r}, entry=t.act))
keys = [driver.create("daemons", 2, True), driver.create("wait"), driver.create("write", 2**20)]
pids = driver.heard(keys[0]) + [driver.os_pid(key) for key in keys]
print(json.dumps([t.server_of(driver, keys[0]), *pids]), flush=True)
signal.pause()
"""


@pytest.mark.parametrize("also_stopped", [False, True])
def test_supervisor_killed(tmp_path: Path, also_stopped: bool) -> None:
    state = tmp_path / "state"
    (state / "deep").mkdir(parents=True)
    (state / "deep" / "socket").touch()
    code = SUPERVISOR.format(path=[str(HELPERS), *sys.path], state=str(state))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdout is not None
        pids = json.loads(supervisor.stdout.readline())
        lives = [os.pidfd_open(ospid) for ospid in pids]
        if also_stopped:
            os.kill(pids[-2], signal.SIGSTOP)
        supervisor.kill()
        supervisor.wait()
        try:
            await_ends(lives, 2.0)
        finally:
            for life in lives:
                os.close(life)
    # This process may be a subreaper by now, and then the fork server's end is its to hear.
    reap_if_ours(pids[0])
    assert not any(map(is_alive, pids[1:]))
    assert not state.exists()
