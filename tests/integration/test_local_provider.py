"""The local provider with real processes: every end is told once, and then nothing is left."""

from __future__ import annotations

import ctypes
import json
import os
import random
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from rackactor_runtime.providers.base import Created, CreateFailed, Ended, Event, Key, Order, Output, Vital
from rackactor_runtime.providers.local import LocalProvider, tree
from rackactor_runtime.providers.local.cgroup import MemoryGroups, make_name

TIMEOUT = 20.0
MB = 1024 * 1024


def act(birth: dict[str, Any]) -> int:
    """Do what the birth data names: the entry of every process here."""
    found: Callable[..., int] = globals()["do_" + birth["do"]]
    return found(*birth.get("args", ()))


def do_exit(code: int) -> int:
    return code


def do_leave(code: Any) -> int:
    sys.exit(code)


def do_leave_at_once(code: int) -> int:
    os._exit(code)


def do_raise(name: str) -> int:
    raise {"ValueError": ValueError, "KeyboardInterrupt": KeyboardInterrupt}[name]("no good")


def do_say_and_die(signum: int) -> int:
    os.write(1, b"last words")
    os.write(2, b"last groans")
    if signum == signal.SIGSEGV:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        ctypes.string_at(0)
    os.kill(os.getpid(), signum)
    return 0


def do_wait() -> int:
    say(os.getpid())
    while True:
        signal.pause()


def do_write(count: int) -> int:
    block = random.Random(count).randbytes(count)
    sys.stdout.buffer.write(block)
    return 0


def do_daemons(count: int, stay: bool) -> int:
    """Leave daemons behind in the classical way: fork, setsid, fork."""
    reading, writing = os.pipe()
    for _ in range(count):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.write(writing, f"{os.getpid()} ".encode())
                while True:
                    signal.pause()
            os._exit(0)
        os.wait()
    pids = b""
    while pids.count(b" ") < count:
        pids += os.read(reading, 4096)
    say(*map(int, pids.split()))
    while stay:
        signal.pause()
    return 0


def do_chain() -> int:
    """Leave a chain behind in which each process makes the next and ends."""
    if os.fork() == 0:
        os.setsid()
        while True:
            if os.fork():
                os._exit(0)
    return 0


def do_bomb(deep: int) -> int:
    """Leave a tree behind that grows on its own: each process makes two more, in sessions of their own."""
    if os.fork() == 0:
        os.setsid()
        for _ in range(deep):
            os.fork()
        while True:
            signal.pause()
    return 0


def do_open_files() -> int:
    say(*sorted(os.listdir("/proc/self/fd")))
    return 0


def do_facts() -> int:
    say(
        {
            "cwd": os.getcwd(),
            "variable": os.environ.get("RACK_TEST"),
            "session": os.getsid(0) == os.getpid(),
            "descriptors": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            "stdin": sys.stdin.read(),
            "signals": [
                int(number)
                for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGINT}
                if signal.getsignal(number) != signal.SIG_DFL
            ],
            "interrupt": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
            "mask": list(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ()))),
            "seekable": sys.stdout.seekable(),
        }
    )
    return 0


def do_draw() -> int:
    say(random.random())
    return 0


def do_eat(count: int) -> int:
    try:
        bytearray(count)
    except MemoryError:
        say("no memory")
        return 3
    return 0


def do_eat_together(count: int, each: int) -> int:
    """Need more in all than any one process does, then be the biggest."""
    # The kernel takes who has the highest score, and of equals the biggest, which a fork of a large test run may be. So
    # the eaters are born with a high one, and eat when they are all there and this process has its own again.
    score = Path("/proc/self/oom_score_adj")
    code = f"import sys; sys.stdin.read(1); b = b'x' * {each}; print(1, flush=True); sys.stdin.read()"
    before = score.read_text()
    score.write_text("900")
    eaters = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(count)
    ]
    score.write_text(before)
    for eater in eaters:
        assert eater.stdin is not None
        eater.stdin.write(b"!")
        eater.stdin.flush()
    for eater in eaters:
        assert eater.stdout is not None
        eater.stdout.read(1)
    return 1 if any(eater.poll() for eater in eaters) else 0


