"""Values to bytes and back: unchanged, or refused."""

from __future__ import annotations

import collections
import enum
import math
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rackactor.errors import InvalidCall, ProtocolError
from rackactor.wire.codec import decode, encode, unpack

#: Lone surrogates included.
texts = st.text(st.characters())
keys = st.text(st.characters(), max_size=8) | st.integers(-(2**70), 2**70) | st.binary(max_size=8)
scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | texts | st.binary()
plain = st.recursive(scalars, lambda v: st.lists(v, max_size=4) | st.dictionaries(keys, v, max_size=4), max_leaves=12)
others = st.tuples(scalars, scalars) | st.frozensets(st.integers()) | st.binary().map(bytearray) | st.complex_numbers()
values = st.recursive(
    scalars | others,
    lambda v: st.lists(v, max_size=4) | st.dictionaries(keys, v, max_size=4) | st.tuples(v, v),
    max_leaves=12,
)


class Colour(enum.IntEnum):
    RED = 1


class Text(str):
    pass


class Fields(dict[str, int]):
    pass


def same(a: Any, b: Any) -> bool:
    """Equal, of the very same types, all the way down."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        pairs = zip(a.items(), b.items(), strict=True)
        return len(a) == len(b) and all(same(x, y) for one, other in pairs for x, y in zip(one, other, strict=True))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    return a == b if isinstance(a, (frozenset, set)) else repr(a) == repr(b)


@given(values)
@settings(max_examples=150, deadline=None)
def test_every_value_comes_back_as_it_was(value: Any) -> None:
    assert same(decode(encode(value)), value)


@given(plain)
@settings(max_examples=150, deadline=None)
def test_without_pickle_a_value_comes_back_as_it_was_or_is_refused(value: Any) -> None:
    try:
        data = encode(value, allow_pickle=False)
    except InvalidCall:
        return
    assert data[:1] in (b"m", b"b")
    assert same(decode(data, allow_pickle=False), value)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        1.5,
        "é",
        "\udcff",
        "\ud83d\ude00",
        {"\ud800": "a\0"},
        b"\0",
        [1, [2, {"a": [b""]}]],
        {1: 2, b"k": None},
        2**63,
        -(2**63),
        [],
        {},
    ],
    ids=repr,
)
def test_plain_values_need_no_pickle(value: Any) -> None:
    assert same(decode(encode(value, allow_pickle=False), allow_pickle=False), value)


@pytest.mark.parametrize(
    "value",
    [
        (1, 2),
        [(1,)],
        {"a": (1,)},
        {(1,): 1},
        {None: 1},
        {True: 1},
        {1.5: 1},
        bytearray(b"x"),
        Colour.RED,
        [Colour.RED],
        {Colour.RED: 1},
        Text("x"),
        {"a": Text("x")},
        Fields(a=1),
        collections.OrderedDict(a=1),
        {1, 2},
        2**64,
        len,
    ],
    ids=repr,
)
def test_what_msgpack_would_change_is_pickled_or_refused(value: Any) -> None:
    data = encode(value)
    assert data[:1] == b"p"
    assert same(decode(data), value)
    with pytest.raises(InvalidCall, match="refuses pickle"):
        encode(value, allow_pickle=False)
    with pytest.raises(ProtocolError, match="refuses pickle"):
        decode(data, allow_pickle=False)


def test_deep_nesting_is_carried() -> None:
    value: Any = 1
    for _ in range(200):
        value = [value]
    assert decode(encode(value)) == value


def test_a_value_that_holds_itself_is_carried() -> None:
    value: list[Any] = []
    value.append(value)
    found = decode(encode(value))
    assert found[0] is found


def test_code_travels_by_value() -> None:
    assert decode(encode(lambda x: x + 1))(1) == 2


def test_what_cannot_be_pickled_is_refused_with_the_reason() -> None:
    with pytest.raises(InvalidCall, match=r"a lock cannot be sent to another process: .*pickle"):
        encode(threading.Lock())


@given(st.binary(max_size=60))
@settings(max_examples=200, deadline=None)
def test_garbage_is_a_protocol_error(data: bytes) -> None:
    for allow in (False, True):
        if allow and data[:1] == b"p":
            continue  # whoever may pickle may do anything
        try:
            decode(data, allow_pickle=allow)
        except ProtocolError:
            pass


@given(st.binary(max_size=60))
@settings(max_examples=200, deadline=None)
def test_garbage_is_no_msgpack_value(data: bytes) -> None:
    try:
        unpack(data)
    except ProtocolError:
        pass


@pytest.mark.parametrize("data", [b"", b"x", b"m", b"m\x01\x02", b"\0\0"], ids=repr)
def test_what_is_not_of_this_codec(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(data)


def test_bytes_are_bytes_whatever_they_look_like() -> None:
    for data in (b"", b"p", b"m\x01", memoryview(b"bxyz")[1:].tobytes()):
        assert decode(memoryview(encode(data, allow_pickle=False))) == data


def test_an_array_that_announces_more_than_there_is() -> None:
    for data in (b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\x91" * 100_000):
        with pytest.raises(ProtocolError):
            unpack(data)
