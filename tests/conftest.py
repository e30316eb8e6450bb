"""What all tests share: groups on each transport, and the proof that a test leaves nothing behind."""

from __future__ import annotations

import compileall
import gc
import os
import shutil
import signal
import sys
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import machines
import netlab
import pytest
import zmq.utils.garbage as garbage
from support import (
    FEW_WARM,
    MARK,
    PATIENCE,
    Script,
    describe,
    end,
    eventually,
    file_dirs,
    group_dirs,
    listening,
    open_files,
    opened,
    place_of,
    started_here,
    wait_gone,
)

import rackactor as rack
import rackactor_runtime
from rackactor.kernel import interrupts

# What pytest makes of the tests' assertions is kept for the next run: it takes each worker some ten seconds.
sys.dont_write_bytecode = False
# A suite that others import, too.
pytest.register_assert_rewrite("rackactor_runtime.providers.conformance")

#: Where tests run: on processes of one host, by either transport, and on what stands in for other hosts.
PLACES = (("ipc", "tcp"), ("netns", "machines", "memory"))
#: The fixtures that say where.
CHOOSERS = ("transport", "pipe_group", "provider_place", "elsewhere", "g")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the run be a longer one."""
    parser.addoption(
        "--everywhere", action="store_true", help="run each test in every place that it can run in, and all cases of it"
    )


def pytest_xdist_auto_num_workers() -> int:
    """Have twice as many workers as there are processors: many tests wait, for what takes its time."""
    return 2 * len(os.sched_getaffinity(0))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run each test in one place of a kind, always the same, unless all are wanted, or the place is its point.

    What is one more case of a kind is left out too.
    """
    if config.getoption("--everywhere"):
        return
    found: dict[str, set[str]] = {}
    for item in items:
        found.setdefault(_name(item), set()).update(_places(item))
    chosen = [
        item
        for item in items
        if not item.get_closest_marker("wide")
        and (item.get_closest_marker("wire") or _chosen(item, found[_name(item)]))
    ]
    config.hook.pytest_deselected(items=list(set(items) - set(chosen)))
    items[:] = chosen


def _name(item: pytest.Item) -> str:
    return item.nodeid.partition("[")[0]


def _places(item: pytest.Item) -> set[str]:
    """Return the place that a test was made for, if any."""
    params = item.callspec.params if hasattr(item, "callspec") else {}
    return {params[name] for name in CHOOSERS if name in params}


def _chosen(item: pytest.Item, among: set[str]) -> bool:
    """Tell whether a test runs in its place, of those that it could run in."""
    turn = zlib.crc32(_name(item).encode())
    kinds = [[place for place in kind if place in among] for kind in PLACES]
    return _places(item) <= {kind[turn % len(kind)] for kind in kinds if kind}


def pytest_configure(config: pytest.Config) -> None:
    """Give the run a runtime directory of its own: other groups of this user are no business of the tests."""
    if not hasattr(config, "workerinput"):  # no worker of pytest-xdist
        _compile()
    tempfile.gettempdir()  # noted before it changes: what pytest itself makes stays where it always is
    os.environ.update([MARK, ("XDG_RUNTIME_DIR", tempfile.mkdtemp(prefix="rk-", dir="/tmp"))])
    os.environ["TMPDIR"] = os.environ["XDG_RUNTIME_DIR"]  # where the groups' files lie
    for name in ("RACK_GID", "RACK_PID", "RACK_PPID", "RACK_SOCKET"):
        os.environ.pop(name, None)
    # The handler of the one ends the test, ours does nothing.
    interrupts.HARMLESS.update(["pytest_timeout", __name__.partition(".")[0]])
    _do_not_pass_on_what_is_ignored()
    garbage.gc.start()  # pyzmq's thread for uncopied frames: one for the whole process, for ever


def _compile() -> None:
    """Compile what thousands of processes import: under PYTHONDONTWRITEBYTECODE each of them would do so itself."""
    for package in (rack, rackactor_runtime):
        compileall.compile_dir(str(Path(package.__file__).parent), quiet=2)


def _do_not_pass_on_what_is_ignored() -> None:
    """Have programs under test start with signals as a terminal gives them, also in the background and under nohup."""
    for number in signal.valid_signals():
        if signal.getsignal(number) is signal.SIG_IGN and number not in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else _take_no_notice)


def _take_no_notice(number: int, frame: FrameType | None) -> None:
    """Be as deaf as before; but what is started from here is not."""


