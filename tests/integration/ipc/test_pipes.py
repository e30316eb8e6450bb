"""Pipes between real processes: who gets what, who waits, and what everybody hears of an end."""

from __future__ import annotations

import csv
import itertools
import os
import pickle
import signal
import threading
import time
from typing import Any

import numpy as np
import pytest
from support import eventually, os_pid_of

import rackactor as rack
from rackactor.ipc.pipes import framing, registry
from rackactor.launch import directories
from rackactor.syscalls.group import attach
from rackactor.wire import frames

ENOUGH = 30.0


@pytest.fixture
def group(pipe_group: rack.Group) -> rack.Group:
    return pipe_group


MB = 1 << 20


def collect(reader: rack.PipeReader) -> list[Any]:
    return list(reader)


def count(reader: rack.PipeReader, pause: float = 0.0) -> int:
    number = 0
    for _ in reader:
        number += 1
        time.sleep(pause)
    return number


def produce(writer: rack.PipeWriter, number: int, start: int = 0) -> None:
    for value in range(start, start + number):
        writer.send(value)


# -- both kinds ------------------------------------------------------------------------------------


def test_a_pipe_is_inherited(group: rack.Group) -> None:
    r, w = group.pipe()
    number = max(row["id"] for row in group.pipes())
    child = group.fork(collect, r)
    r.close()  # at once: the child's end was reserved when it was forked
    sent: list[Any] = [1, "two", b"3", None, {"four": [4.5]}, (6, 7), 10**30, b"", {1, 2}]
    for value in sent:
        w.send(value)
    w.close()
    assert child.result(ENOUGH) == sent
    assert eventually(lambda: all(row["id"] != number for row in group.pipes()))


def test_an_end_in_a_closure_and_in_containers(group: rack.Group) -> None:
    r, w = group.pipe()
    children = [
        group.fork(lambda: w.send("closure")),
        group.fork(lambda ends: ends["w"].send("container"), {"w": w}),
        group.fork(lambda end=None: end.send("keyword"), kwargs={"end": w}),
    ]
    w.close()
    assert sorted(r) == ["closure", "container", "keyword"]
    assert all(child.wait(ENOUGH).ok for child in children)


def test_actors_have_pipes(group: rack.Group) -> None:
    class Stage(rack.Actor):
        def __init__(self, reader: rack.PipeReader, writer: rack.PipeWriter) -> None:
            self.reader, self.writer = reader, writer

        def receiveMsg_str(self, message: str, sender: Any) -> None:
            for value in self.reader:
                self.writer.send(value * 2)
            self.writer.close()
            self.send(sender, "done")

    r1, w1 = group.pipe()
    r2, w2 = group.pipe()
    stage = group.fork(Stage, r1, w2)
    w2.close()
    produce(w1, 100)
    w1.close()
    asked = stage.submit("go")
    assert list(r2) == [2 * n for n in range(100)]
    assert asked.result(ENOUGH) == "done"
    stage.kill()
    assert stage.wait(ENOUGH)


@pytest.mark.parametrize("first", ["reader", "writer"])
def test_either_end_of_a_fifo_may_come_first(group: rack.Group, first: str) -> None:
    def row(name: str) -> dict[str, Any]:
        return next((row for row in group.pipes() if row["name"] == name), {})

    if first == "reader":
        child = group.fork(lambda: collect(rack.pipe("queue", "r")))
        assert eventually(lambda: row("queue") and row("queue")["readers"] == [child.pid])
        with group.pipe("queue", "w") as w:
            produce(w, 500)
        assert child.result(ENOUGH) == list(range(500))
    else:
        child = group.fork(lambda: produce(rack.pipe("queue", "w"), 500))
        assert child.wait(ENOUGH).ok, "nobody has to read for a writer to end"
        assert row("queue")["held"] > 0
        assert list(group.pipe("queue", "r")) == list(range(500))
    assert eventually(lambda: not row("queue"))


def test_a_fifo_of_few_words(group: rack.Group) -> None:
    assert group.fork(lambda: rack.pipe("x").send(1)).wait(ENOUGH).ok
    with group.pipe("x") as fifo:
        assert fifo.recv(ENOUGH) == 1
        with pytest.raises(rack.PipeEnded):
            fifo.recv(ENOUGH)
        with pytest.raises(EOFError):
            fifo.recv(ENOUGH)


def test_an_end_in_a_message(group: rack.Group) -> None:
    def worker() -> int:
        return sum(rack.receive().value)

    r, w = group.pipe()
    child = group.fork(worker)
    child.tell(r)
    assert eventually(lambda: any(child.pid in row["readers"] for row in group.pipes()))
    r.close()
    produce(w, 10)
    w.close()
    assert child.result(ENOUGH) == 45