def do_eat_shared(count: int) -> int:
    """Need memory that RLIMIT_DATA does not count."""
    import mmap

    with mmap.mmap(-1, count) as shared:
        for start in range(0, count, 4096):
            shared[start] = 1
    return 0


def say(*words: Any) -> None:
    print(json.dumps(words), flush=True)


class Driver:
    """A provider with what it has told so far."""

    def __init__(self, provider: LocalProvider) -> None:
        self.provider = provider
        self.events: list[Event] = []
        self._last = 0

    def create(self, do: str, *args: Any, **options: Any) -> Key:
        self._last += 1
        key = Key(self._last, 0)
        self.provider.create(Order(key, {"do": do, "args": args}, **options))
        return key

    def collect(self, until: Callable[[], bool], timeout: float = TIMEOUT) -> None:
        end = time.monotonic() + timeout
        while not until():
            left = end - time.monotonic()
            assert left > 0, f"not told in time; last: {self.events[-5:]}"
            select.select(self.provider.fds(), [], [], left)
            self.events += self.provider.events()

    def quiet(self) -> None:
        """Pass on all that the fork server has to say at this moment: it answers what was asked last."""
        self.ended(self.create("exit", 0))

    def output(self, key: Key, stream: int = 1) -> bytes:
        return b"".join(e.data for e in self.events if isinstance(e, Output) and (e.key, e.stream) == (key, stream))

    def heard(self, key: Key) -> list[Any]:
        """Wait for a line that the process says, and return the words."""
        self.collect(lambda: b"\n" in self.output(key))
        words: list[Any] = json.loads(self.output(key).partition(b"\n")[0])
        return words

    def ends(self, key: Key) -> list[Ended | CreateFailed]:
        return [e for e in self.events if isinstance(e, Ended | CreateFailed) and e.key == key]

    def ended(self, key: Key) -> Ended:
        self.collect(lambda: bool(self.ends(key)))
        [end] = self.ends(key)
        assert isinstance(end, Ended)
        assert self.events[-1] is end or not [e for e in self.events[self.events.index(end) + 1 :] if e.key == key], (
            "something was told after the end"
        )
        return end

    def failed(self, key: Key) -> str:
        self.collect(lambda: bool(self.ends(key)))
        [end] = self.ends(key)
        assert isinstance(end, CreateFailed)
        return end.fault

    def os_pid(self, key: Key) -> int:
        self.collect(lambda: any(isinstance(e, Created) and e.key == key for e in self.events))
        return next(int(e.instance) for e in self.events if isinstance(e, Created) and e.key == key)


def is_alive(ospid: int) -> bool:
    return os.path.exists(f"/proc/{ospid}")


def open_files() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    files, children = open_files(), set(tree.list_children())
    yield
    assert set(tree.list_children()) <= children
    assert len(open_files()) == len(files)


@pytest.fixture
def driver() -> Iterator[Driver]:
    driver = Driver(LocalProvider({}, "", entry=act))
    yield driver
    began = time.monotonic()
    driver.provider.close(5)
    assert time.monotonic() - began < 2
    driver.events += driver.provider.events()
    told = [e.key for e in driver.events if isinstance(e, Ended | CreateFailed)]
    assert sorted(told) == [Key(number, 0) for number in range(1, len(told) + 1)], "each end is told once"
    for event in driver.events:
        if isinstance(event, Created):
            assert not is_alive(int(event.instance))


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
    assert driver.provider.examine(key) is Vital.RUNNING
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
    assert driver.provider.examine(other) is Vital.RUNNING


def test_a_chain_of_forks_is_caught(driver: Driver) -> None:
    key = driver.create("chain")
    assert driver.ended(key) == Ended(key, 0, None)


def test_a_growing_tree_is_caught(driver: Driver) -> None:
    key = driver.create("bomb", 6)
    assert driver.ended(key) == Ended(key, 0, None)


