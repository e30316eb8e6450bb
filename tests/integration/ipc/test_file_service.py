"""The file service of a group: backends, slow ones among them, its death, and what is left when somebody is killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import fsspec
import psutil
import pytest
from support import HELPERS, PATIENCE, Script, eventually, file_dirs, group_dirs, started_here, wait_gone

import rackactor as rack
from rackactor.errors import InvalidCall, NoGroup, ServiceFailed
from rackactor.launch import directories

BIG = bytes(range(256)) * 12_000  # three megabytes: several chunks


def test_in_no_group() -> None:
    with pytest.raises(NoGroup):
        fsspec.open("rack:///a").open()


def service_of(group: rack.Group) -> psutil.Process:
    """Return the program of the group's file service."""
    [card] = [card for card in directories.cards() if card["gid"] == group.gid]
    found = psutil.Process(card["os_pid"]).children()
    [service] = [child for child in found if "rackactor_runtime.services" in child.cmdline()]
    return service


def test_the_supervisor_goes_on_while_much_is_written(transport: str) -> None:
    def write() -> None:
        with rack.open("/big", "wb") as file:
            for _ in range(200):
                file.write(BIG[: 1 << 20])

    with rack.group(transport=transport, end_grace=0.5) as group:
        group.fs.touch("/begun")
        writer = group.fork(write)
        times = []
        while writer.is_alive():
            begun = time.perf_counter()
            group.ps()
            times.append(time.perf_counter() - begun)
        assert group.fs.info("/big")["size"] == 200 << 20
        assert sorted(times)[len(times) // 2] < 0.05
        assert max(times) < 1.0
        assert {"nobody": group.ps()[0]["pid"]} == {"nobody": group.getpid()}  # the service is none of them


def test_a_slow_file_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HELPERS))
    with rack.group(files={"url": "/x", "class": "slowfs:SlowFileSystem"}) as group:
        group.fs.pipe("/quick", b"q")
        slow = group.fork(lambda: rack.fs.exists("/slow"), n=3)
        assert eventually(lambda: all(child.info()["started"] for child in slow))
        times = []
        while any(child.is_alive() for child in slow):
            begun = time.perf_counter()
            assert group.fs.cat("/quick") == b"q"
            times.append(time.perf_counter() - begun)
            time.sleep(0.02)
        assert len(times) > 5
        assert max(times) < 1.0


def test_bad_backends_are_refused_when_the_group_is_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for bad in ("nonsense://x", f"file://{tmp_path}/file", "data", {"url": "memory://", "class": "nowhere:N"}):
        with pytest.raises(InvalidCall, match="files"):
            rack.group(files=bad)


def test_files_in_a_directory_of_ones_own_stay(tmp_path: Path) -> None:
    with rack.group(files=f"file://{tmp_path}/srv") as group:
        with rack.open("/data/x", "w") as file:
            file.write("kept")
        left = rack.open("/data/half", "wb")
        left.write(BIG)
        assert group.listdir("/data") == ["x"]
    assert [path.name for path in tmp_path.rglob("*")] == ["srv", "data", "x"]
    left.raw.end.failed = True  # not closed on purpose: no warning of it
    with rack.group(files=str(tmp_path / "srv")) as group:
        assert group.fs.cat("/data/x") == b"kept"


def test_after_the_death_of_the_service(transport: str) -> None:
    with rack.group(transport=transport) as group:
        group.fs.pipe("/a", BIG)
        reader, writer = group.open("/a", "rb"), group.open("/b", "wb")
        writer.write(BIG)
        os.kill(service_of(group).pid, signal.SIGKILL)
        if transport == "tcp":
            with pytest.raises(ServiceFailed):
                reader.read()
        with pytest.raises(ServiceFailed):
            writer.close()
        assert group.fs.cat("/a") == BIG  # the next one
        assert group.listdir() == ["a"]
        reader.close()


KILLED = """
    import sys, time
    import rackactor as rack
    def write():
        file = rack.open("/half", "wb")
        file.write(bytes(1 << 21))
        rack.process(rack.getppid()).tell("written")
        time.sleep(60)
    with rack.group(transport=sys.argv[1], files=sys.argv[2] or None) as group:
        group.fork(write)
        rack.receive()
        print(group.gid, flush=True)
        time.sleep(60)
"""


@pytest.mark.parametrize(
    "transport, victim",
    [("ipc", "script"), ("tcp", "script"), ("tcp", "supervisor"), ("ipc", "supervisor"), ("ipc", "all")],
)
def test_nothing_is_left_when_somebody_is_killed(
    transport: str, victim: str, tmp_path: Path, script: Callable[..., Script]
) -> None:
    before = started_here()
    own = victim != "all" and transport == "tcp"
    program = script(KILLED, transport, f"file://{tmp_path}" if own else "")
    gid = program.line()
    mine = started_here() - before
    [card] = [card for card in directories.cards() if card["gid"] == gid]
    assert bool(file_dirs()) is not own
    if victim == "script":
        program.process.kill()
    elif victim == "supervisor":
        os.kill(card["os_pid"], signal.SIGKILL)
    else:
        watching = [child.pid for child in psutil.Process(card["os_pid"]).children()]
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for os_pid in [program.process.pid, card["os_pid"], *watching]:
                os.kill(os_pid, number)
    if victim == "supervisor":
        program.process.kill()
    program.process.wait()
    assert not wait_gone(mine, PATIENCE)
    if victim == "all":
        with rack.group() as group:  # the next one sweeps
            assert group_dirs() == {group.gid[:12]}
            assert not file_dirs()
    assert eventually(lambda: not group_dirs() | file_dirs())
    assert list(tmp_path.iterdir()) == []