def pytest_sessionfinish() -> None:
    """Remove it; a worker of pytest-xdist may be ended before it comes to `pytest_unconfigure`."""
    shutil.rmtree(os.environ["XDG_RUNTIME_DIR"], ignore_errors=True)


def pytest_collection_finish() -> None:
    """Have collections pass over what the tests are made of, which stays."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def leaves_nothing() -> Iterator[None]:
    """Compare processes, directories, networks, threads and descriptors before and after each test."""
    processes, directories, networks = started_here(), group_dirs() | file_dirs(), netlab.networks()
    threads, files, listeners = set(threading.enumerate()), open_files(), listening()
    yield
    machines.bury()
    left = {os_pid: describe(os_pid) for os_pid in wait_gone(started_here() - processes)}
    end(left)  # so that none becomes another test's
    assert not left, f"left running: {list(left.values())}"
    assert eventually(lambda: group_dirs() | file_dirs() <= directories), f"left: {group_dirs(), file_dirs()}"
    assert netlab.networks() <= networks, f"left: {netlab.networks() - networks}"
    for thread in set(threading.enumerate()) - threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), f"left running: {thread}"
    # pyzmq's own thread may have opened two meanwhile; and the end of a process closes what led to it a moment later.
    most = len(files) - listeners + listening() + 2
    if not eventually(lambda: len(open_files()) <= most, timeout=0.5):
        gc.collect()  # it takes its time: not after each test
    assert eventually(lambda: len(open_files()) <= most), f"left open: {opened(files)}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test that takes `transport` (or `where`, or `group`) on both, and where it is marked to run."""
    names = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    chosen = {name for each in names for name in (each.replace(" ", "").split(",") if isinstance(each, str) else each)}
    if "transport" in metafunc.fixturenames and "transport" not in chosen:
        more = [name for name in ("netns", "machines") if metafunc.definition.get_closest_marker(name)]
        metafunc.parametrize("transport", ["ipc", "tcp", *more])


@pytest.fixture(scope="session")
def shared_lab() -> Iterator[netlab.Lab]:
    """A network of two namespaces that nobody cuts."""
    reason = netlab.hindrance()
    if reason:
        pytest.skip(reason)
    with netlab.Lab(2, shared=True) as made:
        yield made


@pytest.fixture
def where(transport: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    """What `rack.group` is to be told for a test's transport."""
    if transport == "machines":
        options: dict[str, Any] = request.getfixturevalue("on_machines")
    elif transport == "netns":
        options = request.getfixturevalue("shared_lab").options
    else:
        options = {"transport": transport, "provider_settings": FEW_WARM}
    return options


@pytest.fixture
def yard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[machines.Yard]:
    """Where the machines of a test's group are, each in one of two networks, if this machine may have such."""
    names = () if netlab.hindrance() else tuple(request.getfixturevalue("shared_lab").names)
    made = machines.Yard(tmp_path / "yard", names)
    yield made
    left = made.machines()
    made.clear()
    assert not left, f"machines that are left: {left}"


@pytest.fixture
def on_machines(yard: machines.Yard, request: pytest.FixtureRequest) -> dict[str, Any]:
    """What `rack.group` is to be told to have its processes on machines of the yard."""
    address = "127.0.0.1" if not yard.namespaces else request.getfixturevalue("shared_lab").address
    return machines.options(yard, address)


@pytest.fixture(scope="session")
def shared_machines(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """The same for groups that several tests share; whether machines are left is seen in the end."""
    lab = None if netlab.hindrance() else request.getfixturevalue("shared_lab")
    made = machines.Yard(tmp_path_factory.mktemp("machines") / "yard", tuple(lab.names) if lab is not None else ())
    yield machines.options(made, lab.address if lab is not None else "127.0.0.1")
    left = made.machines()
    made.clear()
    assert not left, f"machines that are left: {left}"


@pytest.fixture
def group(where: dict[str, Any]) -> Iterator[rack.Group]:
    """A group that lives as long as the test."""
    with rack.group("test", **where, grace=2.0, end_grace=0.5) as made:
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


@pytest.fixture(scope="module", params=["ipc", "tcp", "netns", "machines"])
def pipe_group(request: pytest.FixtureRequest) -> Iterator[rack.Group]:
    """One group for all tests of a file about pipes: they leave nothing in it, and each counts its own processes."""
    with rack.group("pipes", grace=2.0, **place_of(request, request.param)) as made:
        r, w = made.pipe()
        made.fork(lambda: [w.send(bytes(100_000)) for _ in range(50)])
        w.close()
        assert len(list(r)) == 50  # what a process opens once, for all connections, is open now
        yield made
