"""What everybody hears of an end of a pipe that is closed, killed or never opened."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time

import pytest
from pipetargets import ENOUGH, produce
from support import eventually, os_pid_of

import rackactor as rack


@pytest.fixture
def group(pipe_group: rack.Group) -> rack.Group:
    return pipe_group


def test_a_writer_that_dies_breaks_the_pipe(group: rack.Group) -> None:
    def half() -> None:
        w.send("half")
        signal.pause()

    r, w = group.pipe()
    child = group.fork(half)
    w.close()
    assert r.recv(ENOUGH) == "half"
    os.kill(os_pid_of(child), signal.SIGKILL)
    with pytest.raises(rack.PipeBroken, match=f"process {child.pid}"):
        r.recv(ENOUGH)
    with pytest.raises(ConnectionResetError):
        r.read()


def test_an_exception_breaks_the_pipe_and_loses_nothing(group: rack.Group) -> None:
    def fail() -> None:
        w.send(1)
        raise LookupError("no more")

    r, w = group.pipe()
    group.fork(fail)
    w.close()
    assert r.recv(ENOUGH) == 1
    with pytest.raises(rack.PipeBroken, match="exception with code 1"):
        r.recv(ENOUGH)


def test_a_child_that_never_opens_its_end(group: rack.Group) -> None:
    r, w = group.pipe()
    child = group.fork(lambda unused: w, "x", env={"PYTHONHASHSEED": "0"})
    w.close()
    assert child.wait(ENOUGH).ok
    with pytest.raises(rack.PipeEnded):
        r.recv(ENOUGH)


def test_writers_without_readers(group: rack.Group) -> None:
    r, w = group.pipe()
    child = group.fork(lambda: r.recv())
    r.close()
    w.send("the only one")
    assert child.result(ENOUGH) == "the only one"
    with pytest.raises(rack.NoReader):
        for _ in range(100_000):
            w.send("too late")
    with pytest.raises(BrokenPipeError):
        w.send("still")


def test_a_reader_that_is_killed_loses_nothing_that_it_had_not_taken(group: rack.Group) -> None:
    def take_one(number: int) -> None:
        taken = [r.recv() for _ in range(5)]
        done.send(taken)
        signal.pause()

    r, w = group.pipe()
    told, done = group.pipe()
    doomed = group.fork(take_one, 5)
    produce(w, 1000)
    taken = told.recv(ENOUGH)
    assert taken == list(range(5))
    assert eventually(lambda: w.statistics()["taken"] == 5), "what was taken is confirmed soon"
    os.kill(os_pid_of(doomed), signal.SIGKILL)
    assert doomed.wait(ENOUGH).signal == signal.SIGKILL
    w.close()
    assert list(r) == list(range(5, 1000))


def test_closed_here(group: rack.Group) -> None:
    r, w = group.pipe()
    with r, w:
        pass
    for call in (r.recv, lambda: w.send(1), r.read, lambda: next(iter(r)), w.flush):
        with pytest.raises(rack.PipeClosed):
            call()
    with pytest.raises(ValueError, match="closed here"):
        pickle.dumps(r)
    r.close()


def test_bounds(group: rack.Group) -> None:
    r, w = group.pipe(timeout=0.05)
    for call in (r.recv, r.read, r.readline):
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            call()
        assert time.monotonic() - begun < 5
    assert not r.poll(0.01)
    with pytest.raises(rack.RackTimeout):
        w.send(1)
        w.flush()
    with pytest.raises(rack.RackTimeout):
        next(iter(group.pipe("nobody", "r", timeout=0.05)))
    for bad in ({"mode": "x", "name": "n"}, {"mode": "r"}, {"name": ""}, {"text": True, "binary": True}):
        with pytest.raises(rack.InvalidCall):
            group.pipe(**bad)
    with pytest.raises(rack.InvalidCall):
        r.recv(-1)


def test_a_child_of_os_fork_has_no_pipes(group: rack.Group) -> None:
    r, w = group.pipe()
    w.send(1)
    assert r.poll(ENOUGH)
    pid = os.fork()
    if pid == 0:
        code = 0
        for call in (r.recv, lambda: w.send(2)):
            try:
                call()
                code = 1
            except rack.GroupEnded as error:
                code = code if "os.fork" in str(error) else 2
            except BaseException:
                code = 3
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert r.recv(ENOUGH) == 1


def test_ctrl_c_ends_a_blocking_recv(group: rack.Group) -> None:
    r, w = group.pipe()
    timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        r.recv()
    assert time.monotonic() - begun < 2
    timer.join()
    w.send("on it goes")
    assert r.recv(ENOUGH) == "on it goes"