def test_stopped_process_is_seen_and_deleted(driver: Driver) -> None:
    key = driver.create("wait")
    [ospid] = driver.heard(key)
    assert driver.provider.examine(key) is Vital.RUNNING
    os.kill(ospid, signal.SIGSTOP)
    until = time.monotonic() + TIMEOUT
    while driver.provider.examine(key) is not Vital.STOPPED:
        assert time.monotonic() < until
    driver.provider.delete(key)
    assert driver.ended(key).signal == signal.SIGKILL
    assert driver.provider.examine(key) is Vital.GONE


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
        assert other.provider.examine(theirs) is Vital.RUNNING
        assert other.ended(other.create("exit", 5)).code == 5


SUPERVISOR = """
import json, os, signal, sys
sys.path[:0] = {path!r}
import test_local_provider as t
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
    code = SUPERVISOR.format(path=[os.path.dirname(__file__), *sys.path], state=str(state))
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


def test_memory_limit_of_one_process(driver: Driver) -> None:
    key = driver.create("eat", 500 * MB, memory=200 * MB)
    assert driver.heard(key) == ["no memory"]
    assert driver.ended(key) == Ended(key, 3, None)


def require_groups() -> None:
    groups = MemoryGroups(make_name())
    group = groups.make("1.0", 100 * MB)
    if group is not None:
        groups.discard(group)
    groups.close()
    if group is None:
        pytest.skip("no memory control group can be made here: neither version 2 delegated nor version 1 as root")


def test_memory_limit_of_a_group_of_processes(driver: Driver) -> None:
    require_groups()
    key = driver.create("eat_together", 4, 60 * MB, memory=150 * MB)
    end = driver.ended(key)
    assert (end.code, end.oom) == (1, True)
    assert "the memory limit ended" in end.note


def test_memory_limit_that_ends_the_process_itself(driver: Driver) -> None:
    require_groups()
    # Well above what the many threads of a test run leave mapped: RLIMIT_DATA counts that too.
    key = driver.create("eat_shared", 600 * MB, memory=300 * MB)
    assert driver.ended(key) == Ended(key, None, signal.SIGKILL, True, "the memory limit was reached")
    deleted = driver.create("wait", memory=100 * MB)
    driver.heard(deleted)
    driver.provider.delete(deleted)
    assert not driver.ended(deleted).oom


def test_no_control_group_is_left() -> None:
    require_groups()
    driver = Driver(LocalProvider({}, "", entry=act))
    with closing_provider(driver.provider):
        keys = [driver.create("wait", memory=100 * MB) for _ in range(3)]
        for key in keys:
            driver.heard(key)
        assert list(find_groups())
        driver.provider.delete(keys[0])
        driver.ended(keys[0])
    assert not list(find_groups())


def test_control_groups_of_a_killed_fork_server_are_removed(driver: Driver) -> None:
    require_groups()
    key = driver.create("wait", memory=100 * MB)
    driver.heard(key)
    assert list(find_groups())
    os.kill(server_of(driver, key), signal.SIGKILL)
    driver.ended(key)
    assert not list(find_groups())


def find_groups() -> Iterator[Path]:
    for directory, names, _ in os.walk("/sys/fs/cgroup"):
        yield from (Path(directory, name) for name in names if name.startswith(f"rackactor-{os.getpid()}-"))


def closing_provider(provider: LocalProvider) -> closing[Any]:
    class Closer:
        def close(self) -> None:
            provider.close(5)

    return closing(Closer())


def server_of(driver: Driver, key: Key) -> int:
    with open(f"/proc/{driver.os_pid(key)}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[1])


def await_ends(lives: list[int], timeout: float) -> None:
    """Wait until every process of these descriptors has ended."""
    until = time.monotonic() + timeout
    waiting = set(lives)
    while waiting:
        left = until - time.monotonic()
        assert left > 0, "something outlived its supervisor"
        waiting -= set(select.select(list(waiting), [], [], left)[0])


def reap_if_ours(ospid: int) -> None:
    try:
        os.waitpid(ospid, 0)
    except ChildProcessError:
        pass
