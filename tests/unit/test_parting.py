"""Giving direct connections up, at one end of them: real sockets, and an exchange that only notes what it is asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import zmq

from rackactor.kernel.direct import Direct
from rackactor.kernel.path_monitor import Paths
from rackactor.kernel.peers import Peers
from rackactor.wire.frames import Header, Kind, pack_route, parse_header

ME, OTHER = 4, 7


class Link:
    """Sockets, of which nobody waits for any."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self.context = context

    def connect(self, endpoint: str, _: bytes | None) -> zmq.Socket[bytes]:
        socket = self.context.socket(zmq.DEALER)
        socket.connect(endpoint)
        return socket

    def drop(self, socket: zmq.Socket[bytes]) -> None:
        socket.close(0)

    def send(self, socket: zmq.Socket[bytes], frames: list[bytes]) -> None:
        socket.send_multipart(frames)


class Exchange:
    """What `Direct` asks of the exchange it belongs to."""

    keys, epoch, pid, incarnation = ("public", "secret"), 1, ME, 1

    def __init__(self, link: Link) -> None:
        self.link, self.peers, self.paths = link, Peers(), Paths()
        self.requests: list[tuple[str, dict[str, Any]]] = []

    def switch(self, pid: int, path: Any, *, again: bool = False) -> None:
        self.peers.switch(pid, path, again=again)

    def request(self, op: str, args: dict[str, Any]) -> None:
        self.requests.append((op, args))


class Host:
    """The one that connections are made to: it welcomes everybody."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self.socket = context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.endpoint = f"tcp://127.0.0.1:{self.socket.bind_to_random_port('tcp://127.0.0.1')}"

    def welcome(self) -> None:
        assert self.socket.poll(5000)
        identity, _, header = self.socket.recv_multipart()[:3]
        assert parse_header(header).kind is Kind.JOIN
        answer = Header(Kind.WELCOME, 1, OTHER, 1, 0).pack()
        self.socket.send_multipart([identity, pack_route(ME), answer])


@pytest.fixture
def met() -> Iterator[tuple[Exchange, Direct]]:
    """Two connections to the other process; what is sent takes the second."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    exchange = Exchange(Link(context))
    direct = Direct(exchange)  # type: ignore[arg-type]
    host = Host(context)
    try:
        for number in (1, 2):
            ticket = {"ticket": b"t%d" % number, "number": number}
            direct.event("meet", {"pid": OTHER, "incarnation": 1, "endpoint": host.endpoint, **ticket})
            host.welcome()
            (socket,) = {*direct._hosts} - {getattr(exchange.peers.get(OTHER).path, "socket", None)}
            assert socket.poll(5000)
            direct.read(socket)
        yield exchange, direct
    finally:
        direct.close()
        host.socket.close(0)
        context.destroy(0)


def test_who_is_left_without_its_path_gives_up_the_others_too(met: tuple[Exchange, Direct]) -> None:
    """The other one may still send acknowledgements on one of them, and would not find out that it is dark."""
    exchange, direct = met
    assert exchange.peers.get(OTHER).path.number == 2
    direct.event("part", {"pid": OTHER, "numbers": [2]})
    assert exchange.peers.get(OTHER).path is None
    assert exchange.requests == [("part", {"pid": OTHER, "numbers": [1]})]
    assert not direct._hosts


def test_a_connection_that_is_not_used_may_go_alone(met: tuple[Exchange, Direct]) -> None:
    exchange, direct = met
    direct.event("part", {"pid": OTHER, "numbers": [1]})
    assert exchange.peers.get(OTHER).path.number == 2
    assert exchange.requests == []
    assert len(direct._hosts) == 1