def test_many_writers_and_many_readers(group: rack.Group) -> None:
    r, w = group.pipe()
    readers = group.fork(collect, r, n=3)
    writers = group.fork(lambda start: produce(w, 2000, start), each=[0, 2000, 4000])
    r.close()
    w.close()
    shares = [reader.result(ENOUGH) for reader in readers]
    assert sorted(itertools.chain(*shares)) == list(range(6000))
    for share in shares:
        for start in (0, 2000, 4000):
            mine = [value for value in share if start <= value < start + 2000]
            assert mine == sorted(mine)
    assert all(writer.wait(ENOUGH).ok for writer in writers)


def test_slow_readers_share_work_one_by_one(group: rack.Group) -> None:
    r, w = group.pipe()
    workers = group.fork(count, r, 0.05, n=4)
    r.close()
    produce(w, 40)
    w.close()
    shares = [worker.result(ENOUGH) for worker in workers]
    assert sum(shares) == 40
    assert max(shares) <= 20, shares


def test_both_ends_in_one_process(group: rack.Group) -> None:
    r, w = group.pipe()
    array = np.arange(10_000)
    w.send("one")
    w.send(array)
    array[:] = 0
    assert r.recv(ENOUGH) == "one"
    assert r.poll(ENOUGH)
    assert len(r.recv(ENOUGH)) == 10_000
    w.close()
    with pytest.raises(rack.PipeEnded):
        r.recv(ENOUGH)


# -- bytes -----------------------------------------------------------------------------------------


def test_bytes_lines_and_files(group: rack.Group) -> None:
    r, w = group.pipe()
    for data in (b"one\ntwo\nth", b"ree\n", b"four"):
        w.write(data)
    assert r.read(2) == b"on"
    assert r.readline() == b"e\n"
    assert r.readline() == b"two\n"
    assert r.readline() == b"three\n"
    buffer = bytearray(2)
    assert r.readinto(buffer) == 2
    w.close()
    assert bytes(buffer) + r.read() == b"four"
    assert r.read() == r.readline() == b""

    r, w = group.pipe(text=True)
    w.write("größe,1\nweiß,2\n")
    w.close()
    assert list(r) == ["größe,1\n", "weiß,2\n"]

    r, w = group.pipe()

    def table() -> None:
        with w.file("w") as file:
            csv.writer(file).writerows([["a", "b"], [1, 2]])

    group.fork(table)
    w.close()
    with r.file("r") as file:
        assert list(csv.reader(file)) == [["a", "b"], ["1", "2"]]
    with pytest.raises(OSError, match="no file descriptor"):
        r.fileno()


