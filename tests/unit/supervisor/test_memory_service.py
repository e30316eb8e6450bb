"""Shared memory in the supervisor, without a socket: whom a snapshot holds up, and what is done in which order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from rackactor.ipc.memory import snapshots, values
from rackactor.wire.schema import Event
from rackactor_runtime.stores import memory as stores
from rackactor_runtime.supervisor.clock import Clock
from rackactor_runtime.supervisor.decisions.settings import Settings
from rackactor_runtime.supervisor.memory import service as memory

KEYS = 40


class Service:
    """A memory service whose messages are kept."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.service = memory.MemoryService(directory, Settings(shm_size=8 << 20), self, lambda pid: True, Clock())
        self.answers: list[tuple[int, bool, dict[str, Any]]] = []
        self.directory = directory

    def reply(self, pid: int, rid: int, fields: dict[str, Any], blobs: Sequence[Any] = (), *, ok: bool = True) -> None:
        if rid:
            self.answers.append((rid, ok, fields))

    def notify(self, pid: int, event: Event, blobs: Sequence[Any] = ()) -> None:
        pass

    def put(self, rid: int, key: str, value: Any) -> None:
        self.service.call(3, rid, "shm", {"ops": [["put", key.encode(), values.encode(value)]]}, ())

    def restore(self, rid: int, data: bytes) -> None:
        self.service.call(3, 0, "shm_restore", {"offset": 0}, (data,))
        self.service.call(3, rid, "shm_restore", {"last": True}, ())

    def run(self) -> int:
        """Do all there is to do; return how many turns it took."""
        turns = 1
        while self.service.turn():
            turns += 1
        return turns

    def read(self, key: str) -> Any:
        store = self.service._store
        store.begin()
        try:
            entry = store.get(key.encode())
            return None if entry is None else values.decode(bytes(entry[stores.layout.HEADER :]))
        finally:
            store.abort()


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setattr(memory, "TURN", 0.0)  # one piece in a turn
    monkeypatch.setattr(stores, "PIECE_RECORDS", 5)
    made = Service(tmp_path / "group")
    yield made
    made.service.close()


@pytest.fixture
def snapshot(service: Service, tmp_path: Path) -> bytes:
    """A snapshot of forty keys, which then all change."""
    for number in range(KEYS):
        service.put(0, f"k{number:02}", number)
    service.run()
    snapshots.write_snapshot(service.service._store._env, tmp_path / "snapshot")
    for number in range(KEYS):
        service.put(0, f"k{number:02}", "later")
    service.run()
    return (tmp_path / "snapshot").read_bytes()


def test_a_restore_takes_many_turns_and_keeps_the_order_of_what_was_asked(service: Service, snapshot: bytes) -> None:
    service.put(1, "before", 1)
    service.restore(2, snapshot)
    service.put(3, "k00", "after")
    assert service.run() > KEYS // 5
    assert [rid for rid, ok, _ in service.answers if rid and ok] == [1, 2, 3]
    assert (service.read("before"), service.read("k00"), service.read("k01")) == (None, "after", 1)
    revisions = [fields["revision"] for rid, _, fields in service.answers if rid]
    assert revisions == sorted(set(revisions))


def test_what_needs_no_turn_is_answered_while_a_restore_is_under_way(service: Service, snapshot: bytes) -> None:
    service.restore(1, snapshot)
    assert service.service.turn()
    before = service.service._store.revision
    service.service.call(4, 9, "shm_sync", {}, ())
    service.service.call(4, 10, "shm_lock", {"name": "l"}, ())
    assert [(rid, ok) for rid, ok, _ in service.answers[-2:]] == [(9, True), (10, True)]
    assert service.answers[-2][2]["revision"] == before
    service.run()
    assert service.read("k07") == 7


def test_a_damaged_snapshot_changes_nothing_and_holds_nobody_up(service: Service, snapshot: bytes) -> None:
    service.restore(1, snapshot[:5000] + b"!" + snapshot[5001:])
    service.put(2, "k00", "after")
    service.run()
    assert [(rid, ok) for rid, ok, _ in service.answers if rid] == [(1, False), (2, True)]
    assert (service.read("k00"), service.read("k01")) == ("after", "later")
    assert not list(service.directory.glob("restore*"))


def test_a_restore_that_is_cut_short_by_the_end_leaves_no_file(service: Service, snapshot: bytes) -> None:
    service.restore(1, snapshot)
    for _ in range(4):
        assert service.service.turn()
    service.service.close()
    assert not list(service.directory.glob("restore*"))


def test_a_member_that_goes_before_its_turn_takes_its_snapshot_along(service: Service, snapshot: bytes) -> None:
    service.restore(1, snapshot)
    service.service.gone(3)
    service.run()
    assert [(rid, ok) for rid, ok, _ in service.answers if rid] == [(1, False)]
    assert service.read("k01") == "later"
