"""Packets of the short way: one array, which comes back as it was or is refused."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rackactor.errors import ProtocolError
from rackactor.kernel.transport import seqpacket
from rackactor.kernel.transport.seqpacket import SMALL, LocalChannel
from rackactor.wire.stream import Entry, EntryKind

Pair = tuple[LocalChannel, LocalChannel]
#: Of one frame each: what has more is large, and goes the longer way.
entries = st.builds(
    Entry, st.sampled_from(list(EntryKind)), st.integers(0, 2**62), st.binary(max_size=30), more=st.just(())
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda v: st.lists(v, max_size=9) | st.dictionaries(st.text(max_size=4), v, max_size=3),
    max_leaves=10,
)


@pytest.fixture(name="pair")
def a_pair() -> Iterator[Pair]:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here, there:
        here.setblocking(False)
        there.setblocking(False)
        yield here, there


def taken(line: LocalChannel) -> list[list[Any]]:
    found: list[list[Any]] = []
    assert seqpacket.receive(line, lambda _, fields: found.append(fields), lambda *_: None)
    return found


@given(st.lists(entries, min_size=1, max_size=6), st.tuples(*[st.integers(0, 2**62 - 1)] * 3))
@settings(max_examples=80, deadline=None)
def test_messages_come_back(found: list[Entry], others: tuple[int, int, int]) -> None:
    first, ack, limit = others
    numbers = (first, len(found), ack, limit)
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here, there:
        there.setblocking(False)
        assert seqpacket.send_data(here, numbers, found)
        (fields,) = taken(there)
    assert seqpacket.is_data(fields)
    assert seqpacket.parse_data(fields) == (numbers, found)


@given(st.lists(anything, min_size=1, max_size=8))
@settings(max_examples=200, deadline=None)
def test_anything_else_is_refused(fields: list[Any]) -> None:
    parse = seqpacket.parse_data if seqpacket.is_data(fields) else seqpacket.parse_frames
    try:
        parse(fields)
    except ProtocolError:
        pass


@pytest.mark.parametrize(
    "fields",
    [
        [1],
        [1, 1, 0],
        [1, 1, 0, 0],
        [1, 1, 0, 0, 0, 1],
        [1, 2, 0, 0, 0, 1, b""],
        [1, 1, 0, 0, 0, 1, b"", 0, 1],
        [1, 1, 0, 0, 9, 1, b""],
        [1, 1, 0, 0, 0, "1", b""],
        [1, 1, 0, 0, 0, 1, "text"],
        [1, 1, -1, 0, 0, 1, b""],
        [1, 1, 0, 2**62, 0, 1, b""],
        [1, 1, True, 0, 0, 1, b""],
        [1, 1, 0, None, 0, 1, b""],
        [1, 1, 0, 0, [], 1, b""],
    ],
    ids=repr,
)
def test_what_no_packet_of_messages_holds(fields: list[Any]) -> None:
    with pytest.raises(ProtocolError):
        seqpacket.parse_data(fields)


def test_large_ones_are_left_to_the_longer_way(pair: Pair) -> None:
    def message(size: int) -> Entry:
        return Entry(EntryKind.TELL, 0, bytes(size))

    here, there = pair
    assert not seqpacket.send_data(here, (1, 1, 0, 0), [message(SMALL + 1)])
    assert not seqpacket.send_data(here, (1, 2, 0, 0), [message(SMALL // 2 + 1)] * 2)
    assert not seqpacket.send(here, [bytes(SMALL + 1)])
    assert taken(there) == []


def test_a_full_line_is_no_error(pair: Pair) -> None:
    here, there = pair
    sent = 0
    while seqpacket.send_data(here, (sent + 1, 1, 0, 0), [Entry(EntryKind.TELL, 0, bytes(SMALL))]):
        sent += 1
    firsts = []
    while found := taken(there):
        firsts += [fields[0] for fields in found]
    assert firsts == list(range(1, sent + 1))


def test_nonsense_is_passed_over_and_the_end_is_seen(pair: Pair) -> None:
    here, there = pair
    for packet in (b"\xc1", msgpack.packb({"a": 1}), msgpack.packb([])):
        here.send(packet)
        assert taken(there) == []
    here.close()
    assert not seqpacket.receive(there, lambda *_: None, lambda *_: None)
