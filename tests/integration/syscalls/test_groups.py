"""Groups: what makes one, what ends it, and that nothing of it stays."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from support import Script, eventually, group_dirs, os_pid_of, started_here, wait_gone
from targets import nap

import rackactor as rack
from rackactor.launch import directories

RunScript = Callable[..., Script]


def supervisor_of(group: rack.Group) -> psutil.Process:
    [card] = [card for card in directories.cards() if card["gid"] == group.gid]
    return psutil.Process(card["os_pid"])


def fork_server_of(supervisor: psutil.Process) -> psutil.Process:
    return next(child for child in supervisor.children() if child.name() == "rack-forkserver")


# -- the block ------------------------------------------------------------------------------------


def test_the_script_is_a_process_and_its_forks_are_its_children(group: rack.Group) -> None:
    child = group.fork(nap)
    table = {row["pid"]: row for row in group.ps()}
    assert group.getpid() == rack.getpid() == child.ppid
    assert rack.getgid() == group.gid
    assert rack.getppid() == 1
    assert table[rack.getpid()]["kind"] == "script"
    assert table[rack.getpid()]["instance"] == str(os.getpid())
    assert table[child.pid]["ppid"] == rack.getpid()
    assert [known["gid"] for known in rack.groups()] == [group.gid]


def test_the_end_of_the_block_ends_everything(transport: str) -> None:
    with rack.group(transport=transport, end_grace=0.5) as group:
        child = group.fork(nap)
        supervisor = supervisor_of(group)
    assert child.wait().cause is rack.Cause.GROUP_ENDED
    assert not supervisor.is_running()
    assert rack.groups() == []
    with pytest.raises(rack.GroupEnded):
        group.fork(nap)
    with pytest.raises(rack.NoGroup):
        rack.getpid()
    group.end()


def test_an_exception_ends_the_block_and_passes(transport: str) -> None:
    with pytest.raises(KeyError), rack.group(transport=transport, end_grace=0.5) as group:
        group.fork(nap)
        raise KeyError("mine")
    assert rack.groups() == []


def test_end_within_the_block(transport: str) -> None:
    with rack.group(transport=transport, end_grace=0.5) as group:
        child = group.fork(nap)
        group.end("enough")
        assert "enough" in child.wait().evidence


BLOCK = """
    import os, sys, time
    import rackactor as rack
    from rackactor.launch import directories
    with rack.group(transport=sys.argv[1], end_grace=0.5) as g:
        me = g.getpid()
        p = g.fork(lambda: (rack.process(me).tell("up"), time.sleep(60)))
        print(rack.receive().value, flush=True)
        sys.stdin.readline()
        {end}
"""
EPHEMERAL = """
    import os, signal, sys, time
    import rackactor as rack
    p = rack.fork(lambda: (rack.process(rack.getppid()).tell("up"), time.sleep(60)))
    print(rack.receive().value, flush=True)
    sys.stdin.readline()
    {end}
