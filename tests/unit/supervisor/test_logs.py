"""What processes print: a bounded log, read at offsets, followed with back-pressure."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rackactor.errors import InvalidCall
from rackactor.wire.calls.logs import FEED, Logs
from rackactor_runtime.providers.base import Key
from rackactor_runtime.supervisor.clock import Clock
from rackactor_runtime.supervisor.logs.service import _KEEP, LogService
from rackactor_runtime.supervisor.logs.spool import CHUNK, Record, Spool

HEAD = 17  # of a record, bytes


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path / "out", 64 << 10)
    yield made
    made.close()
    assert list(tmp_path.iterdir()) == []


def read_all(spool: Spool, offset: int = 0) -> tuple[list[Record], int]:
    found: list[Record] = []
    lost = 0
    while True:
        records, offset, skipped = spool.read(offset)
        found += records
        lost += skipped
        if not records:
            return found, lost


def test_an_empty_spool(spool: Spool) -> None:
    assert spool.read(0) == ([], 0, 0)
    assert spool.tail() == ""
    assert spool.room(0)


def test_records_come_back_in_order(spool: Spool) -> None:
    spool.append(2, 1, 1.5, b"one")
    spool.append(3, 2, 2.5, b"")
    assert spool.read(0) == ([(2, 1, 1.5, b"one"), (3, 2, 2.5, b"")], 2 * HEAD + 3, 0)
    assert spool.read(HEAD + 3) == ([(3, 2, 2.5, b"")], 2 * HEAD + 3, 0)
    assert spool.read(spool.end) == ([], spool.end, 0)


def test_more_than_a_chunk_in_both_files(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "out", 4 * CHUNK)
    data = bytes(1000)
    while spool.end < 3 * CHUNK:
        spool.append(2, 1, 0.0, data)
    records, offset, skipped = spool.read(0)
    assert sum(len(record[3]) for record in records) < CHUNK + len(data)
    assert skipped == 0
    rest, lost = read_all(spool, offset)
    assert lost == 0
    assert (len(records) + len(rest)) * (HEAD + len(data)) == spool.end
    spool.close()


def test_the_oldest_goes_and_a_reader_is_told(spool: Spool, tmp_path: Path) -> None:
    for number in range(1000):
        spool.append(2, 1, float(number), bytes(1000))
    found, lost = read_all(spool)
    assert lost + len(found) * (HEAD + 1000) == spool.end
    assert lost > 0
    assert [record[2] for record in found] == [float(n) for n in range(1000 - len(found), 1000)]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= (64 << 10) + 2 * 1017


def test_nothing_goes_that_is_kept(spool: Spool) -> None:
    keep = 10 * (HEAD + 1000)
    for number in range(300):
        spool.append(2, 1, float(number), bytes(1000), keep)
    records, _, skipped = spool.read(keep)
    assert skipped == 0
    assert records[0][2] == 10.0
    for _ in range(100):
        spool.append(2, 1, 0.0, bytes(1000))
    assert spool.read(keep)[2] > 0


def test_a_resting_spool_holds_no_descriptor_and_is_read(spool: Spool) -> None:
    before = len(os.listdir("/proc/self/fd"))
    spool.append(2, 1, 0.0, b"a")
    spool.rest()
    assert len(os.listdir("/proc/self/fd")) == before
    assert spool.read(0)[0] == [(2, 1, 0.0, b"a")]
    spool.append(2, 1, 0.0, b"b")
    assert [record[3] for record in spool.read(0)[0]] == [b"a", b"b"]
    assert len(os.listdir("/proc/self/fd")) == before + 1


@pytest.mark.parametrize("offset", range(1, HEAD + 100))
def test_an_offset_within_a_record(spool: Spool, offset: int) -> None:
    for _ in range(3):
        spool.append(2, 1, 0.0, b"\xff" * 100)
    if offset == HEAD + 100:
        return
    with pytest.raises(InvalidCall, match="no record"):
        spool.read(offset)


def test_offsets_outside(spool: Spool) -> None:
    spool.append(2, 1, 0.0, b"x")
    assert spool.read(-5) == ([(2, 1, 0.0, b"x")], spool.end, 0)
    assert spool.read(10**12) == ([], spool.end, 0)


@given(st.lists(st.binary(max_size=9000), max_size=30))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_the_tail_is_the_end_of_what_was_printed(tmp_path: Path, datas: list[bytes]) -> None:
    spool = Spool(tmp_path / "out", 8192)
    for data in datas:
        spool.append(2, 1, 0.0, data)
    assert spool.tail() == b"".join(datas)[-8192:].decode("utf-8", "replace")
    spool.close()


# -- the service ----------------------------------------------------------------------------------------


class Service:
    """A LogService, and what it has granted and answered."""

    def __init__(self, directory: Path, limit: int = 64 << 10) -> None:
        self.granted: dict[Key, int] = {}
        self.answers: list[tuple[int, int, dict[str, Any], list[Any]]] = []
        self.dead: set[int] = set()
        self.service = LogService(directory, limit, self.grant, self.reply, lambda pid: pid not in self.dead, Clock())

    def grant(self, key: Key, count: int) -> None:
        self.granted[key] = self.granted.get(key, 0) + count

    def reply(self, pid: int, rid: int, fields: dict[str, Any], blobs: list[bytes]) -> None:
        self.answers.append((pid, rid, fields, msgpack.unpackb(blobs[0])))

    def call(self, caller: int, rid: int, pid: int, offset: int, follow: bool = False) -> None:
        self.service.call(caller, rid, Logs(pid, offset, follow=follow))

    def take(self) -> tuple[int, int, dict[str, Any], list[Any]]:
        (answer,) = self.answers
        self.answers.clear()
        return answer


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path)
    yield made
    made.service.close()
    assert list(tmp_path.iterdir()) == []


A, B = Key(5, 1), Key(6, 1)


def test_with_nobody_following_the_writer_is_never_held_back(logs: Service) -> None:
    for _ in range(500):
        logs.service.output(A, 1, bytes(1000), feed=False)
    assert logs.granted[A] == 500_000
    logs.call(2, 1, 5, 0)
    _, _, fields, records = logs.take()
    assert fields["skipped"] > 0
    assert not fields["eof"]
    assert fields["skipped"] + len(records) * 1017 == 500 * 1017


def test_a_follower_holds_the_writer_back_and_misses_nothing(logs: Service) -> None:
    logs.call(2, 1, 5, 0, follow=True)
    assert logs.answers == []
    credit, sent = 64 << 10, 0
    while logs.granted.get(A, 0) + credit - sent >= 1000:
        logs.service.output(A, 1, bytes(1000), feed=False)
        sent += 1000
    assert sent < 256 << 10  # blocked
    got, rid = 0, 1
    offset = 0
    while logs.answers:
        _, _, fields, records = logs.take()
        assert fields["skipped"] == 0
        got += sum(len(record[3]) for record in records)
        offset, rid = fields["next"], rid + 1
        logs.call(2, rid, 5, offset, follow=True)
    assert got == sent
    assert logs.granted[A] == sent  # the credit is back
    logs.service.output(A, 2, b"more", feed=False)
    assert logs.take()[3][0][1:] == [2, pytest.approx(0, abs=1e12), b"more"]


@pytest.mark.parametrize("how", ["one", "all"])
def test_a_follower_that_leaves_holds_nobody_back(logs: Service, how: str) -> None:
    logs.call(2, 1, 5, 0, follow=True)
    for _ in range(100):
        logs.service.output(A, 1, bytes(1000), feed=False)
    assert logs.granted[A] < 100_000
    logs.service.unfollow(2, 5 if how == "one" else None)
    assert logs.granted[A] == 100_000


def test_a_slow_follower_beside_a_quick_one(logs: Service) -> None:
    logs.call(2, 1, 5, 0, follow=True)
    logs.call(3, 1, 5, 0, follow=True)
    for _ in range(100):
        logs.service.output(A, 1, bytes(1000), feed=False)
    logs.answers.clear()
    logs.call(2, 2, 5, 100 * 1017, follow=True)
    assert logs.granted[A] < 100_000  # 3 has not read
    logs.service.unfollow(3)
    assert logs.granted[A] == 100_000


def test_two_readers_of_one_process_are_two(logs: Service) -> None:
    for reader in (1, 2):
        logs.service.call(2, reader, Logs(5, 0, follow=True, reader=reader))
    for _ in range(100):
        logs.service.output(A, 1, bytes(1000), feed=False)
    assert [answer[1] for answer in logs.answers] == [1, 2]
    logs.answers.clear()
    logs.service.call(2, 3, Logs(5, 100 * 1017, follow=True, reader=1))
    assert logs.granted[A] < 100_000  # the other has not read
    logs.service.call(2, 0, Logs(5, 0, reader=2, leave=True))
    assert logs.granted[A] == 100_000
    assert logs.answers == []
    logs.service.output(A, 2, b"x", feed=False)
    assert logs.take()[1] == 3


def test_the_feed_holds_its_writers_back_and_no_other(logs: Service) -> None:
    logs.call(2, 1, FEED, 0, follow=True)
    logs.call(3, 1, 6, 0, follow=True)
    for _ in range(100):
        logs.service.output(A, 1, bytes(1000), feed=True)
        logs.service.output(B, 1, bytes(1000), feed=False)
    assert logs.granted[A] < 100_000
    assert logs.granted[B] < 100_000
    logs.answers.clear()
    logs.call(3, 2, 6, 100 * 1017, follow=True)
    assert logs.granted[B] == 100_000  # the reader of 6 has caught up, whatever the feed's does
    assert logs.granted[A] < 100_000
    logs.call(2, 2, FEED, 100 * 1017, follow=True)
    assert logs.granted[A] == 100_000


def test_many_writers_of_a_feed_lose_nothing_of_what_their_credit_lets_through(logs: Service) -> None:
    logs.call(2, 1, FEED, 0, follow=True)
    keys = [Key(pid, 1) for pid in range(10, 40)]
    for key in keys:
        for _ in range(64):
            logs.service.output(key, 1, bytes(1000), feed=True)
    offset = logs.take()[2]["next"]
    seen = 1
    while seen < len(keys) * 64:
        logs.call(2, 1, FEED, offset, follow=True)
        _, _, fields, records = logs.take()
        assert fields["skipped"] == 0
        offset, seen = fields["next"], seen + len(records)
    logs.call(2, 1, FEED, offset, follow=True)
    assert {key: logs.granted[key] for key in keys} == dict.fromkeys(keys, 64_000)


def test_the_end_is_told_once_to_each_call(logs: Service) -> None:
    logs.service.output(A, 1, b"abc", feed=False)
    logs.call(2, 1, 5, HEAD + 3, follow=True)
    assert logs.answers == []
    logs.service.ended(5)
    logs.service.ended(5)
    assert logs.take()[2] == {"next": HEAD + 3, "skipped": 0, "eof": True}
    logs.call(2, 2, 5, 0, follow=True)
    _, rid, fields, records = logs.take()
    assert (rid, fields["eof"], records[0][3]) == (2, True, b"abc")


def test_the_end_is_not_told_before_everything_is_read(tmp_path: Path) -> None:
    logs = Service(tmp_path, 4 << 20)
    for _ in range(600):
        logs.service.output(A, 1, bytes(1000), feed=False)
    logs.service.ended(5)
    offset, ends = 0, []
    while not ends or not ends[-1]:
        logs.call(2, 1, 5, offset)
        fields = logs.take()[2]
        offset = fields["next"]
        ends.append(fields["eof"])
    assert len(ends) == 3
    logs.service.close()


def test_the_feed_ends_with_the_group(logs: Service) -> None:
    logs.call(2, 1, FEED, 0, follow=True)
    logs.service.end_feed()
    assert logs.take()[2]["eof"]


def test_a_process_that_printed_nothing_ends(logs: Service) -> None:
    logs.service.ended(5)
    logs.call(2, 1, 5, 0, follow=True)
    assert logs.take()[2] == {"next": 0, "skipped": 0, "eof": True}


def test_what_was_forgotten_is_at_its_end(logs: Service) -> None:
    logs.service.output(A, 1, b"abc", feed=False)
    for pid in range(5, 5 + _KEEP + 10):
        logs.service.ended(pid)
        logs.dead.add(pid)
    logs.call(2, 1, 5, HEAD + 3, follow=True)
    assert logs.take()[2] == {"next": 0, "skipped": 0, "eof": True}


@pytest.mark.parametrize(
    "args",
    [
        {},
        {"pid": 5},
        {"pid": "5", "offset": 0},
        {"pid": 5, "offset": "x"},
        {"pid": 5, "offset": None},
        {"pid": -1, "offset": 0},
        {"pid": 5, "offset": -1},
        {"pid": 5, "offset": 3},
        {"pid": 5, "offset": 3, "follow": True},
        {"pid": 5, "offset": 10**9, "follow": True},
        {"pid": True, "offset": 0},
        {"pid": [5], "offset": 0},
        {"pid": 5, "offset": 0, "reader": "x", "follow": True},
        {"pid": 5, "offset": 0, "reader": [1], "leave": True},
    ],
    ids=repr,
)
def test_bad_calls_are_refused_and_harm_nobody(logs: Service, args: dict[str, Any]) -> None:
    logs.service.output(A, 1, bytes(100), feed=False)
    with pytest.raises(InvalidCall):
        logs.service.call(3, 1, Logs.from_wire(args))
    for _ in range(200):
        logs.service.output(A, 1, bytes(1000), feed=False)
    assert logs.granted[A] == 200_100  # nobody follows
    assert logs.answers == []


def test_what_was_printed_last(logs: Service) -> None:
    assert logs.service.tail(5) == ""
    logs.service.output(A, 1, b"one\n", feed=False)
    logs.service.output(A, 2, b"two\xff", feed=False)
    assert logs.service.tail(5) == "one\ntwo\ufffd"
