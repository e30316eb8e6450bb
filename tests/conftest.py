"""What all tests share: groups on each transport, and the proof that a test leaves nothing behind."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator

import pytest
import zmq.utils.garbage as garbage
from support import (
    MARK,
    PATIENCE,
    Script,
    describe,
    eventually,
    file_dirs,
    group_dirs,
    open_files,
    started_here,
    wait_gone,
)

import rackactor as rack


def pytest_configure() -> None:
    """Give the run a runtime directory of its own: other groups of this user are no business of the tests."""
    tempfile.gettempdir()  # noted before it changes: what pytest itself makes stays where it always is
    os.environ.update([MARK, ("XDG_RUNTIME_DIR", tempfile.mkdtemp(prefix="rk-", dir="/tmp"))])
    os.environ["TMPDIR"] = os.environ["XDG_RUNTIME_DIR"]  # where the groups' files lie
    for name in ("RACK_GID", "RACK_PID", "RACK_PPID", "RACK_SOCKET"):
        os.environ.pop(name, None)
    garbage.gc.start()  # pyzmq's thread for uncopied frames: one for the whole process, for ever


def pytest_unconfigure() -> None:
    shutil.rmtree(os.environ["XDG_RUNTIME_DIR"], ignore_errors=True)


@pytest.fixture(autouse=True)
def leaves_nothing() -> Iterator[None]:
    """Compare processes, group directories, threads and descriptors before and after each test."""
    processes, directories = started_here(), group_dirs() | file_dirs()
    threads, files = set(threading.enumerate()), open_files()
    yield
    left = wait_gone(started_here() - processes)
    assert not left, f"left running: {[describe(os_pid) for os_pid in left]}"
    assert eventually(lambda: group_dirs() | file_dirs() <= directories), f"left: {group_dirs(), file_dirs()}"
    for thread in set(threading.enumerate()) - threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), f"left running: {thread}"
    gc.collect()
    after = open_files()
    # pyzmq's own thread may have opened two meanwhile.
    assert len(after) <= len(files) + 2, f"left open: {[after[fd] for fd in set(after) - set(files)]}"


@pytest.fixture(params=["ipc", "tcp"])
def transport(request: pytest.FixtureRequest) -> str:
    """Each test that takes it runs on both."""
    name: str = request.param
    return name


@pytest.fixture
def group(transport: str) -> Iterator[rack.Group]:
    """A group that lives as long as the test."""
    with rack.group("test", transport=transport, grace=2.0, end_grace=0.5) as made:
        yield made


@pytest.fixture
def script() -> Iterator[Callable[..., Script]]:
    """Run programs, given by their text, that end with the test at the latest."""
    made: list[Script] = []

    def run(text: str, *args: str, env: dict[str, str] | None = None) -> Script:
        made.append(Script(text, *args, env=env))
        return made[-1]

    yield run
    for each in made:
        each.process.kill()
        each.process.communicate()
