"""Processes made ahead of time: an order finds one that is up, and nobody can tell the difference."""

from __future__ import annotations

import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import localdriver as t
import pytest
from support import HELPERS

from rackactor.errors import InvalidCall
from rackactor_runtime.providers.base import Created, Key
from rackactor_runtime.providers.local import LocalProvider, child, linux, protocol, warm_pool
from rackactor_runtime.providers.local.warm_pool import AT_ONCE, COMING_UP, FIRST_WORDS, Pool

SIZE = 3
#: Set by `prepare`: so a process knows that it was warm.
prepared: list[int] = []


def prepare() -> None:
    prepared.append(os.getpid())


def fail() -> None:
    raise RuntimeError("not today")


def act(birth: dict[str, Any]) -> int:
    if birth["do"] == "tell_about_warmth":
        t.say(prepared == [os.getpid()], os.environ.get("PAD", "")[:1])
        return 0
    return t.act(birth)


def make(warm: int = SIZE, prepare: Callable[[], None] = prepare) -> t.Driver:
    return t.Driver(LocalProvider({"warm": warm}, "", entry=act, prepare=prepare))


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    with t.nothing_is_left():
        yield


@pytest.fixture
def driver() -> Iterator[t.Driver]:
    driver = make()
    yield driver
    began = time.monotonic()
    driver.provider.close(5)
    assert time.monotonic() - began < 2
    driver.events += driver.provider.events()
    created = [event for event in driver.events if isinstance(event, Created)]
    assert len({event.key for event in created}) == len(created), "each is told once"
    for event in created:
        assert not t.is_alive(int(event.instance))


def server(driver: t.Driver) -> int:
    return driver.provider._server


def children(ospid: int) -> list[int]:
    with open(f"/proc/{ospid}/task/{ospid}/children", "rb") as file:
        return [int(word) for word in file.read().split()]


def is_waiting(ospid: int) -> bool:
    """Tell whether a warm process is ready: it sleeps, and has nothing open but its streams and the socket."""
    return state(ospid) == "S" and len(os.listdir(f"/proc/{ospid}/fd")) == 4


def state(ospid: int) -> str:
    stat = linux.read_stat(ospid)
    return "" if stat is None else stat.state


def filled(driver: t.Driver, size: int = SIZE) -> list[int]:
    """Wait until the pool is full; return the OS pids, the oldest first."""
    known = {int(event.instance) for event in driver.events if isinstance(event, Created)}
    until = time.monotonic() + t.TIMEOUT
    while True:
        warm = [ospid for ospid in children(server(driver)) if ospid not in known]
        if len(warm) == size and all(map(is_waiting, warm)):
            return warm
        assert time.monotonic() < until, f"{len(warm)} of {size} are ready"
        time.sleep(0.005)


def test_an_order_gets_a_warm_process_and_the_pool_is_filled_again(driver: t.Driver) -> None:
    for _ in range(3):
        warm = filled(driver)
        key = driver.create("tell_about_warmth")
        assert driver.os_pid(key) in warm
        assert driver.heard(key) == [True, ""]
        assert driver.ended(key).code == 0
    assert len(filled(driver)) == SIZE


def test_the_pool_is_full_once_it_is_warmed_up(driver: t.Driver) -> None:
    driver.provider.warm_up(t.TIMEOUT)
    warm = children(server(driver))
    assert len(warm) == SIZE
    assert filled(driver) == warm  # each has said that it is ready, and goes to sleep


def test_nobody_waits_for_longer_than_asked_or_for_what_will_not_be() -> None:
    def hang() -> None:
        time.sleep(t.TIMEOUT)

    for prepare, most in (hang, 0.2), (fail, t.TIMEOUT):
        driver = make(prepare=prepare)
        began = time.monotonic()
        driver.provider.warm_up(most)
        assert time.monotonic() - began < t.TIMEOUT / 2
        driver.provider.close(5)


