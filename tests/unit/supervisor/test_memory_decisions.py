"""What operations on shared memory do, against a dict; locks and subscribers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memorymodel import DictView, Model, operations, packed, unpacked

from rackactor.errors import ConflictError, InvalidCall, LockError, NoSuchProcess
from rackactor.ipc.memory import layout, values
from rackactor_runtime.supervisor.decisions.memory.locks import Asker, Locks
from rackactor_runtime.supervisor.decisions.memory.operations import Operations
from rackactor_runtime.supervisor.decisions.memory.subscribers import Replicas, Watchers


class Memory:
    """Operations on a dict."""

    def __init__(self) -> None:
        self.view = DictView()
        self.operations = Operations(lambda pid: pid < 100)
        self.revision = 0

    def __call__(self, *op: Any) -> Any:
        result, changes = self.operations.decide(self.view, self.revision + 1, op)
        self.revision += bool(changes)
        self.view.apply(changes)
        return result


@given(st.lists(operations, max_size=60))
def test_operations_do_what_a_dict_does(ops: Sequence[Any]) -> None:
    memory, model = Memory(), Model()
    for op in ops:
        try:
            expected = model.do(op)
        except InvalidCall:
            with pytest.raises(InvalidCall):
                memory(*packed(op))
        else:
            assert unpacked(op, memory(*packed(op))) == expected
        assert memory.view.content() == model.content
    lists = {layout.list_state(e).number for e in memory.view.entries.values() if layout.head(e).kind == layout.LIST}
    assert {number for number, _ in memory.view.elements} <= lists  # nothing is left of a list that was overwritten


def test_a_transaction_sees_its_own_changes_and_has_one_revision() -> None:
    memory = Memory()
    memory("put", b"a", values.encode(1))
    ops = [["incr", b"a", 1, 0], ["incr", b"a", 1, 0], ["append", b"l", [b"m\x01"]], ["append", b"k", [b"m\x02"]]]
    revision, results = memory("transaction", [[b"a", 1], [b"none", 0]], ops)
    assert (revision, results) == (2, [2, 3, 1, 1])
    assert memory.view.content() == {"a": 3, "l": [1], "k": [2]}
    assert {layout.head(entry).revision for entry in memory.view.entries.values()} == {2}


def test_a_transaction_is_all_or_nothing() -> None:
    memory = Memory()
    memory("put", b"a", values.encode("text"))
    for checks, ops, error in [
        ([[b"a", 7]], [["delete", b"a"]], ConflictError),
        ([], [["delete", b"a"], ["incr", b"b", 1, 0], ["put", b"", b"m\x01", 0]], InvalidCall),
        ([], [["put", b"n", b"m\x01", 0], ["incr", b"a", 1, 0]], InvalidCall),
        ([], [["put", b"n", b"m\x01", 0], ["pop", b"a"]], InvalidCall),
    ]:
        with pytest.raises(error):
            memory("transaction", checks, ops)
    assert memory.view.content() == {"a": "text"}


def test_cas_by_revision_and_leases() -> None:
    memory = Memory()
    assert memory("cas", b"a", 0, b"m\x01", 7) == 1
    assert memory("cas", b"a", 0, b"m\x02") == 0
    assert memory("cas", b"a", 1, b"m\x02") == 2
    assert layout.head(memory.view.entries[b"a"]).lease == 7  # it stays with its process
    memory("incr", b"a")
    assert memory.operations.expire(memory.view, 8, [b"a"]) == []
    assert memory.operations.expire(memory.view, 7, [b"a", b"b"]) == [(layout.DELETE, b"a")]
    memory("put", b"a", b"m\x01")
    assert memory.operations.expire(memory.view, 7, [b"a"]) == []  # whoever puts it decides anew
    with pytest.raises(NoSuchProcess):
        memory("put", b"a", b"m\x01", 100)


@pytest.mark.parametrize(
    "op",
    [
        [],
        [1],
        ["fly", b"a"],
        ["put"],
        ["put", "text", b""],
        ["put", b"", b""],
        ["put", b"\xff", b""],
        ["put", b"k" * 501, b""],
        ["put", b"a", b"", "lease"],
        ["put", b"a", b"", -1],
        ["incr", b"a", 1.5],
        ["incr", b"a", 1 << 70],
        ["append", b"a", 5],
        ["remove", b"a"],
        ["transaction", [5], []],
        ["transaction", [], [[]]],
        ["transaction", [], [["transaction", [], []]]],
    ],
)
def test_nonsense_is_refused(op: Sequence[Any]) -> None:
    memory = Memory()
    with pytest.raises(InvalidCall):
        memory(*op)
    assert memory.view.content() == {}


def test_incr_stops_where_integers_end() -> None:
    memory = Memory()
    memory("put", b"a", values.encode((1 << 64) - 1))
    with pytest.raises(InvalidCall, match="64 bits"):
        memory("incr", b"a")


@given(st.lists(st.tuples(st.sampled_from(["ask", "free", "die", "cancel"]), st.integers(2, 5), st.integers(0, 9))))
@settings(max_examples=150)
def test_locks_have_one_holder_in_the_order_of_asking(steps: Sequence[tuple[str, int, int]]) -> None:
    locks = Locks()
    queue: list[tuple[int, int]] = []  # the holder first
    rid = last = 0

    def granted(grant: Any, asker: tuple[int, int]) -> None:
        nonlocal last
        assert (grant.pid, grant.rid) == asker
        assert grant.token > last
        last = grant.token

    for what, pid, number in steps:
        if what == "ask":
            rid += 1
            queue.append((pid, rid))
            grant = locks.acquire("l", Asker(pid, rid))
            assert (grant is not None) == (len(queue) == 1)
            if grant is not None:
                granted(grant, queue[0])
        elif what == "free" and queue:
            holder = queue.pop(0)
            with pytest.raises(LockError):
                locks.release("l", holder[0], last + 1)
            grant = locks.release("l", holder[0], last)
            assert (grant is not None) == bool(queue)
            if grant is not None:
                granted(grant, queue[0])
        elif what == "cancel" and len(queue) > 1:
            locks.cancel(*queue.pop(1 + number % (len(queue) - 1)))
        elif what == "die":
            held = bool(queue) and queue[0][0] == pid
            queue = [asker for asker in queue if asker[0] != pid]
            grants = locks.gone(pid)
            assert len(grants) == (held and bool(queue))
            for grant in grants:
                granted(grant, queue[0])
        assert locks.holder("l") == ((queue[0][0], last) if queue else (0, 0))


def test_a_lock_that_is_not_waited_for() -> None:
    locks = Locks()
    assert locks.acquire("l", Asker(2, 1), wait=False) is not None
    assert locks.acquire("l", Asker(3, 2), wait=False) is None
    assert locks.release("l", 2, 1) is None
    with pytest.raises(LockError):
        locks.release("l", 2, 1)


def test_watchers_hear_of_what_they_watch() -> None:
    watchers = Watchers()
    watchers.add(2, b"a/")
    watchers.add(2, b"a/")
    watchers.add(3, b"")
    assert set(watchers.concerned([b"a/1"])) == {2, 3}
    assert set(watchers.concerned([b"b"])) == {3}
    watchers.remove(2, b"a/")
    assert set(watchers.everybody()) == {2, 3}
    watchers.remove(2, b"a/")
    watchers.gone(3)
    assert not watchers


def test_a_slow_replica_is_let_go() -> None:
    replicas = Replicas(limit=100)
    replicas.add(2)
    replicas.add(3)
    assert replicas.send(1000) == ([2, 3], [])  # one is always let through
    assert replicas.acknowledged(2, 1000)
    assert replicas.send(10) == ([2], [3])
    assert not replicas.acknowledged(3, 1000)
    replicas.add(3)
    assert replicas.send(10) == ([2, 3], [])
