"""What the operating system refuses costs one answer, and never the group."""

from __future__ import annotations

import subprocess
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import Script

import rackactor as rack

#: At the head of each program.
HEAD = """
import os, resource, sys
import rackactor as rack
few = {"provider_settings": {"warm": 2}}
"""
#: Show that a group is as good as ever.
WELL = """
def well(g):
    assert g.fork(pow, 2, 10).result(timeout=60) == 1024
    child = g.fork(["echo", "still here"])
    assert child.stdout.read() == b"still here\\n", child.wait()
    assert child.wait().code == 0
    print("well", flush=True)
"""


def program(text: str) -> str:
    return HEAD + WELL + textwrap.dedent(text)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A runtime directory of three megabytes in memory. Its path is short, for sockets lie in there."""
    place = Path(tempfile.mkdtemp(prefix="rk-", dir="/tmp"))
    try:
        words = ["mount", "-t", "tmpfs", "-o", "size=3m,mode=700", "tmpfs", str(place)]
        subprocess.run(words, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        place.rmdir()
        pytest.skip("only root may mount a small file system to fill")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)
    place.rmdir()


def test_a_runtime_directory_that_is_full(script: Callable[..., Script], small_disk: Path) -> None:
    text = """
    def chatter(n):
        for _ in range(n):
            print("x" * 99)

    def chatter_when_told(n):
        print("ready", flush=True)
        rack.receive()
        chatter(n)

    with rack.group("full", echo=False, **few) as g:
        loud = [g.fork(chatter, 200_000) for _ in range(2)]
        assert [child.wait(60).code for child in loud] == [0, 0]
        try:
            loud[0].stdout.read()
        except rack.OutputLost as error:
            print("lost", str(error).split()[0], flush=True)
        rest = loud[0].stdout.read()
        assert rest and rest.endswith(b"x" * 99 + b"\\n")
        g.shm["k"] = 1
        assert g.shm["k"] == 1
        well(g)
        os.write(os.open(os.environ["XDG_RUNTIME_DIR"] + "/filler", os.O_CREAT | os.O_WRONLY), bytes(4 << 20))
        follower = g.fork(chatter_when_told, 20_000)
        assert follower.stdout.readline() == b"ready\\n"
        follower.tell("go on")
        assert len(follower.stdout.read()) == 2_000_000  # who follows misses nothing
        well(g)
    """
    code, out, err = script(program(text), env={"XDG_RUNTIME_DIR": str(small_disk)}).end(120)
    assert code == 0, err
    lost, count, *rest = out.split()
    assert (lost, rest) == ("lost", ["well", "well"])
    assert int(count) > 10_000_000
    assert [path.name for path in (small_disk / "rackactor").iterdir()] == []


def test_a_limit_on_the_size_of_files(script: Callable[..., Script]) -> None:
    """`ulimit -f`: Python ignores SIGXFSZ, so a write beyond it is an error."""
    text = """
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))

    def chatter(n):
        for _ in range(n):
            print("x" * 99)

    with rack.group("short", echo=False, **few) as g:
        assert g.fork(chatter, 50_000).wait(60).code == 0
        try:
            g.shm["k"] = bytes(2 << 20)
        except rack.MemoryFull as error:
            print("full:", str(error).partition(":")[0], flush=True)
        try:
            with g.open("/big", "wb") as file:
                file.write(bytes(2 << 20))
        except OSError as error:
            print("files:", error.strerror, flush=True)
        well(g)
    """
    code, out, err = script(program(text)).end(120)
    assert code == 0, err
    assert out.splitlines() == [
        "full: the group's shared memory may not grow",
        "files: File too large",
        "well",
    ]


@pytest.mark.parametrize("limit", [800_000, 1_300_000])
def test_a_limit_on_the_address_space(script: Callable[..., Script], limit: int) -> None:
    """`ulimit -v`: a map of the whole shared memory cannot be made, by the supervisor or by the reader."""
    text = f"""
    resource.setrlimit(resource.RLIMIT_AS, ({limit} << 10, resource.RLIM_INFINITY))
    with rack.group("narrow", **few) as g:
        for _ in range(3):
            try:
                g.shm["k"] = 1
                assert g.shm["k"] == 1
            except MemoryError as error:
                assert isinstance(error, rack.MemoryFull), repr(error)
                assert "shm_size=" in str(error), error
                print("full", flush=True)
        well(g)
    with rack.group("narrow", shm_size="64M", **few) as g:
        g.shm["k"] = 1
        assert g.shm["k"] == 1
        well(g)
    """
    code, out, err = script(program(text)).end(120)
    assert code == 0, err
    assert out.split() == ["full"] * 3 + ["well", "well"]


def test_no_descriptor_is_left(script: Callable[..., Script]) -> None:
    """Strangers take all of the supervisor's descriptors: that costs answers, and accepting goes on later."""
    text = """
    import socket, time
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
    with rack.group("crowded", transport="tcp", **few) as g:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
        place = g.kernel.sockets.endpoint.removeprefix("tcp://").rsplit(":", 1)
        supervisor = g._supervisor.pid
        ready = g.fork(lambda: sum(1 for _ in rack.receive().value))
        ready.poll()
        crowd, here = [], os.getpid()
        before = len(os.listdir(f"/proc/{supervisor}/fd"))
        pid = os.fork()
        if not pid:
            until = time.monotonic() + 60
            while time.monotonic() < until and os.getppid() == here:
                try:
                    crowd.append(socket.create_connection((place[0], int(place[1])), 1))
                except OSError:
                    time.sleep(0.01)
                if len(crowd) > 190:
                    crowd.pop(0).close()
            os._exit(0)
        try:
            until = time.monotonic() + 20
            while len(os.listdir(f"/proc/{supervisor}/fd")) < before + 20 and time.monotonic() < until:
                time.sleep(0.05)
            print(len(os.listdir(f"/proc/{supervisor}/fd")) >= before + 20, flush=True)
            loud = g.fork(["sh", "-c", "echo words"])
            try:
                g.shm["k"] = 1
                assert g.shm["k"] == 1
            except rack.RackError as error:
                assert "Too many open files" in str(error), error
            ready.tell([1, 2])
            assert ready.result(timeout=60) == 2
        finally:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
        loud.wait(60)
        until = time.monotonic() + 20
        while time.monotonic() < until:
            try:
                well(g)
                g.shm["k"] = 2
                assert g.shm["k"] == 2
                break
            except rack.RackError as error:
                print(repr(error), file=sys.stderr)
                time.sleep(1)
    """
    code, out, err = script(program(text)).end(150)
    assert code == 0, err
    assert out.split() == ["True", "well"], err


def test_a_process_without_standard_files_has_not_been_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "crippled.py").write_text(
        "import errno, os\n"
        "from rackactor_runtime.agent import main\n"
        "def refuse(*_):\n"
        "    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))\n"
        "main.StdinPump = refuse\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with rack.group("tight", provider_settings={"warm": 0, "preload": ["crippled"]}) as g:
        status = g.fork(["cat"]).wait(30)
        assert status.cause is rack.Cause.LOAD_FAILED
        assert "Too many open files" in status.evidence
