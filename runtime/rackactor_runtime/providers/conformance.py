"""The rules for every provider, as tests: a public suite for testing a provider of your own.

They are about processes as a program sees them, and know nothing of the provider but how a group is made on it. Either
import them all into a test file, and say there what `rack.group` is to be told:

    from rackactor_runtime.providers.conformance import *  # noqa: F403

    @pytest.fixture(scope="module")
    def provider_place():
        return {"provider": "mine:Provider", "provider_settings": {...}, "transport": "tcp", "address": "10.0.0.1"}

or run them as they are, told by the environment:

    RACK_PLACE='{"provider": "mine:Provider", ...}' pytest --pyargs rackactor_runtime.providers.conformance

All share one group (`conforming_group`), for a machine may take its time to come up. The fixture `provider_left` may be
replaced by one that returns a function which lists what the provider still has of a group.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import rackactor as rack

__all__ = [
    "conforming_group",
    "provider_left",
    "provider_place",
    "test_actors_answer_in_order",
    "test_bytes_in_and_out_of_a_command",
    "test_deaths",
    "test_each_gets_its_own_and_its_result_comes_back",
    "test_families",
    "test_files_are_the_groups",
    "test_free_strings_keep_their_order",
    "test_large_values_both_ways",
    "test_last_one_out",
    "test_much_output_and_a_slow_reader",
    "test_pipes_between_processes",
    "test_posix_signals_reach_handlers",
    "test_shared_memory_is_shared",
    "test_siblings_talk_to_each_other",
    "test_signals_are_held_while_the_target_comes_up",
    "test_surroundings",
    "test_the_death_of_a_writer_breaks_its_pipe",
    "test_the_grace_after_term",
    "test_wait_for_any",
]

#: Seconds that anything here may take.
ENOUGH = 180.0
#: Where a group is made, as JSON of the arguments of `rack.group`.
PLACE = "RACK_PLACE"
C = rack.Cause


@pytest.fixture(scope="module")
def provider_place() -> dict[str, Any]:
    """What `rack.group` is told to make a group on the provider under test."""
    if PLACE not in os.environ:
        pytest.skip(f"no provider to test: {PLACE} is not set")
    found: dict[str, Any] = json.loads(os.environ[PLACE])
    return found


@pytest.fixture(scope="module")
def provider_left() -> Callable[[str], list[str]]:
    """Return what lists what the provider still has of a group that has ended, given its gid."""
    return lambda gid: []


@pytest.fixture(scope="module")
def conforming_group(provider_place: dict[str, Any], provider_left: Callable[[str], list[str]]) -> Iterator[rack.Group]:
    """The group of all these tests; nothing of it is left in the end."""
    settings: dict[str, Any] = {"grace": 3.0, "end_grace": 0.5, "echo": False, **provider_place}
    with rack.group("conformance", **settings) as made:
        yield made
    assert provider_left(made.gid) == []


# What runs in a process is defined inside of the tests: it travels by value, and this module stays here.


def _wait(condition: Callable[[], object], timeout: float = ENOUGH) -> None:
    until = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.02)


# -- births -------------------------------------------------------------------------------------------------


def test_each_gets_its_own_and_its_result_comes_back(conforming_group: rack.Group) -> None:
    def double(value: int) -> tuple[int, int, int]:
        return 2 * value, rack.getpid(), rack.getppid()

    children = conforming_group.fork(double, each=[5, 6, 7])
    me = conforming_group.getpid()
    assert [child.result(ENOUGH) for child in children] == [
        (10, children[0].pid, me),
        (12, children[1].pid, me),
        (14, children[2].pid, me),
    ]
    assert all(child.wait(ENOUGH).ok for child in children)
    rows = [child.info() for child in children]
    assert len({row["instance"] for row in rows}) == 3
    assert [row["state"] for row in rows] == ["gone"] * 3


def test_surroundings(conforming_group: rack.Group) -> None:
    def look() -> Any:
        return os.environ["COLOUR"], os.getcwd(), os.environ["RACK_GID"], os.environ["RACK_PID"]

    child = conforming_group.fork(look, name="painter", env={"COLOUR": "grün"}, cwd="/usr")
    command = conforming_group.fork(["sh", "-c", "echo $COLOUR $RACK_PPID; pwd"], env={"COLOUR": "rot"}, cwd="/usr")
    assert child.result(ENOUGH) == ("grün", "/usr", conforming_group.gid, str(child.pid))
    assert command.stdout.read().split() == [b"rot", str(conforming_group.getpid()).encode(), b"/usr"]
    assert command.wait(ENOUGH).ok


def test_families(conforming_group: rack.Group) -> None:
    """A parent's death takes its children with it, except those that may outlive it."""
    me = conforming_group.getpid()

    def nap() -> None:
        time.sleep(600)

    def parent() -> None:
        kept, taken = rack.fork(nap, on_orphan="adopt"), rack.fork(nap)
        rack.process(me).tell([kept.pid, taken.pid])
        time.sleep(600)

    head = conforming_group.fork(parent)
    kept, taken = (conforming_group.process(pid) for pid in rack.receive(ENOUGH).value)
    _wait(lambda: all(child.info()["started"] for child in (kept, taken)))
    head.kill("KILL")
    assert head.wait(ENOUGH).cause is C.SIGNALLED
    _wait(lambda: taken.info()["state"] == "gone")
    assert taken.info()["status"]["cause"] == "parent-died"
    assert kept.info()["ppid"] == 1
    kept.kill("KILL")
    _wait(lambda: kept.info()["state"] == "gone")


