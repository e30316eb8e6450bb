"""Pipes between real processes: how ends reach them, and who gets which messages."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import numpy as np
import pytest
from pipetargets import ENOUGH, count, produce
from support import eventually

import rackactor as rack
from rackactor.launch import directories
from rackactor.syscalls.group import attach


@pytest.fixture
def group(pipe_group: rack.Group) -> rack.Group:
    return pipe_group


def collect(reader: rack.PipeReader) -> list[Any]:
    return list(reader)


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