def test_most_of_the_pool_is_given_back_where_nothing_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    # the fork server is a copy of this process
    monkeypatch.setattr(warm_pool, "REST_AFTER", 2.0)
    monkeypatch.setattr(warm_pool, "RESTING", 2)
    driver = make(warm=5)
    driver.provider.warm_up(t.TIMEOUT)
    filled(driver, 2)
    key = driver.create("wait")
    assert driver.heard(key)
    filled(driver, 3)
    filled(driver, 2)
    driver.provider.delete(key)
    assert driver.ended(key).signal == signal.SIGKILL
    assert driver.provider.notes == [], "none of them died by itself"
    driver.provider.close(5)


def test_the_pool_grows_with_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rackactor_runtime.providers.local.settings.FIRST", 2)
    monkeypatch.setattr("rackactor_runtime.providers.local.settings.WARM", 4)
    driver = t.Driver(LocalProvider({}, "", entry=act, prepare=prepare))
    for size in (2, 3, 4, 4):
        filled(driver, size)
        key = driver.create("tell_about_warmth")
        assert driver.heard(key) == [True, ""]
        assert driver.ended(key).code == 0
    driver.provider.close(5)


def test_more_orders_than_warm_processes(driver: t.Driver) -> None:
    warm = set(filled(driver))
    keys = [driver.create("wait") for _ in range(4 * SIZE)]
    ospids = [driver.heard(key)[0] for key in keys]
    assert len(set(ospids)) == len(keys)
    assert warm <= set(ospids), "all that were ready were used"
    for key in keys:
        driver.provider.delete(key)
        assert driver.ended(key).signal == signal.SIGKILL
    filled(driver)


def test_a_birth_that_is_too_long_for_a_warm_process_is_not_lost(driver: t.Driver) -> None:
    warm = filled(driver)
    short, long = (driver.create("tell_about_warmth", env={"PAD": "x" * size}) for size in (10_000, 3_000_000))
    assert (driver.heard(short), driver.heard(long)) == ([True, "x"], [False, "x"])
    assert driver.os_pid(long) not in warm
    assert set(warm[1:]) <= set(filled(driver)), "it did not cost one either"


def test_where_a_warm_process_finds_itself(driver: t.Driver, tmp_path: Path) -> None:
    warm = filled(driver)
    key = driver.create("facts", cwd=str(tmp_path), env={"RACK_TEST": "a b"})
    plain = driver.create("facts")
    assert {driver.os_pid(key), driver.os_pid(plain)} <= set(warm)
    [facts], [other] = driver.heard(key), driver.heard(plain)
    assert (facts["cwd"], facts["variable"]) == (str(tmp_path), "a b")
    assert (other["cwd"], other["variable"]) == (os.getcwd(), None)
    for found in (facts, other):
        assert (found["session"], found["interrupt"], found["mask"], found["stdin"]) == (True, True, [], "")
        assert sorted(found["signals"]) == [signal.SIGPIPE, signal.SIGXFSZ]


def test_what_cannot_be_made_uses_no_warm_process(driver: t.Driver) -> None:
    warm = filled(driver)
    assert "No such file or directory" in driver.failed(driver.create("exit", 0, cwd="/nowhere"))
    assert "null character" in driver.failed(driver.create("exit", 0, env={"A": "\0"}))
    assert filled(driver) == warm


def test_memory_limit_of_a_warm_process(driver: t.Driver) -> None:
    warm = filled(driver)
    key = driver.create("eat", 500 * t.MB, memory=200 * t.MB)
    assert driver.os_pid(key) in warm
    assert driver.heard(key) == ["no memory"]
    assert driver.ended(key).code == 3


def test_a_warm_process_has_no_descriptor_of_others(driver: t.Driver) -> None:
    for ospid in filled(driver):
        # 0 to 2, and the socket on which it waits.
        assert len(os.listdir(f"/proc/{ospid}/fd")) == 4
    waiting = driver.create("wait")
    driver.heard(waiting)
    assert driver.heard(driver.create("open_files")) == ["0", "1", "2", "3"]


def test_warm_siblings_draw_different_numbers(driver: t.Driver) -> None:
    filled(driver)
    assert driver.heard(driver.create("draw")) != driver.heard(driver.create("draw"))


