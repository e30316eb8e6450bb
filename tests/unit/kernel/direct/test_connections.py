"""The table of direct connections: each is found by all that is known of it, until it is closed."""

from __future__ import annotations

from typing import Any

from rackactor.kernel.direct.connections import Connection, Connections, State
from rackactor.wire.frames import Header, Kind

OTHER = 7


def listening(number: int = 1) -> Connection:
    return Connection(OTHER, 1, number, b"t%d" % number, State.EXPECTED)


def test_one_that_is_expected_is_found_by_its_ticket_and_then_by_its_identity() -> None:
    table, one = Connections(), listening()
    table.add(one)
    assert table.of_ticket(b"t1") is table.get(OTHER, 1) is one
    assert (table.pending, one.is_incoming) == (1, False)
    table.settle(one, State.JOINED, b"id")
    assert table.at(b"id") is one
    assert (table.pending, one.is_incoming) == (0, True)


def test_what_is_no_ticket_finds_nothing() -> None:
    table = Connections()
    table.add(listening())
    for shown in (None, [], {}, "t1", b"t2", 1):
        assert table.of_ticket(shown) is None


def test_one_that_is_closed_is_found_by_nothing() -> None:
    table, here, there = Connections(), listening(), listening(2)
    socket: Any = object()
    there.state, there.socket = State.CONNECTING, socket
    table.add(here)
    table.add(there)
    table.settle(here, State.JOINED, b"id")
    assert (table.on(socket), table.sockets, table.numbers(OTHER)) == (there, [socket], [1, 2])
    assert table.of_ticket(b"t2") is None, "nobody comes to us with the ticket that we show"
    table.close(here)
    table.close(there)
    assert here.state is there.state is State.CLOSED
    assert [table.get(OTHER, 1), table.get(OTHER, 2), table.at(b"id"), table.of_ticket(b"t1"), table.on(socket)] == [
        None
    ] * 5
    assert (table.sockets, table.numbers(OTHER), table.pending) == ([], [], 0)


def test_a_message_is_from_the_process_only_in_its_present_life() -> None:
    one = listening()
    assert one.is_from(Header(Kind.BEAT, 1, OTHER, 1, 0))
    assert not one.is_from(Header(Kind.BEAT, 1, OTHER, 2, 0))
    assert not one.is_from(Header(Kind.BEAT, 1, OTHER + 1, 1, 0))
