"""Frames between the supervisor and its fork server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackactor_runtime.providers.base import Created, CreateFailed, Ended, Event, Key, Order, Output
from rackactor_runtime.providers.local import protocol

keys = st.builds(Key, st.integers(1, 2**31), st.integers(0, 2**31))
some_events = st.one_of(
    st.builds(Created, keys, st.text()),
    st.builds(CreateFailed, keys, st.text()),
    st.builds(Output, keys, st.sampled_from([1, 2]), st.binary()),
    st.builds(Ended, keys, st.none() | st.integers(0, 255), st.none() | st.integers(1, 64), st.booleans(), st.text()),
)


@given(st.lists(some_events, max_size=8), st.lists(st.integers(1, 40), min_size=1))
def test_events_survive_whatever_the_cuts(events: list[Event], cuts: list[int]) -> None:
    stream = b"".join(map(protocol.event_frame, events))
    decoder = protocol.Decoder()
    found: list[Event] = []
    turn = 0
    while stream:
        size = cuts[turn % len(cuts)]
        found += map(protocol.read_event, decoder.feed(stream[:size]))
        stream, turn = stream[size:], turn + 1
    assert found == events


@given(st.binary(max_size=5000), st.lists(st.integers(0, 700), min_size=1).filter(any))
def test_outbox_sends_all_in_order_to_a_slow_taker(data: bytes, takes: list[int]) -> None:
    outbox = protocol.Outbox()
    taken = bytearray()
    turns = iter(takes * (len(data) + 1))

    def send(view: memoryview) -> int:
        count = min(next(turns), len(view))
        if not count:
            raise BlockingIOError
        taken.extend(view[:count])
        return count

    outbox.put(data)
    while outbox:
        outbox.flush(send)
    assert taken == data


def test_order_keeps_names_that_are_not_utf8_and_a_birth_that_stays_packed() -> None:
    order = Order(Key(3, 1), {"n": 1, 2: b"x"}, {"A": "\udcff", "B": None}, "/\udcfe", 7, {"umask": 7})  # type: ignore[dict-item]
    [[word, pid, incarnation, birth, *around]] = protocol.Decoder().feed(protocol.create_frame(order))
    assert (word, pid, incarnation) == (protocol.CREATE, 3, 1)
    assert around == [order.env, order.cwd, 7, {"umask": 7}]
    assert protocol.unpack(birth) == order.birth


def test_stream_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="a frame of"):
        protocol.Decoder().feed(b"HTTP/1.1 200 OK")
    with pytest.raises(ValueError, match="not an event"):
        protocol.read_event(["lost", 1, 1])