def test_large_messages_without_copies(group: rack.Group) -> None:
    def echo(r: rack.PipeReader, w: rack.PipeWriter) -> None:
        for value in r:
            w.send(value)

    r1, w1 = group.pipe()
    r2, w2 = group.pipe()
    group.fork(echo, r1, w2)
    w2.close()
    big = np.arange(100 * MB // 8)
    w1.send(big)
    back = r2.recv(ENOUGH)
    assert np.array_equal(big, back)
    assert back.flags.writeable
    del back
    array = np.random.default_rng(1).random((300, 300))
    w1.send({"array": array, "name": "x"})
    got = r2.recv(ENOUGH)
    assert np.array_equal(got["array"], array)
    assert not got["array"].flags.owndata, "it lies in the memory that it came in"
    for value in (os.urandom(MB), os.urandom(3 * MB), "text " * 100_000, b"x" * (16 << 10)):
        w1.send(value)
        assert r2.recv(ENOUGH) == value
    w1.send(memoryview(b"view" * 100_000))
    view = r2.recv(ENOUGH)
    assert isinstance(view, memoryview)
    assert view == b"view" * 100_000


def test_a_slow_reader_slows_its_writer(group: rack.Group) -> None:
    def read(r: rack.PipeReader) -> int:
        r.recv()
        time.sleep(1.0)  # five times as long as the writer waits
        return 1 + count(r, 0)

    r, w = group.pipe()
    reader = group.fork(read, r)
    r.close()
    with pytest.raises(rack.RackTimeout, match="was not sent"):
        for _ in range(200):
            w.send(b"x" * (100 << 10), timeout=0.2)
    numbers = w.statistics()
    assert numbers["waiting_bytes"] + numbers["unconfirmed_bytes"] < 6 * MB
    sent = numbers["messages"]
    w.close()
    assert reader.result(ENOUGH) == sent


# -- ends ------------------------------------------------------------------------------------------


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


def test_threads_share_an_end(group: rack.Group) -> None:
    r, w = group.pipe()
    child = group.fork(produce, w, 5000)
    w.close()
    got: list[list[int]] = [[] for _ in range(4)]
    threads = [threading.Thread(target=lambda mine=mine: mine.extend(r)) for mine in got]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(ENOUGH)
        assert not thread.is_alive()
    assert sorted(itertools.chain(*got)) == list(range(5000))
    assert child.wait(ENOUGH).ok


def test_what_the_supervisor_holds_is_bounded() -> None:
    with rack.group("small", pipe_held=1 << 20) as group:
        child = group.fork(lambda: [rack.pipe("big").send(b"x" * (600 << 10)) for _ in range(4)])
        assert eventually(lambda: group.pipes() and group.pipes()[0]["writers"])
        got = [len(data) for data in group.pipe("big", "r")]
        assert got == [600 << 10] * 4
        assert child.wait(ENOUGH).ok


def send_beyond_the_limits(size: int, limit: int) -> None:
    """Send one message that is larger than a frame may be, and end."""
    frames.MAX_MESSAGE, framing.CUT = limit, limit // 2
    rack.pipe("beyond").send(bytes(range(256)) * (size // 256))


def send_large(size: int) -> None:
    pattern = bytes(range(256)) * (size // 256)
    with rack.pipe("large") as writer:
        writer.send([1, pattern, np.arange(size // 8)])


def test_large_messages_are_handed_over_piece_by_piece(group: rack.Group) -> None:
    size = framing.AT_ONCE + framing.CUT // 2
    child = group.fork(send_large, size)
    assert child.wait(ENOUGH * 2).ok
    with group.pipe("large", "r") as reader:
        one, pattern, array = reader.recv(ENOUGH)
        assert (one, len(pattern), pattern[-1]) == (1, size, 255)
        assert np.array_equal(array, np.arange(size // 8))
        with pytest.raises(rack.PipeEnded):
            reader.recv(ENOUGH)


def test_a_message_larger_than_a_frame_is_handed_over_in_pieces(group: rack.Group) -> None:
    child = group.fork(send_beyond_the_limits, 1 << 20, 100_000)
    assert child.wait(ENOUGH).ok
    with group.pipe("beyond", "r") as reader:
        assert reader.recv(ENOUGH) == bytes(range(256)) * 4096
        with pytest.raises(rack.PipeEnded):
            reader.recv(ENOUGH)


def test_a_message_for_which_there_is_no_room_waits_for_its_reader() -> None:
    with rack.group("small", pipe_held=1 << 20) as group:
        child = group.fork(send_beyond_the_limits, 4 << 20, 100_000)
        assert eventually(lambda: group.process(child.pid).info()["started"])
        with group.pipe("beyond", "r") as reader:
            assert len(reader.recv(ENOUGH)) == 4 << 20
        assert child.wait(ENOUGH).ok


def send_what_nobody_reads(size: int) -> str:
    registry.PATIENCE = 0.3
    rack.pipe("unread").send(b"x" * size)
    return "what it returns"


def test_a_process_whose_messages_are_lost_has_not_ended_well() -> None:
    with rack.group("small", pipe_held=1 << 20) as group:
        child = group.fork(send_what_nobody_reads, 4 << 20)
        status = child.wait(ENOUGH)
        assert (status.cause, status.code) == ("exited", 120)
        assert "into pipe" in status.evidence
        assert "pipe_held" in status.evidence
        with group.pipe("unread", "r") as reader, pytest.raises(rack.PipeBroken, match="pipe_held"):
            reader.recv(ENOUGH)
        assert child.result(ENOUGH) == "what it returns"
        assert group.fork(send_what_nobody_reads, 1 << 10).result(ENOUGH) == "what it returns"


def test_an_operator_comes_and_goes(group: rack.Group) -> None:
    """What somebody from outside has sent stays, and what he has not taken goes back."""
    card = next(card for card in directories.cards() if card["gid"] == group.gid)
    outside = attach(card)
    outside.pipe("desk").send("from outside")
    outside.leave()
    with group.pipe("desk", "r") as reader:
        assert reader.recv(ENOUGH) == "from outside"
    with group.pipe("desk", "w") as writer:
        produce(writer, 3)
        outside = attach(card)
        assert outside.pipe("desk").recv(ENOUGH) == 0
        outside.leave()
        assert [group.pipe("desk", "r", timeout=ENOUGH).recv() for _ in range(2)] == [1, 2]
