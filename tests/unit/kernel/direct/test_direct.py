"""Giving direct connections up, at one end of them: real sockets, and an uplink that notes what it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import zmq

from rackactor.kernel.direct.direct import Direct
from rackactor.kernel.direct.path_monitor import Paths
from rackactor.kernel.identity import Identity
from rackactor.kernel.peers import Peers
from rackactor.kernel.transport.sockets import Keys
from rackactor.kernel.transport.sockets import Sockets as RealSockets
from rackactor.wire.calls.connections import Part
from rackactor.wire.events import ListenEvent, MeetEvent, PartEvent
from rackactor.wire.frames import Header, Kind, pack_body, pack_route, parse_header
from rackactor.wire.schema import Call

ME, OTHER = 4, 7


class Sockets:
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


class Agent:
    """What `Direct` has to do with; as an uplink it only notes what it is asked for."""

    def __init__(self, sockets: Sockets) -> None:
        self.peers = Peers()
        self.requests: list[Call] = []
        identity = Identity()
        identity.pid, identity.incarnation, identity.epoch, identity.keys = ME, 1, 1, Keys.make()
        itself: Any = self
        self.direct = Direct(cast("Any", sockets), identity, itself, self.peers, Paths(), itself)

    def request(self, call: Call) -> None:
        self.requests.append(call)

    def at_time(self, delay: float, action: Callable[[], None]) -> None:
        raise AssertionError("nothing here takes time")


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
def met() -> Iterator[tuple[Agent, Direct]]:
    """Two connections to the other process; what is sent takes the second."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    agent = Agent(Sockets(context))
    direct = agent.direct
    host = Host(context)
    try:
        for number in (1, 2):
            direct.event(MeetEvent(OTHER, 1, number, b"t%d" % number, host.endpoint))
            host.welcome()
            (socket,) = {*direct._connections.sockets} - {getattr(agent.peers.get(OTHER).path, "socket", None)}
            assert socket.poll(5000)
            direct.read(socket)
        yield agent, direct
    finally:
        direct.close()
        host.socket.close(0)
        context.destroy(0)


def test_who_is_left_without_its_path_gives_up_the_others_too(met: tuple[Agent, Direct]) -> None:
    """The other one may still send acknowledgements on one of them, and would not find out that it is dark."""
    agent, direct = met
    assert agent.peers.get(OTHER).path.number == 2
    direct.event(PartEvent(OTHER, [2]))
    assert agent.peers.get(OTHER).path is None
    assert agent.requests == [Part(OTHER, [1])]
    assert not direct._connections.sockets


def test_a_connection_that_is_not_used_may_go_alone(met: tuple[Agent, Direct]) -> None:
    agent, direct = met
    direct.event(PartEvent(OTHER, [1]))
    assert agent.peers.get(OTHER).path.number == 2
    assert agent.requests == []
    assert len(direct._connections.sockets) == 1


def test_nothing_is_kept_of_processes_that_have_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where we listen their last words may still be under way for a while."""
    real = RealSockets()
    agent = Agent(cast("Any", real))
    later: list[Callable[[], object]] = []
    monkeypatch.setattr(agent, "at_time", lambda delay, action: later.append(action))
    agent.direct._identity.keys = None
    direct = agent.direct
    callers = []
    try:
        for pid in range(10, 20):
            ticket = b"ticket of %d" % pid
            direct.event(ListenEvent(pid, 1, pid, ticket, b"key of %d" % pid, f"ipc://{tmp_path}/p4"))
            caller = real.context.socket(zmq.DEALER)
            callers.append(caller)
            caller.connect(f"ipc://{tmp_path}/p4")
            join = Header(Kind.JOIN, 1, pid, 1, 0).pack()
            caller.send_multipart([pack_route(ME), join, pack_body({"ticket": ticket})])
            socket = direct._listener.socket
            assert socket is not None
            assert socket.poll(5000)
            direct.read(socket)
        assert len(direct._connections._by_identity) == 10
        for pid in range(10, 20):
            direct.forget(pid)
        assert len(direct._connections._by_identity) == 10
        for action in later:
            action()
        left = (direct._connections._all, direct._connections._by_identity, direct._connections._by_ticket)
        assert [len(each) for each in left] == [0, 0, 0]
        assert not direct._listener._keys
    finally:
        for caller in callers:
            caller.close(0)
        direct.close()
        real.close(0)