# -- ends ---------------------------------------------------------------------------------------------------


def _deaths() -> dict[str, tuple[Any, dict[str, Any], Callable[[rack.Process[Any]], None] | None, tuple[Any, ...]]]:
    """Return ways to die: what runs, options, what is done to it, and (code, signal, cause, evidence)."""

    def nap() -> None:
        time.sleep(600)

    def fail() -> None:
        raise LookupError("lost")

    def last_words() -> None:
        print("last words", flush=True)  # noqa: T201
        os._exit(4)

    def kill_itself() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def abort() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.abort()

    def eat() -> int:
        return len(bytearray(1 << 30))

    return {
        "return": (int, {}, None, (0, None, C.EXITED, "")),
        "sys.exit": (lambda: sys.exit(3), {}, None, (3, None, C.EXITED, "")),
        "os._exit": (last_words, {}, None, (4, None, C.EXITED, "last words")),
        "exception": (fail, {}, None, (1, None, C.EXCEPTION, "LookupError: lost")),
        "command": (["sh", "-c", "echo out; exit 5"], {}, None, (5, None, C.EXITED, "out")),
        "no command": (["no-such-command"], {}, None, (127, None, C.LOAD_FAILED, "no-such-command")),
        "bad directory": (nap, {"cwd": "/no/such/place"}, None, (1, None, C.LOAD_FAILED, "/no/such/place")),
        "TERM": (nap, {}, lambda p: p.kill(), (143, 15, C.SIGNALLED, "SIGTERM from process")),
        "KILL": (nap, {}, lambda p: p.kill("KILL"), (137, 9, C.SIGNALLED, "SIGKILL from process")),
        "KILL by itself": (kill_itself, {}, None, (137, 9, C.DELETED_OUTSIDE, "nobody in the group")),
        "abort": (abort, {}, None, (134, 6, C.SIGNALLED, "crashed: SIGABRT")),
        "memory": (eat, {"memory": "300M"}, None, (1, None, C.OOM, "MemoryError")),
        "deadline": (nap, {"deadline": 1.0}, None, (143, 15, C.DEADLINE, "deadline passed")),
    }


def test_deaths(conforming_group: rack.Group) -> None:
    """All at once; each is judged by itself."""
    deaths = _deaths()
    children = {name: conforming_group.fork(what, name=name, **how) for name, (what, how, _, _) in deaths.items()}
    for name, (_, _, action, _) in deaths.items():
        if action is not None:
            _wait(lambda child=children[name]: child.info()["started"])  # type: ignore[misc]
            action(children[name])
    wrong = {}
    for name, (_, _, _, (code, number, cause, evidence)) in deaths.items():
        status = children[name].wait(ENOUGH)
        late = name == "deadline" and status.started is None  # it was over before the machine had come up
        good = (status.code, status.signal, status.cause) == (code, number, cause) and evidence in status.evidence
        if not good and not (late and status.cause is cause):
            wrong[name] = status
    assert not wrong, "\n".join(f"{name}: {status}\n{status.evidence}" for name, status in wrong.items())


