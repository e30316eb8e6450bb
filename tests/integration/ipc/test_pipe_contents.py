"""What goes through pipes: bytes, lines and files, large messages, and more than anybody reads."""

from __future__ import annotations

import csv
import os
import time

import numpy as np
import pytest
from pipetargets import ENOUGH, count
from support import eventually

import rackactor as rack
from rackactor.ipc.pipes import framing, registry
from rackactor.wire import frames


@pytest.fixture
def group(pipe_group: rack.Group) -> rack.Group:
    return pipe_group


MB = 1 << 20


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
