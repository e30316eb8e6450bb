"""What processes print where no file can take it: less of it is kept, in memory, and what is lost is said."""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rackactor.wire.calls.logs import Logs
from rackactor_runtime.providers.base import Key
from rackactor_runtime.supervisor.clock import Clock
from rackactor_runtime.supervisor.logs import spool
from rackactor_runtime.supervisor.logs.service import LogService
from rackactor_runtime.supervisor.logs.spool import MEMORY, Spool

A = Key(5, 1)
HEAD = 17


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Have a share of all writes and opens for writing fail, as they do when the disk is full."""
    drawn = random.Random(7)
    share = 0.0
    real_write, real_open = os.writev, os.open

    def writev(descriptor: int, parts: Sequence[bytes]) -> int:
        if drawn.random() < share:
            if drawn.random() < 0.5:
                return real_write(descriptor, [parts[0]])  # what still fitted
            raise OSError(drawn.choice((errno.ENOSPC, errno.EFBIG, errno.EIO)), "injected")
        return real_write(descriptor, parts)

    def open_(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if drawn.random() < share and str(path).find("out") >= 0:
            raise OSError(drawn.choice((errno.ENOSPC, errno.ENOENT, errno.EMFILE)), "injected")
        return real_open(path, flags, *args, **kwargs)

    def set_share(value: float) -> None:
        nonlocal share
        share = value

    monkeypatch.setattr(spool.os, "writev", writev)
    monkeypatch.setattr(spool.os, "open", open_)
    return set_share


def read_all(spool: Spool) -> tuple[list[bytes], int]:
    found: list[bytes] = []
    offset = lost = 0
    while True:
        records, offset, skipped = spool.read(offset)
        found += [record[3] for record in records]
        lost += skipped
        if not records and not skipped:
            assert offset == spool.end
            return found, lost


def test_a_full_disk_leaves_the_newest_in_memory(tmp_path: Path, disk: Callable[[float], None]) -> None:
    spool = Spool(tmp_path / "out", 1 << 20)
    disk(1.0)
    for number in range(1000):
        spool.append(2, 1, 0.0, b"%5d" % number + bytes(995))
    found, lost = read_all(spool)
    assert found == [b"%5d" % number + bytes(995) for number in range(1000 - len(found), 1000)]
    assert lost == (1000 - len(found)) * (HEAD + 1000)
    assert MEMORY <= sum(map(len, found)) <= 2 * MEMORY + 1000
    assert spool.dropped == [(1000 - len(found)) * 1000, 0]
    spool.close()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_has_room_again_is_used_again(tmp_path: Path, disk: Callable[[float], None]) -> None:
    spool = Spool(tmp_path / "out", 1 << 20)
    disk(1.0)
    for _ in range(100):
        spool.append(2, 1, 0.0, bytes(1000))
    disk(0.0)
    for _ in range(800):
        spool.append(2, 1, 0.0, b"x" * 1000)
    found, _ = read_all(spool)
    assert found[-700:] == [b"x" * 1000] * 700
    spool.close()


def test_what_was_written_stays_when_the_next_does_not_fit(tmp_path: Path, disk: Callable[[float], None]) -> None:
    spool = Spool(tmp_path / "out", 1 << 20)
    spool.append(2, 1, 0.0, b"before")
    disk(1.0)
    spool.append(2, 2, 0.0, b"after")
    assert spool.read(0) == ([(2, 1, 0.0, b"before"), (2, 2, 0.0, b"after")], spool.end, 0)
    spool.close()


def test_a_directory_that_is_removed_costs_what_is_in_closed_files(tmp_path: Path) -> None:
    place = tmp_path / "group"
    place.mkdir()
    spool = Spool(place / "out", 8192)
    for number in range(5):
        spool.append(2, 1, 0.0, b"%d" % number * 1500)
    shutil.rmtree(place)
    found, lost = read_all(spool)
    assert ([data[:1] for data in found], lost) == ([b"3", b"4"], 3 * (HEAD + 1500))
    for number in range(5, 8):
        spool.append(2, 1, 0.0, b"%d" % number * 1500)
    found, lost = read_all(spool)
    assert ([data[:1] for data in found], lost) == ([b"6", b"7"], 6 * (HEAD + 1500))
    assert spool.dropped == [6 * 1500, 0]
    spool.close()


def test_a_log_that_cannot_be_read_just_now_is_read_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[tuple[int, dict[str, Any], list[Any]]] = []
    service = LogService(
        tmp_path,
        1 << 20,
        lambda key, count: None,
        lambda pid, rid, fields, blobs: answers.append((rid, fields, msgpack.unpackb(blobs[0]))),
        lambda pid: True,
        Clock(),
    )
    with monkeypatch.context() as broken:
        broken.setattr(Path, "open", _refuse)
        service.call(2, 1, Logs(5, 0, follow=True))
        service.output(A, 1, b"words", feed=False)
        service.again()
        assert answers == []
        with pytest.raises(OSError, match="Too many open files"):
            service.call(2, 2, Logs(5, 0))
    service.again()
    ((rid, fields, records),) = answers
    assert (rid, fields["skipped"], records[0][3]) == (1, 0, b"words")
    service.close()


def _refuse(*_: Any, **__: Any) -> Any:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_a_follower_misses_nothing_however_full_the_disk_is(tmp_path: Path, disk: Callable[[float], None]) -> None:
    disk(1.0)
    granted = 64 << 10
    seen: list[bytes] = []
    place = 0

    def grant(_: Key, count: int) -> None:
        nonlocal granted
        granted += count

    def reply(pid: int, rid: int, fields: dict[str, Any], blobs: list[bytes]) -> None:
        nonlocal place
        assert fields["skipped"] == 0
        seen.extend(record[3] for record in msgpack.unpackb(blobs[0]))
        place = fields["next"]

    service = LogService(tmp_path, 4 << 20, grant, reply, lambda pid: True, Clock())
    service.call(2, 1, Logs(5, 0, follow=True))
    printed: list[bytes] = []
    held = 0
    while len(printed) < 500:
        if granted >= 1000:
            printed.append(b"%5d" % len(printed) + bytes(995))
            granted -= 1000
            service.output(A, 1, printed[-1], feed=False)
        else:
            held += 1
            service.call(2, 1, Logs(5, place, follow=True))
    while len(seen) < len(printed):
        service.call(2, 1, Logs(5, place, follow=True))
    assert seen == printed
    assert held > 5  # the writer did wait
    service.close()


@given(st.integers(0, 2**32), st.floats(0, 1), st.lists(st.integers(0, 9000), max_size=80))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_every_byte_is_read_or_counted_as_lost(
    tmp_path: Path, disk: Callable[[float], None], seed: int, share: float, sizes: list[int]
) -> None:
    disk(share)
    spool = Spool(tmp_path / f"out-{seed}", 40_000)
    for number, size in enumerate(sizes):
        spool.append(2, 1 + number % 2, 0.0, bytes([number]) * size)
    disk(0.0)
    found, lost = read_all(spool)
    kept = [bytes([number]) * size for number, size in enumerate(sizes)][len(sizes) - len(found) :]
    assert found == kept
    assert lost + sum(HEAD + len(data) for data in found) == spool.end
    assert sum(spool.dropped) == lost - HEAD * (len(sizes) - len(found))
    spool.close()
    assert list(tmp_path.iterdir()) == []