def test_the_grace_after_term(conforming_group: rack.Group) -> None:
    me = conforming_group.getpid()

    def tidy(stubborn: bool) -> None:
        signal.signal(signal.SIGTERM, lambda *_: None if stubborn else sys.exit(9))
        rack.process(me).tell("ready")
        while True:
            time.sleep(0.1)

    tidy_one, stubborn = conforming_group.fork(tidy, each=[False, True])
    for _ in range(2):
        rack.receive(ENOUGH)
    for child in (tidy_one, stubborn):
        child.kill()
    assert tidy_one.wait(ENOUGH).code == 9
    status = stubborn.wait(ENOUGH)
    assert (status.signal, status.cause) == (9, C.SIGNALLED)


def test_wait_for_any(conforming_group: rack.Group) -> None:
    slow = conforming_group.fork(lambda: time.sleep(600))
    quick = conforming_group.fork(lambda: sys.exit(7))
    pid, status = conforming_group.wait([slow.pid, quick.pid], timeout=ENOUGH)
    assert (pid, status.code) == (quick.pid, 7)
    slow.kill("KILL")
    assert slow.wait(ENOUGH).signal == 9


# -- signals ------------------------------------------------------------------------------------------------


def test_posix_signals_reach_handlers(conforming_group: rack.Group) -> None:
    me = conforming_group.getpid()

    def busy() -> int:
        got: list[int] = []
        signal.signal(signal.SIGUSR1, lambda number, _: got.append(number))
        rack.process(me).tell("ready")
        while not got:
            sum(range(1000))
        return got[0]

    child = conforming_group.fork(busy)
    rack.receive(ENOUGH)
    child.kill("USR1")
    assert child.result(ENOUGH) == signal.SIGUSR1


def test_free_strings_keep_their_order(conforming_group: rack.Group) -> None:
    me = conforming_group.getpid()

    def collect() -> list[str]:
        got: list[str] = []
        for number in range(20):
            rack.signal(f"word-{number}", lambda sig, sender: got.append(sig))
        rack.process(me).tell("ready")
        while len(got) < 20:
            time.sleep(0.01)
        return got

    child = conforming_group.fork(collect)
    rack.receive(ENOUGH)
    for number in range(20):
        child.kill(f"word-{number}")
    assert child.result(ENOUGH) == [f"word-{number}" for number in range(20)]


def test_signals_are_held_while_the_target_comes_up(conforming_group: rack.Group) -> None:
    def wait_for_it() -> str:
        got: list[str] = []
        rack.signal("early", lambda sig, sender: got.append(sig))
        while not got:
            time.sleep(0.01)
        return got[0]

    child = conforming_group.fork(wait_for_it)
    child.kill("early")
    assert child.result(ENOUGH) == "early"


# -- input and output ---------------------------------------------------------------------------------------


def test_bytes_in_and_out_of_a_command(conforming_group: rack.Group) -> None:
    child = conforming_group.fork(["sh", "-c", "cat; echo done >&2"])
    data = os.urandom(1 << 20)
    assert child.stdout.readable()
    child.stdin.write(data)
    child.stdin.close()
    assert child.stdout.read() == data
    assert child.stderr.read() == b"done\n"
    assert child.wait(ENOUGH).ok


def test_much_output_and_a_slow_reader(conforming_group: rack.Group) -> None:
    """More than is kept of a log: a writer is held back, and nothing is dropped."""
    words = "echo begin; read go; i=0; while [ $i -lt 6000 ]; do printf '%01023d\\n' $i; i=$((i+1)); done"
    child = conforming_group.fork(["sh", "-c", words])
    reader = child.stdout
    assert reader.readline() == b"begin\n"  # from now on somebody reads, and is waited for
    child.stdin.write(b"go\n")
    child.stdin.flush()
    assert reader.readline() == b"0" * 1023 + b"\n"
    time.sleep(1.0)
    assert [int(line) for line in reader] == list(range(1, 6000))
    assert child.wait(ENOUGH).ok


# -- messages -----------------------------------------------------------------------------------------------


