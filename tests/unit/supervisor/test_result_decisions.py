"""Large results: kept for who was told of them, given in parts, and forgotten with whoever wanted them."""

from __future__ import annotations

import pytest

from rackactor.errors import InvalidCall
from rackactor_runtime.supervisor.decisions import results
from rackactor_runtime.supervisor.decisions.results import Shelf


def test_a_small_result_goes_at_once() -> None:
    shelf = Shelf()
    assert shelf.put(2, 3, (b"head", b"part")) == (b"head", b"part")
    assert shelf.count(2, 3) == 0


def test_a_large_one_is_fetched_by_each_who_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "AT_ONCE", 5)
    shelf = Shelf()
    for waiter in (2, 4, 5):
        assert shelf.put(waiter, 3, (b"head", b"one", b"two")) == (b"head",)
        assert shelf.count(waiter, 3) == 2
    assert [shelf.take(2, 3), shelf.take(4, 3), shelf.take(2, 3)] == [b"one", b"one", b"two"]
    for waiter, pid in ((2, 3), (3, 3), (4, 2)):
        with pytest.raises(InvalidCall, match=f"process {pid} for process {waiter}"):
            shelf.take(waiter, pid)
    shelf.gone(4)
    assert (shelf.count(4, 3), shelf.count(5, 3)) == (0, 2)
    shelf.drop(5, 3)
    shelf.drop(5, 3)
    assert not shelf._kept
