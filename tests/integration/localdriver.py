"""Drive the local provider: what its processes do, and what it has told so far."""

from __future__ import annotations

import ctypes
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from support import eventually

from rackactor.system.readiness import readable
from rackactor_runtime.providers.base import Created, CreateFailed, Ended, Event, Key, Order, Output
from rackactor_runtime.providers.local import LocalProvider, tree

TIMEOUT = 60.0
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
            readable(self.provider.fds(), left)
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


@contextmanager
def nothing_is_left() -> Iterator[None]:
    files, children = open_files(), set(tree.list_children())
    yield
    # What a thread, or the collector, is about to let go of may take a moment.
    assert eventually(lambda: set(tree.list_children()) <= children), tree.list_children()
    assert eventually(lambda: len(open_files()) == len(files)), set(open_files()) ^ set(files)


@contextmanager
def drive() -> Iterator[Driver]:
    driver = Driver(LocalProvider({}, "", entry=act))
    yield driver
    began = time.monotonic()
    driver.provider.close(10)
    assert time.monotonic() - began < 9, "it is killed where it does not end by itself"
    driver.events += driver.provider.events()
    told = [e.key for e in driver.events if isinstance(e, Ended | CreateFailed)]
    assert sorted(told) == [Key(number, 0) for number in range(1, len(told) + 1)], "each end is told once"
    for event in driver.events:
        if isinstance(event, Created):
            assert not is_alive(int(event.instance))


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
        waiting -= set(readable(waiting, left))


def reap_if_ours(ospid: int) -> None:
    try:
        os.waitpid(ospid, 0)
    except ChildProcessError:
        pass