def test_a_warm_process_that_dies_is_replaced_and_nobody_hears_of_it(driver: t.Driver) -> None:
    warm = filled(driver)
    os.kill(warm[0], signal.SIGKILL)
    until = time.monotonic() + t.TIMEOUT
    while t.is_alive(warm[0]):
        assert time.monotonic() < until
        time.sleep(0.005)
    key = driver.create("exit", 5)
    assert driver.ended(key).code == 5
    assert all(event.key == key for event in driver.events)
    assert warm[0] not in filled(driver)
    assert not driver.provider.notes


def test_a_warm_process_that_dies_without_having_listened(driver: t.Driver) -> None:
    warm = filled(driver)
    os.kill(warm[-1], signal.SIGSTOP)
    driver.provider.expect({"endpoint": "", "server_key": None})
    key = driver.create("exit", 5)
    assert driver.ended(key).code == 5
    assert driver.os_pid(key) == warm[0], "the oldest goes first"
    os.kill(warm[-1], signal.SIGKILL)
    assert warm[-1] not in filled(driver)
    key = driver.create("exit", 6)
    assert driver.ended(key).code == 6
    assert not driver.provider.notes


def test_an_order_whose_warm_process_has_just_died_is_not_lost(driver: t.Driver) -> None:
    warm = filled(driver)
    os.kill(server(driver), signal.SIGSTOP)  # so that it cannot see them die before the orders come
    for ospid in warm:
        os.kill(ospid, signal.SIGKILL)
    until = time.monotonic() + t.TIMEOUT
    while not all(state(ospid) == "Z" for ospid in warm):
        assert time.monotonic() < until
        time.sleep(0.005)
    keys = [driver.create("exit", number) for number in range(SIZE)]
    os.kill(server(driver), signal.SIGCONT)
    assert [driver.ended(key).code for key in keys] == [0, 1, 2]
    assert not {driver.os_pid(key) for key in keys} & set(warm)


def test_processes_that_cannot_be_prepared_are_given_up_with_a_word() -> None:
    driver = make(prepare=fail)
    try:
        driver.collect(lambda: bool(driver.provider.notes))
        [note] = driver.provider.notes
        assert "no more processes are made ahead of time" in note
        assert "RuntimeError: not today" in note
        assert driver.heard(driver.create("tell_about_warmth")) == [False, ""]
        driver.ended(Key(1, 0))
        until = time.monotonic() + t.TIMEOUT
        while children(server(driver)):  # those that were on their way by then
            assert time.monotonic() < until
            time.sleep(0.005)
    finally:
        driver.provider.close(5)


