"""What the tests have at hand to start programs, and to see what is left of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import family
import machines
import psutil
import pytest

import rackactor as rack
from rackactor import current
from rackactor.system.readiness import readable

#: The project's directory, and that of the programs which tests of it start.
ROOT = Path(__file__).parents[1]
HELPERS = ROOT / "tests/integration"
#: Every process that a test starts carries this in its environment, wherever it is in the tree.
MARK = "RACK_TEST_SESSION", f"{os.getpid()}-{os.urandom(6).hex()}"
#: What was there before: no test has started it.
_BEFORE = frozenset(os.listdir("/proc"))
#: Seconds that what a test has ended may take to be gone.
PATIENCE = 20.0

#: A group of one test has little use for all the processes that are otherwise made ready for its program.
FEW_WARM = {"warm": 1}


def started_here() -> set[int]:
    """Return the OS pids of this run's processes: its descendants, and what has left its tree."""
    mark = "=".join(MARK).encode()
    found = family.descendants(os.getpid())
    for name in set(os.listdir("/proc")) - _BEFORE:
        if name.isdecimal() and int(name) not in found:
            try:
                with open(f"/proc/{name}/environ", "rb") as file:
                    environ = file.read()
            except OSError:
                continue
            if mark in environ:
                found.add(int(name))
    return found


def wait_gone(os_pids: set[int], timeout: float = PATIENCE) -> set[int]:
    """Wait for the end of processes; return those that remain. Zombies are gone when they are not ours to reap."""
    until = time.monotonic() + timeout
    left = set()
    for os_pid in os_pids:
        try:
            handle = os.pidfd_open(os_pid)
        except ProcessLookupError:
            continue
        try:
            if not readable([handle], until - time.monotonic()):
                left.add(os_pid)
        finally:
            os.close(handle)
    machines.bury()
    # Ours have to be reaped, which a thread of the package may be about to do.
    eventually(lambda: not os_pids & family.children(os.getpid()) - left, max(0.0, until - time.monotonic()))
    return left | (os_pids & family.children(os.getpid()))


def end(os_pids: Iterable[int]) -> None:
    """Kill processes of this run that should be gone."""
    for os_pid in os_pids:
        try:
            os.kill(os_pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    wait_gone(set(os_pids))


def eventually(condition: Callable[[], object], timeout: float = PATIENCE) -> bool:
    """Wait until something holds that nobody tells; returns whether it does."""
    until = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def os_pid_of(child: rack.Process) -> int:
    """Return the OS pid of a process, once it runs and the provider has told of it."""
    assert eventually(lambda: child.info()["started"] and child.info()["instance"])
    instance: str = child.info()["instance"]
    return machines.agent_of(instance) if instance.startswith("m-") else int(instance)


def group_dirs() -> set[str]:
    base = Path(os.environ["XDG_RUNTIME_DIR"]) / "rackactor"
    return set(os.listdir(base)) if base.exists() else set()


def file_dirs() -> set[str]:
    """Return the directories of the files of groups that have no other backend."""
    base = Path(os.environ["TMPDIR"]) / f"rackactor-files-{os.getuid()}"
    return {f"files of {name}" for name in os.listdir(base)} if base.exists() else set()


def open_files() -> dict[str, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
    return found


def listening() -> int:
    """Return how many descriptors this process has open because it listens for direct connections, in all its groups.

    It begins to when a process of the group first has much to say to it, and goes on until the group ends.
    """
    listeners = [member.kernel.loop.direct._listener for member in current._open]
    # A ZeroMQ socket has one of its own; over a network it has one more that says what happens at it, and ZAP's.
    return sum(2 * bool(it.socket) + bool(it.channel) + 2 * bool(it.gate) + bool(it._zap) for it in listeners)


def opened(before: dict[str, str]) -> list[str]:
    """Return what is open that was not."""
    return [name for fd, name in open_files().items() if before.get(fd) != name]


def describe(os_pid: int) -> str:
    try:
        process = psutil.Process(os_pid)
        return f"{os_pid} {process.status()} {process.name()} {process.cmdline()}"
    except psutil.Error:
        return f"{os_pid} gone meanwhile"


def acquainted(group: rack.Group) -> rack.Group:
    """Return a group that several tests use, with all that it opens in its course: what one leaves can be seen."""
    for _ in range(60):
        group.fs.exists("/")
    assert eventually(lambda: all(peer.path is not None for peer in group.kernel.peers._peers.values()))
    return group


class Script:
    """A program that is run beside the tests."""

    def __init__(self, text: str, *args: str, env: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(text), *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
        )

    def line(self, timeout: float = 60.0) -> str:
        """Return the next line that it prints."""
        assert self.process.stdout is not None
        ready = readable([self.process.stdout], timeout)
        text = self.process.stdout.readline().strip() if ready else ""
        if not text:
            self.process.kill()
            raise AssertionError(f"it said nothing: {self.process.communicate()[1]}")
        return text

    def end(self, timeout: float = 60.0) -> tuple[int, str, str]:
        """Wait for its end; return its code and what it had still to say."""
        out, err = self.process.communicate(timeout=timeout)
        return self.process.returncode, out, err


def place_of(request: pytest.FixtureRequest, transport: str) -> dict[str, Any]:
    """Return what `rack.group` is to be told for a transport, or a place; no warm processes.

    "netns" is tcp between networks; "machines" are those of `tests/machines.py`.
    """
    if transport == "machines":
        shared: dict[str, Any] = request.getfixturevalue("shared_machines")
        return shared
    if transport != "netns":
        return {"transport": transport, "provider_settings": {"warm": 0}}
    options: dict[str, Any] = request.getfixturevalue("shared_lab").options
    return options