"""


def outlive(program: Script, action: Callable[[Script], None]) -> int:
    """Let a script start, act on it, and see that its group ends with it, within the bound."""
    program.line()
    mine = started_here() - {program.process.pid}
    assert len(mine) >= 3, "a supervisor, a fork server and a process"
    assert program.process.stdin is not None
    print(file=program.process.stdin, flush=True)
    action(program)
    code = program.end()[0]
    assert not wait_gone(mine, 5.0)
    assert eventually(lambda: not group_dirs(), 2.0)
    return code


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_script_ends_the_group(transport: str, sig: signal.Signals, script: RunScript) -> None:
    program = script(BLOCK.format(end="time.sleep(60)"), transport)
    code = outlive(program, lambda p: p.process.send_signal(sig))
    assert code == -sig


def test_interrupts_that_come_in_rows(transport: str, script: RunScript) -> None:
    """A person who presses Ctrl-C again while the group ends gets no other end."""
    program = script(BLOCK.format(end="time.sleep(60)"), transport)

    def press(program: Script) -> None:
        while program.process.poll() is None:
            program.process.send_signal(signal.SIGINT)
            time.sleep(0.05)

    outlive(program, press)


@pytest.mark.parametrize(
    "end, code",
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("raise KeyError('x')", 1),
        ("os._exit(4)", 4),
        ("os.kill(os.getpid(), signal.SIGKILL)", -9),
        ("os.abort()", -6),
        ("p.wait()", -2),
    ],
)
def test_an_ephemeral_group_ends_with_its_script(end: str, code: int, script: RunScript) -> None:
    program = script(EPHEMERAL.format(end=end))
    interrupt = signal.SIGINT if code == -2 else 0
    assert outlive(program, lambda p: p.process.send_signal(interrupt) if interrupt else None) == code


def test_two_groups_never_see_each_other(transport: str) -> None:
    with rack.group("one", transport=transport) as one, rack.group("two", transport=transport) as two:
        assert one.gid != two.gid
        [first, second] = [g.fork(lambda: (rack.getgid(), [r["pid"] for r in rack.ps()])) for g in (one, two)]
        assert first.result()[0] == one.gid
        assert second.result()[0] == two.gid
        lone = one.fork(nap, n=3)[-1]
        with pytest.raises(ProcessLookupError):
            two.kill(lone.pid, 0)
        with pytest.raises(rack.RackError):
            two.process(lone.pid).ask("?", timeout=5)
        assert rack.getgid() == two.gid, "the innermost block is the current group"
    with pytest.raises(rack.NoGroup):
        rack.ps()


# -- where it lives -------------------------------------------------------------------------------


def test_its_directory_is_for_nobody_else(group: rack.Group, transport: str) -> None:
    for path in (directories.base(), directories.group_dir(group.gid)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE((directories.group_dir(group.gid) / "group.json").stat().st_mode) == 0o600
    if transport == "ipc":
        assert (directories.group_dir(group.gid) / "s").is_socket()


@pytest.mark.parametrize("runtime", [None, "/nonexistent", "/proc"])
def test_the_fallback_of_its_directory(runtime: str | None, monkeypatch: Any, tmp_path_factory: Any) -> None:
    monkeypatch.setattr("tempfile.tempdir", None)
    with monkeypatch.context() as patch:
        short = Path(os.environ["XDG_RUNTIME_DIR"])
        patch.setenv("TMPDIR", str(short))
        patch.delenv("XDG_RUNTIME_DIR") if runtime is None else patch.setenv("XDG_RUNTIME_DIR", runtime)
        with rack.group() as group:
            assert directories.base() == short / f"rackactor-{os.getuid()}"
            assert directories.group_dir(group.gid).is_dir()
            assert group.fork(nap, 0).result(20) is None
        assert list(directories.base().iterdir()) == []
        directories.base().rmdir()


def test_a_directory_of_somebody_else_is_refused(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "rackactor").mkdir(mode=0o755)
    (tmp_path / "rackactor").chmod(0o755)
    with pytest.raises(rack.StartError, match="nobody else may enter"):
        rack.group()
    (tmp_path / "rackactor").rmdir()
    (tmp_path / "rackactor").symlink_to("/tmp")
    with pytest.raises(rack.StartError):
        rack.group()


def test_a_path_that_is_too_long_for_sockets(monkeypatch: Any, tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100)
    deep.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    with pytest.raises(rack.InvalidCall, match="too long a path"):
        rack.group()
    assert list((deep / "rackactor").iterdir()) == []


def test_what_killed_groups_have_left_is_swept() -> None:
    stale = directories.base() / "0123456789ab"
    stale.mkdir(mode=0o700)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    directories.write_card(stale, {"os_pid": dead.pid, "os_started": 1, "gid": "0123456789ab"})
    (stale / "s").touch()
    unfinished, beginning = directories.base() / "unfinished", directories.base() / "beginning"
    for path in (unfinished, beginning):
        path.mkdir(mode=0o700)
    os.utime(unfinished, (1, 1))
    with rack.group() as group:
        assert group_dirs() == {"beginning", group.gid[:12]}
    beginning.rmdir()


@pytest.mark.parametrize(
    "settings, named",
    [
        ({"transport": "udp"}, "transport"),
        ({"provider": "moon"}, "moon"),
        ({"graec": 1}, "graec"),
        ({"grace": -1}, "grace"),
        ({"grace": "soon"}, "grace"),
        ({"grace": float("nan")}, "grace"),
        ({"grace": float("inf")}, "grace"),
        ({"heartbeat": True}, "heartbeat"),
        ({"pickle": 1}, "pickle"),
        ({"lease": object()}, "lease"),
        ({"max_spawns": 0}, "max_spawns"),
        ({"deadline": 0}, "deadline"),
        ({"deadline": "tomorrow"}, "deadline"),
        ({"name": 7}, "name"),
        ({"name": "x\0y"}, "name"),
        ({"provider_settings": {"preload": 5}}, "preload"),
        ({"provider_settings": {"preloads": ["json"]}}, "preloads"),
        ({"provider_settings": 5}, "provider_settings"),
        # a lease shorter than a heartbeat would end every process that is in good health
        ({"lease": 0.5, "heartbeat": 1.0}, "lease"),
        ({"lost_after": 0.5, "heartbeat": 1.0}, "lost_after"),
    ],
)
def test_a_bad_setting_is_named(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(rack.InvalidCall, match=named):
        rack.group(**settings).end()


# -- its end by other hands -----------------------------------------------------------------------


def test_its_deadline(transport: str) -> None:
    with rack.group(transport=transport, deadline=0.5, end_grace=0.2) as group:
        child = group.fork(nap)
        status = child.wait(timeout=60)
        assert status.cause is rack.Cause.GROUP_ENDED
        assert "deadline" in status.evidence
        with pytest.raises(rack.GroupEnded, match="deadline"):
            eventually(lambda: not rack.ps())


def test_kill_of_the_supervisor(transport: str) -> None:
    """Everything ends, and the script's calls say so instead of hanging."""
    with rack.group(transport=transport, lease=1.5, heartbeat=0.3) as group:
        children = group.fork(nap, n=3)
        group.fork(["sleep", "60"])
        assert group.kill([child.pid for child in children], 0) is None
        mine = started_here()
        supervisor_of(group).kill()
        with pytest.raises(rack.GroupEnded):
            children[0].wait(timeout=10)
        with pytest.raises(rack.GroupEnded):
            group.fork(nap)
        with pytest.raises(rack.GroupEnded):
            children[0].tell("?")
        assert eventually(lambda: not group_dirs(), 5.0)
    assert not wait_gone(mine, 5.0)