def test_actors_answer_in_order(conforming_group: rack.Group) -> None:
    class Counter(rack.Actor):
        def __init__(self) -> None:
            super().__init__()
            self.got: list[int] = []

        def receiveMsg_int(self, message: int, sender: Any) -> None:
            self.got.append(message)

        def receiveMsg_str(self, message: str, sender: Any) -> None:
            self.send(sender, self.got)

    actor = conforming_group.fork(Counter)
    for number in range(2000):
        actor.tell(number)
    assert actor.ask("all", timeout=ENOUGH) == list(range(2000))
    actor.kill()
    assert actor.wait(ENOUGH).signal == 15


def test_large_values_both_ways(conforming_group: rack.Group) -> None:
    def turn() -> None:
        message = rack.receive(None)
        message.reply(message.value[::-1])

    child = conforming_group.fork(turn)
    data = os.urandom(5 << 20)
    assert child.ask(data, timeout=ENOUGH) == data[::-1]
    assert child.wait(ENOUGH).ok


def test_siblings_talk_to_each_other(conforming_group: rack.Group) -> None:
    """Enough for a connection of their own, where the network lets them have one."""

    def answer() -> None:
        while (message := rack.receive(None)).value is not None:
            message.reply(message.value + 1)

    def ask(pid: int) -> int:
        other = rack.process(pid)
        return sum(other.ask(number) for number in range(300))

    one = conforming_group.fork(answer)
    other = conforming_group.fork(ask, one.pid)
    assert other.result(ENOUGH) == sum(range(1, 301))
    one.tell(None)
    assert one.wait(ENOUGH).ok


# -- what processes share -----------------------------------------------------------------------------------


def test_pipes_between_processes(conforming_group: rack.Group) -> None:
    r, w = conforming_group.pipe()

    def produce() -> None:
        with w:
            for number in range(3000):
                w.send(number)

    def consume() -> list[Any]:
        return list(r)

    writer, reader = conforming_group.fork(produce), conforming_group.fork(consume)
    w.close()
    r.close()
    assert reader.result(ENOUGH) == list(range(3000))
    assert writer.wait(ENOUGH).ok


def test_the_death_of_a_writer_breaks_its_pipe(conforming_group: rack.Group) -> None:
    r, w = conforming_group.pipe()

    def half() -> None:
        w.send("half")
        time.sleep(600)

    child = conforming_group.fork(half)
    w.close()
    assert r.recv(ENOUGH) == "half"
    child.kill("KILL")
    with pytest.raises(rack.PipeBroken):
        r.recv(ENOUGH)
    r.close()
    assert child.wait(ENOUGH).signal == 9


def test_shared_memory_is_shared(conforming_group: rack.Group) -> None:
    shm = conforming_group.shm
    shm["conformance/start"] = 5

    def work() -> int:
        memory = rack.shm
        found = memory["conformance/start"]
        for _ in range(50):
            memory.incr("conformance/count")
        memory["conformance/seen"] = found
        return int(found)

    children = conforming_group.fork(work, n=2)
    assert [child.result(ENOUGH) for child in children] == [5, 5]
    assert (shm["conformance/count"], shm["conformance/seen"]) == (100, 5)
    for key in shm.keys("conformance/"):
        del shm[key]


def test_files_are_the_groups(conforming_group: rack.Group) -> None:
    def write() -> None:
        with rack.open("/conformance/file", "w") as file:
            file.write("written over there\n")

    def read() -> str:
        with rack.open("/conformance/file") as file:
            return str(file.read())

    assert conforming_group.fork(write).wait(ENOUGH).ok
    assert conforming_group.fork(read).result(ENOUGH) == "written over there\n"
    assert conforming_group.listdir("/conformance") == ["file"]
    conforming_group.fs.rm("/conformance", recursive=True)


# -- the end ------------------------------------------------------------------------------------------------


def test_last_one_out(provider_place: dict[str, Any], provider_left: Callable[[str], list[str]]) -> None:
    """A group's end ends what still runs, and what is only just coming up; nothing is left."""
    settings: dict[str, Any] = {"end_grace": 0.5, "echo": False, **provider_place}
    with rack.group("conformance-end", **settings) as group:
        runs = group.fork(lambda: time.sleep(600))
        _wait(lambda: runs.info()["started"])
        boots = group.fork(lambda: time.sleep(600), n=2)
    assert runs.wait().cause is C.GROUP_ENDED
    assert [child.wait().cause for child in boots] == [C.GROUP_ENDED] * 2
    assert provider_left(group.gid) == []
