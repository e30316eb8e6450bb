"""Routes, headers and bodies: whatever arrives is a record or a ProtocolError."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rackactor.errors import ProtocolError
from rackactor.wire.frames import MAX_HEADER, Header, Kind, pack_body, pack_route, parse_header, parse_map, parse_route

LAST = 2**62 - 1
numbers = st.integers(0, LAST)
EXTRA: dict[Kind, tuple[Any, ...]] = {
    Kind.JOIN: (),
    Kind.WELCOME: (),
    Kind.CALL: (7, "fork"),
    Kind.REPLY: (7, True),
    Kind.EVENT: ("gone",),
    Kind.BEAT: (),
    Kind.REFUSED: (),
    Kind.DATA: (1, 2, 3, 4),
    Kind.ACK: (3, 4),
    Kind.RESUME: (3,),
    Kind.RECEIVED: (3,),
}
extras = {int: numbers, str: st.text(max_size=20), bool: st.booleans()}
headers = st.sampled_from(list(Kind)).flatmap(
    lambda kind: st.builds(
        Header, st.just(kind), numbers, numbers, numbers, numbers, st.tuples(*(extras[type(v)] for v in EXTRA[kind]))
    )
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda v: st.lists(v, max_size=9) | st.dictionaries(st.text(max_size=4), v, max_size=3),
    max_leaves=10,
)


def packed(*fields: Any) -> bytes:
    data: bytes = msgpack.packb(fields)
    return data


def test_every_kind_is_covered() -> None:
    assert set(EXTRA) == set(Kind)


@given(headers)
@settings(max_examples=150, deadline=None)
def test_a_header_comes_back(header: Header) -> None:
    found = parse_header(header.pack())
    assert found == header
    assert type(found.kind) is Kind


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_a_route_comes_back(pid: int, incarnation: int) -> None:
    assert parse_route(pack_route(pid, incarnation)) == (pid, incarnation)


@given(st.binary(max_size=40))
@settings(max_examples=300, deadline=None)
def test_arbitrary_bytes_are_refused_or_parsed(data: bytes) -> None:
    for parse in (parse_route, parse_header, parse_map):
        try:
            parse(data)
        except ProtocolError:
            pass


@given(anything)
@settings(max_examples=300, deadline=None)
def test_arbitrary_values_are_refused_or_parsed(value: Any) -> None:
    data = msgpack.packb(value)
    for parse in (parse_header, parse_map):
        try:
            parse(data)
        except ProtocolError:
            pass


@given(headers, st.data())
@settings(max_examples=300, deadline=None)
def test_a_damaged_header_is_refused_or_parsed(header: Header, data: st.DataObject) -> None:
    raw = bytearray(header.pack())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = parse_header(bytes(raw[: data.draw(st.integers(0, len(raw)))]))
    except ProtocolError:
        return
    assert parse_header(found.pack()) == found


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("field", range(1, 5))
@pytest.mark.parametrize("value", [-1, LAST + 1, 2**64 - 1, 1.0, "1", b"1", None, True, [1]], ids=repr)
def test_every_number_has_bounds(kind: Kind, field: int, value: Any) -> None:
    fields = [int(kind), 1, 2, 3, 4, *EXTRA[kind]]
    assert parse_header(packed(*fields)).kind is kind
    fields[field] = LAST
    assert parse_header(packed(*fields))[field] == LAST
    fields[field] = value
    with pytest.raises(ProtocolError):
        parse_header(packed(*fields))


@pytest.mark.parametrize("kind", list(Kind))
def test_every_extra_field_has_its_type_and_bounds(kind: Kind) -> None:
    good = [int(kind), 1, 2, 3, 4, *EXTRA[kind]]
    for place, value in enumerate(EXTRA[kind], 5):
        for wrong in (None, 1.5, b"x", [], {}, "x" if type(value) is not str else 1, -1, LAST + 1):
            with pytest.raises(ProtocolError):
                parse_header(packed(*good[:place], wrong, *good[place + 1 :]))
    for fields in (good[:-1], [*good, 0]):
        with pytest.raises(ProtocolError):
            parse_header(packed(*fields))


@pytest.mark.parametrize("kind", [0, -1, 10, 255, 2**63, True, False, 3.0, "CALL", None, []], ids=repr)
def test_an_unknown_kind(kind: Any) -> None:
    with pytest.raises(ProtocolError):
        parse_header(packed(kind, 1, 2, 3, 4))


def test_a_header_of_exactly_the_bound() -> None:
    header = Header(Kind.EVENT, 1, 2, 3, 4, ("x" * (MAX_HEADER - 10),))
    room = MAX_HEADER - len(header.pack())
    longest = header._replace(extra=("x" * (MAX_HEADER - 10 + room),))
    assert len(longest.pack()) == MAX_HEADER
    assert parse_header(longest.pack()) == longest
    with pytest.raises(ProtocolError, match="4097 bytes"):
        parse_header(longest._replace(extra=(longest.extra[0] + "x",)).pack())


def test_a_header_followed_by_something() -> None:
    with pytest.raises(ProtocolError):
        parse_header(Header(Kind.BEAT, 1, 2, 3, 4).pack() + b"\0")


@pytest.mark.parametrize("size", [0, 1, 7, 9, 100])
def test_a_route_is_eight_bytes(size: int) -> None:
    with pytest.raises(ProtocolError, match=f"not {size}"):
        parse_route(bytes(size))


@pytest.mark.parametrize("value", [None, 1, "x", b"x", [], [1], {1: 2}, {b"k": 1}, {"a": 1, 2: 3}], ids=repr)
def test_a_body_is_a_map_with_string_keys(value: Any) -> None:
    with pytest.raises(ProtocolError):
        parse_map(pack_body(value))


def test_a_map_comes_back() -> None:
    assert parse_map(memoryview(pack_body({"a": [1, {2: b""}]}))) == {"a": [1, {2: b""}]}
