"""The halves of a pipe by themselves: codec, parts, the credit that adapts, bounds."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rackactor.errors import InvalidCall, ProtocolError, RackTimeout
from rackactor.ipc.pipes import framing
from rackactor.ipc.pipes.framing import (
    INLINE,
    MAX_FRAMES,
    OVERHEAD,
    Assembly,
    Bundle,
    Part,
    pack,
    pack_parcel,
    parse_parcel,
    split,
    unpack_message,
)
from rackactor.ipc.pipes.handles import ReadEnd
from rackactor.ipc.pipes.reading import HORIZON, MAX_WINDOW, Pace, Reader
from rackactor.ipc.pipes.writing import BACKLOG, Writer, cost

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=20)
    | st.binary(max_size=20)
    | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@given(values)
@settings(max_examples=80, deadline=None)
def test_values_come_back(value: Any) -> None:
    assert unpack_message(pack(value)) == value


@pytest.mark.parametrize("size", [0, INLINE, INLINE + 1, 100_000])
def test_bytes_and_views_keep_their_kind(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    assert unpack_message(pack(data)) == data
    assert type(unpack_message(pack(data))) is bytes
    view = unpack_message(pack(memoryview(data)))
    assert isinstance(view, memoryview)
    assert view == data
    array = memoryview(bytearray(data))[::2]
    assert bytes(unpack_message(pack(array))) == data[::2]


def test_large_buffers_are_not_copied() -> None:
    array = np.arange(100_000)
    message = pack({"array": array})
    assert isinstance(message, Bundle)
    assert np.shares_memory(np.frombuffer(message.frames[1], array.dtype), array)
    assert np.array_equal(unpack_message(message)["array"], array)
    data = bytes(100_000)
    bundle = pack(data)
    assert isinstance(bundle, Bundle)
    assert bundle.frames[1] is data
    many = [np.zeros(INLINE) for _ in range(MAX_FRAMES + 10)]
    assert len(unpack_message(pack(many))) == len(many)


def test_pickle_is_refused_where_the_group_refuses_it() -> None:
    with pytest.raises(InvalidCall):
        pack({1, 2}, allow_pickle=False)
    for value in ({1, 2}, np.zeros(INLINE)):
        with pytest.raises(ProtocolError):
            unpack_message(pack(value), allow_pickle=False)


@given(st.lists(st.integers(0, 70), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_parts_make_the_whole(sizes: list[int]) -> None:
    before, framing.PART = framing.PART, 16
    try:
        frames = [b"p", *(bytes([n]) * size for n, size in enumerate(sizes))]
        assembly = Assembly(1)
        whole = [assembly.add(part) for part in split(Bundle(frames))]
    finally:
        framing.PART = before
    assert whole[:-1] == [None] * (len(whole) - 1)
    assert whole[-1] is not None
    assert [bytes(frame) for frame in whole[-1].frames] == frames


def test_parts_out_of_order_are_refused() -> None:
    with pytest.raises(ProtocolError):
        Assembly(1).add(Part(1, False, b""))


@given(
    st.lists(st.binary(min_size=1, max_size=10) | st.lists(st.binary(max_size=20), min_size=1, max_size=3)),
    st.integers(1, 30),
)
@settings(max_examples=100, deadline=None)
def test_parcels_come_back(items: list[Any], cut: int) -> None:
    messages = [item if isinstance(item, bytes) else Bundle(item) for item in items]
    before, framing.CUT = framing.CUT, cut
    try:
        shape, blobs = pack_parcel(messages)
    finally:
        framing.CUT = before
    found = parse_parcel(shape, blobs)
    assert pack_parcel(parse_parcel(shape, blobs, join=False))[1] == blobs, "who passes it on changes nothing"
    assert [m if isinstance(m, bytes) else m.frames for m in found] == [
        m if isinstance(m, bytes) else m.frames for m in messages
    ]
    if blobs:
        with pytest.raises(ProtocolError):
            parse_parcel(shape, blobs[:-1])
        with pytest.raises(ProtocolError):
            parse_parcel([*shape, [0]], blobs)
        with pytest.raises(ProtocolError):
            parse_parcel([*shape, [1]], blobs)


# -- credit ----------------------------------------------------------------------------------------


def run(each: int, pause: float, rounds: int = 60) -> tuple[int, int]:
    """Let a reader take messages of a size, each in a time; return its window, and what lay ahead of it at the most."""
    writer, reader = Writer(), Reader()
    reader.introduce(1, 7)
    writer.introduce(2, 7)
    now, ahead = 0.0, 0
    for _ in range(rounds):
        while not writer.crowded:
            writer.offer(bytes(each))
        reader.measure(now)
        for credit in reader.credits(waiting=True):
            writer.credit(2, 7, credit.taken, credit.limit)
        for batch in writer.assign():
            reader.accept(1, batch.first, batch.messages)
        reader.mark(now)
        ahead = max(ahead, reader.waiting)
        while reader.take() is not None:
            now += pause
    return reader.pace.window, ahead


def test_a_fast_reader_gets_megabytes_ahead() -> None:
    assert run(100, 1e-7)[0] == MAX_WINDOW
    assert run(1 << 20, 1e-4)[0] == MAX_WINDOW


def test_a_slow_reader_gets_one_message_at_a_time() -> None:
    assert run(100, 1.0) == (0, 100 + OVERHEAD)
    assert run(1 << 20, HORIZON * 3) == (0, (1 << 20) + OVERHEAD)


@given(st.integers(1, 1 << 20), st.floats(1e-6, 2.0))
@settings(max_examples=60, deadline=None)
def test_what_lies_ahead_is_bounded(each: int, pause: float) -> None:
    window, ahead = run(each, pause, 12)
    assert window <= MAX_WINDOW
    assert ahead <= MAX_WINDOW + each + OVERHEAD
    if pause > HORIZON:
        assert ahead <= each + OVERHEAD


def test_a_reader_that_turns_slow_loses_its_window() -> None:
    pace = Pace()
    for _ in range(30):
        pace.update(1 << 20, 1000, 0.001)
    assert pace.window == MAX_WINDOW
    pace.update(10_000, 10, 10.0)
    assert pace.window == 0
    pace.update(0, 0, 100.0)
    assert pace.window == 0


def test_the_writer_waits_when_its_queue_is_full() -> None:
    writer = Writer()
    writer.introduce(1, 7)
    writer.offer(bytes(3 * BACKLOG))
    assert writer.crowded, "one message of any size passes"
    writer.credit(1, 7, 0, 1)
    assert [len(batch.messages) for batch in writer.assign()] == [1]
    assert not writer.crowded
    assert writer.held == cost(bytes(3 * BACKLOG))
    writer.credit(1, 7, 1, 2)
    assert writer.settled
    assert writer.held == 0


def test_only_its_own_process_speaks_for_a_reader() -> None:
    writer = Writer()
    for number in range(4):
        writer.offer(bytes([number]))
    writer.credit(1, 66, 0, 1 << 20)  # by another one, and before anybody has told us of the reader
    writer.credit(1, 7, 0, 1)  # its own, which is as early
    assert list(writer.assign()) == []
    writer.introduce(1, 7)
    assert [(batch.pid, len(batch.messages)) for batch in writer.assign()] == [(7, 1)]
    writer.credit(1, 66, 1, 1 << 20)
    assert list(writer.assign()) == []
    assert not writer.confirmed
    writer.credit(1, 7, 1, 1 << 20)
    assert writer.confirmed == 1
    assert [(batch.pid, len(batch.messages)) for batch in writer.assign()] == [(7, 3)]


def test_idle_readers_share_what_there_is() -> None:
    writer = Writer()
    for seat in (1, 2, 3):
        writer.introduce(seat, seat)
        writer.credit(seat, seat, 0, 1 << 20)
    for number in range(6):
        writer.offer(bytes([number]))
    assert sorted(len(batch.messages) for batch in writer.assign()) == [2, 2, 2]


def test_the_end_does_not_overtake_what_came_before_it() -> None:
    """A message, and the end, arrive between a look that finds nothing and the question whether it is the end."""

    class Late(ReadEnd):
        def wait(self, timeout: float | None) -> bool:
            return False

    class Desk:
        def check(self) -> None:
            pass

    reading = Late(cast("Any", Desk()), 1, 1)
    reading.reader.introduce(2, 9)
    reading.reader.lanes[2].granted = 1
    take = reading.reader.take

    def look() -> Any:
        found = take()
        if found is None and reading.reader.lanes[2].expected == 1:
            looked.append(True)
            if len(looked) == 2:
                reading.accept(9, 2, 1, [b"last"], False)
                reading.ended = True
        return found

    looked: list[bool] = []
    reading.reader.take = look  # type: ignore[method-assign]
    reading._watch = lambda: None  # type: ignore[method-assign]
    with pytest.raises(RackTimeout):
        reading.take(0.0)
    assert reading.take(0.0) == b"last"
