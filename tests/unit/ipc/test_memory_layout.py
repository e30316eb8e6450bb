"""Keys, values and records as bytes, and back."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackactor.errors import InvalidCall, ProtocolError
from rackactor.ipc.memory import layout, values

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


class Array:
    """Has a buffer, as a NumPy array has."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Array, (pickle.PickleBuffer(self.data),)


@given(plain)
def test_values_come_back(value: Any) -> None:
    data = values.encode(value)
    assert values.decode(data) == value
    assert values.decode(memoryview(data)) == value


@given(st.lists(st.binary(min_size=900, max_size=3000), min_size=1, max_size=4))
def test_buffers_lie_behind_the_pickle_in_their_places(parts: list[bytes]) -> None:
    data = values.encode([Array(bytearray(part)) for part in parts])
    for array, part in zip(values.decode(data), parts, strict=True):
        assert bytes(array.data) == part
    if values.in_place(memoryview(data)):
        at = 0
        for array, part in zip(values.decode_in_place(memoryview(data)), parts, strict=True):
            if len(part) >= 1024:
                found = data.index(part, at)
                assert (found + layout.LEAD) % 64 == 0
                assert bytes(array.data) == part
                at = found + len(part)


def test_a_copy_is_the_readers_own() -> None:
    data = values.encode(Array(bytearray(5000)))
    copy = values.decode(data)
    memoryview(copy.data)[0] = 1
    assert bytes(values.decode(data).data)[0] == 0


def test_numpy_arrays() -> None:
    numpy = pytest.importorskip("numpy")
    array = numpy.arange(1000.0).reshape(10, 100)
    for value in (array, array.T, array[:, ::3], array[:0]):
        found = values.decode(values.encode({"a": [value]}))
        assert numpy.array_equal(found["a"][0], value)
    assert values.decode(values.encode(array)).flags.writeable


def test_what_cannot_be_kept_is_refused() -> None:
    with pytest.raises(InvalidCall, match="generator"):
        values.encode(x for x in "abc")
    with pytest.raises(InvalidCall, match="refuses pickle"):
        values.encode({1, 2}, allow_pickle=False)
    with pytest.raises(InvalidCall, match="refuses pickle"):
        values.encode([{1}], allow_pickle=False)
    with pytest.raises(ProtocolError):
        values.decode(values.encode(Array(bytes(5000))), allow_pickle=False)


@pytest.mark.parametrize("key", ["", "k" * 501, "é" * 251, 5, b"k", None, "\ud800"])
def test_what_is_no_key(key: Any) -> None:
    with pytest.raises(InvalidCall, match="key"):
        layout.pack_key(key)


@given(st.integers(-(1 << 63), (1 << 64) - 1))
def test_integers_are_known_by_their_bytes(value: int) -> None:
    assert values.integer(values.encode(value)) == value
    assert values.pack_integer(value) == values.encode(value)


@pytest.mark.parametrize("value", [True, 1.0, "1", b"1", None, [1], 1 << 64])
def test_what_is_no_integer(value: Any) -> None:
    assert values.integer(values.encode(value)) is None


def test_entries_and_records_come_back() -> None:
    entry = layout.pack_entry(layout.LIST, 7, 12, layout.pack_list(1, 2, 3, 4))
    assert layout.head(entry) == (layout.LIST, 7, 12)
    assert layout.list_state(entry) == (1, 2, 3, 4)
    assert layout.item_index(layout.item_key(5, 6)) == (5, 6)
    assert layout.parse_revision(layout.pack_revision(9)) == 9
    changes = [(layout.PUT, b"k", b"v" * 50), (layout.DELETE, b"j")]
    record = layout.pack_record(1.5, changes)
    assert layout.parse_record(record) == (1.5, [list(change) for change in changes])
    assert layout.for_log(1.5, changes, record, 1000) == record
    short = layout.for_log(1.5, changes, record, 20)
    assert layout.parse_record(short) == (1.5, [[layout.PUT_LARGE, b"k", 50], [layout.DELETE, b"j"]])