def test_kill_of_the_fork_server(transport: str) -> None:
    with rack.group(transport=transport) as group:
        children = group.fork(nap, n=3)
        pids = {os_pid_of(child) for child in children}
        fork_server_of(supervisor_of(group)).kill()
        for child in children:
            status = child.wait(timeout=60)
            assert status.cause is rack.Cause.DELETED_OUTSIDE
            assert "fork server died" in status.evidence
        assert not wait_gone(pids, 2.0)
        status = group.fork(nap).wait(timeout=60)
        assert status.cause is rack.Cause.BOOT_FAILED
        assert "fork server died" in status.evidence


def test_a_supervisor_that_cannot_start_says_why(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(rack.StartError):
        rack.group()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    with pytest.raises(rack.StartError):
        rack.group()


# -- os.fork and threads in the script ------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_by_os_fork_is_no_process_of_the_group(group: rack.Group) -> None:
    child = group.fork(nap)
    reader, writer = os.pipe()
    os_pid = os.fork()
    if os_pid == 0:
        told = []
        for call in (rack.getpid, rack.ps, lambda: rack.fork(nap), lambda: child.tell("?"), child.poll, group.end):
            try:
                told.append(repr(call()))  # type: ignore[operator]
            except BaseException as error:
                told.append(type(error).__name__)
        os.write(writer, json.dumps(told).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        told = json.load(file)
    os.waitpid(os_pid, 0)
    assert told[:5] == ["NoGroup", "NoGroup", "NoGroup", "GroupEnded", "GroupEnded"]
    assert told[5] == "None"
    assert child.is_alive(), "its end does not end the group"


def test_multiprocessing_in_the_script_leaves_the_group_alone(script: RunScript) -> None:
    program = script("""
        import multiprocessing, os, sys, time, warnings
        import rackactor as rack
        warnings.simplefilter("ignore", DeprecationWarning)  # since 3.12 Python warns of os.fork beside threads
        with rack.group() as g:
            p = g.fork(lambda: rack.receive().value)
            context = multiprocessing.get_context("fork")
            with context.Pool(2) as pool:
                assert pool.map(abs, [-1, -2]) == [1, 2]
            if os.fork() == 0:
                sys.exit(0)      # atexit hooks run in this child: they end nobody's group
            os.wait()
            p.tell("still here")
            print(p.result(10))
    """)
    assert program.end() == (0, "still here\n", "")


def test_an_ephemeral_group_is_one_for_all_threads(script: RunScript) -> None:
    program = script("""
        import threading
        import rackactor as rack
        pids = []
        def work():
            pids.append(rack.fork(lambda: rack.getgid()).result(20))
        threads = [threading.Thread(target=work) for _ in range(4)]
        for t in threads: t.start()
        for t in threads: t.join()
        print(len(pids), len(set(pids)))
    """)
    assert program.end() == (0, "4 1\n", "")


def test_output_of_processes_is_shown(script: RunScript) -> None:
    program = script("""
        import sys
        import rackactor as rack
        with rack.group() as g:
            g.fork(lambda: (print("out"), print("err", file=sys.stderr))).wait()
    """)
    assert program.end() == (0, "out\n", "err\n")