def test_several_come_up_at_the_same_time(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    driver = make(2 * AT_ONCE, prepare=lambda: gate.read_text() and None)
    try:
        until = time.monotonic() + t.TIMEOUT
        while len(children(server(driver))) < AT_ONCE:
            assert time.monotonic() < until
            time.sleep(0.005)
        time.sleep(0.05)
        assert len(children(server(driver))) == AT_ONCE, "and no more than that"
    finally:
        driver.provider.close(5)


def test_a_birth_that_comes_first_is_not_kept_waiting() -> None:
    ours, theirs = socket.socketpair()
    birth = child.Birth("", b"", {}, None, None, None)
    done: list[str] = []

    def first() -> None:
        done.append("first")
        ours.send(birth.pack())

    program = child.Program(lambda birth: 0, (first, lambda: done.append("second")))
    try:
        assert child._await(child.ForkContext(program, os.getpid(), (), 1024), theirs.detach()) == birth
        assert done == ["first"]
    finally:
        gc.unfreeze()
        ours.close()


def awaited(program: child.Program, ours: socket.socket, theirs: socket.socket) -> child.Birth:
    """Wait for a birth as a warm process does."""
    try:
        return child._await(child.ForkContext(program, os.getpid(), (), 1024), theirs.detach())
    finally:
        gc.unfreeze()
        ours.close()


@pytest.mark.parametrize("late", [False, True], ids=["known before the fork", "known when it is ready"])
def test_what_births_have_in_common_is_told_before_them(late: bool) -> None:
    ours, theirs = socket.socketpair()
    birth = child.Birth("a", b"b", {"c": "d"}, None, None, None)
    expectation = child.expectation(protocol.pack({"endpoint": "here"}))
    done: list[Any] = []

    def expect(common: dict[str, Any]) -> None:
        done.append(common)
        ours.send(birth.pack())

    program = child.Program(lambda birth: 0, (lambda: done.append("prepared"),), expect=expect)
    if late:
        threading.Thread(target=lambda: (ours.recv(1), ours.send(expectation))).start()
    else:
        ours.send(expectation)
    assert awaited(program, ours, theirs) == birth
    assert done == ["prepared", {"endpoint": "here"}]


def test_a_process_that_nobody_needs_rehearses_when_it_is_told_to() -> None:
    ours, theirs = socket.socketpair()
    threading.Thread(target=lambda: (ours.recv(1), ours.send(child.rehearsal()))).start()
    birth = child.Birth("", b"", {}, None, None, None)
    done: list[str] = []

    def rehearse() -> None:
        done.append("rehearsed")
        threading.Thread(target=lambda: (ours.recv(1), ours.send(birth.pack()))).start()

    assert awaited(child.Program(lambda birth: 0, rehearse=rehearse), ours, theirs) == birth
    assert done == ["rehearsed"]


def test_the_next_are_made_when_those_before_are_up() -> None:
    origin = child.ForkContext(child.Program(lambda birth: 0), os.getpid(), (), 1024)
    with selectors.DefaultSelector() as selector:
        pool = Pool(origin, 1, 1, selector, print)
        pool.settled()
        assert pool.patience() == 0.0
        for _ in range(40):
            assert pool.hand_over(child.Birth("", b"", {}, None, None, None)) is None, "there is none"
        assert (pool.patience() or 0.0) > 10 * COMING_UP
        pool.settled()
        assert (pool.patience() or 0.0) <= FIRST_WORDS


def test_none_when_none_are_wanted() -> None:
    driver = make(warm=0)
    try:
        assert driver.heard(driver.create("tell_about_warmth")) == [False, ""]
        driver.ended(Key(1, 0))
        assert not children(server(driver))
    finally:
        driver.provider.close(5)


@pytest.mark.parametrize("size", [-1, 1001, True, "8", 1.5])
def test_a_size_that_cannot_be(size: Any) -> None:
    with pytest.raises(InvalidCall, match="'warm' is an integer"):
        LocalProvider({"warm": size}, "", entry=act)


def test_fork_server_killed_with_warm_processes(driver: t.Driver) -> None:
    warm = filled(driver)
    key = driver.create("wait")
    driver.heard(key)
    os.kill(server(driver), signal.SIGKILL)
    assert "fork server died" in driver.ended(key).note
    assert not any(map(t.is_alive, warm))


def test_a_fork_server_that_does_not_answer_is_closed_with_its_warm_processes() -> None:
    driver = make()
    warm = filled(driver)
    os.kill(server(driver), signal.SIGSTOP)
    driver.provider.close(0.3)
    assert not any(map(t.is_alive, warm))


SUPERVISOR = """
import json, signal, sys
sys.path[:0] = {path!r}
import test_local_warm as w
driver = w.make()
warm = w.filled(driver)
driver.heard(driver.create("wait"))
print(json.dumps([w.server(driver), *warm]), flush=True)
signal.pause()
"""


def test_supervisor_killed_with_warm_processes() -> None:
    code = SUPERVISOR.format(path=[str(HELPERS), *sys.path])
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdout is not None
        pids = json.loads(supervisor.stdout.readline())
        lives = [os.pidfd_open(ospid) for ospid in pids]
        supervisor.kill()
        supervisor.wait()
        try:
            t.await_ends(lives, 2.0)
        finally:
            for life in lives:
                os.close(life)
    t.reap_if_ours(pids[0])
    assert not any(map(t.is_alive, pids[1:]))
