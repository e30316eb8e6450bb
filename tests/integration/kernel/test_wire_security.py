"""Who may speak on the wire: everybody else is refused by name, in time, harming nobody."""

from __future__ import annotations

import os
import random
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
import zmq
from strangers import BOUND, SEED, House, Stranger, answer, connect_raw, garbage
from support import FEW_WARM, eventually

import rackactor as rack
from rackactor.errors import AuthenticationError
from rackactor.kernel.kernel import Kernel
from rackactor.kernel.transport.sockets import Keys, Sockets
from rackactor.wire.codec import encode
from rackactor.wire.frames import PROTOCOL, SUPERVISOR, Header, Kind, pack_body, pack_route, parse_header
from rackactor.wire.stream import Entry, EntryKind, pack_entries

pytestmark = pytest.mark.wire


def tell_keys() -> None:
    """Reply with the key pair of this process, and where it listens for peers."""
    while True:
        message = rack.receive(None)
        if isinstance(message.value, int):
            message.reply(message.value)
            continue
        kernel = rack.current.current().kernel
        keys = kernel.identity.keys
        message.reply([keys and [keys.public, keys.secret], kernel.loop.direct._listener.endpoint])


def talk(pid: int, count: int) -> int:
    """Ask a process so often that a direct connection is worth its price."""
    peer = rack.process(pid)
    return sum(int(peer.ask(number)) for number in range(count))


# -- keys and tokens ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["tcp"])
def test_a_wrong_server_key(house: House) -> None:
    begun = time.monotonic()
    with pytest.raises(AuthenticationError):
        house.come(bytes.fromhex(house.card["token"]), server_key=Keys.make().public, keys=house.operator_keys)
    assert time.monotonic() - begun < BOUND
    house.check()


@pytest.mark.parametrize("transport", ["tcp"])
def test_an_unknown_key(house: House) -> None:
    begun = time.monotonic()
    with pytest.raises(AuthenticationError, match="does not know this key"):
        house.come(os.urandom(24))
    assert time.monotonic() - begun < BOUND
    with house.stranger() as stranger:
        stranger.say(Kind.JOIN, body={"token": bytes.fromhex(house.card["token"]), "protocol": PROTOCOL})
        assert stranger.shut_out()  # the token alone is not enough
        assert not stranger.socket.poll(100)
    house.check()


@pytest.mark.parametrize("transport", ["tcp"])
def test_an_unknown_key_that_is_refused_before_it_says_a_word(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    dial = Sockets.dial

    def slow(self: Sockets, *args: Any) -> None:
        dial(self, *args)
        assert eventually(lambda: self.poll(0.05) is not None and self.refused)

    monkeypatch.setattr(Sockets, "dial", slow)
    with pytest.raises(AuthenticationError, match="does not know this key"):
        house.come(os.urandom(24))
    monkeypatch.undo()
    house.check()


def test_a_bad_token(house: House) -> None:
    for token in (os.urandom(24), b"", "text", None, house.birth["token"]):
        begun = time.monotonic()
        with pytest.raises(AuthenticationError, match=r"used before|is bytes"):
            house.come(token, keys=house.operator_keys)  # with a key that is let in
        assert time.monotonic() - begun < BOUND
    house.check()


def test_a_token_used_twice(house: House) -> None:
    begun = time.monotonic()
    with pytest.raises(AuthenticationError):
        Kernel(house.birth)
    assert time.monotonic() - begun < BOUND
    house.check()
    with pytest.raises(AuthenticationError):
        Kernel({**house.birth, "keys": house.operator_keys})  # with a key that is let in
    house.check()


def test_another_version_of_the_wire(house: House) -> None:
    token = bytes.fromhex(house.card["token"])
    with house.stranger(house.operator_keys) as stranger:
        for protocol in (PROTOCOL + 1, None, "1"):
            stranger.say(Kind.JOIN, body={"token": token, "protocol": protocol})
            assert stranger.refused()[0] == "ProtocolError"
    house.check()
    with house.member() as member:  # the token is as good as ever
        assert member.call("group")[0]


def test_who_has_not_joined(house: House) -> None:
    with house.stranger(house.operator_keys) as stranger:
        stranger.say(Kind.CALL, house.group.getpid(), extra=(1, "end"), body={}, epoch=1)
        name, message = stranger.refused()
        assert (name, "present a token first" in message) == ("AuthenticationError", True)
    house.check()


@pytest.mark.parametrize("transport", ["tcp"])
def test_the_key_of_a_killed_process_is_revoked(house: House) -> None:
    process = house.group.fork(tell_keys)
    (public, secret), _ = process.ask("keys?")
    keys = Keys(public, secret)
    with house.stranger(keys) as stranger:
        # The process itself could come on a new connection; it cannot be another.
        stranger.say(Kind.BEAT, house.bystander.pid, epoch=1)
        assert stranger.refused()[0] == "AuthenticationError"
        process.kill("KILL")
        assert process.wait(10).signal == 9
        stranger.say(Kind.CALL, process.pid, extra=(1, "ps"), body={}, epoch=1)
        assert stranger.refused()[0] == "AuthenticationError"  # on the connection that it still has
    begun = time.monotonic()
    with pytest.raises(AuthenticationError, match="revoked"):
        house.come(bytes.fromhex(house.card["token"]), keys=keys)
    assert time.monotonic() - begun < BOUND
    house.check()


# -- what members may say ------------------------------------------------------------------------------------


def test_nobody_speaks_as_another(house: House) -> None:
    with house.member() as member:
        for pid in (house.bystander.pid, house.group.getpid(), SUPERVISOR, 0, 999):
            member.say(Kind.CALL, pid, extra=(1, "end"), body={})
            name, message = member.refused()
            assert name == "AuthenticationError"
            assert f"process {member.pid} may not speak as process {pid}" in message
        member.say(Kind.BEAT, incarnation=2)
        assert member.refused()[0] == "AuthenticationError"
        assert member.call("group")[1]["ending"] == ""
    house.check()


def test_a_message_of_another_epoch(house: House) -> None:
    with house.member() as member:
        for epoch in (0, 2, 1 << 40):
            member.say(Kind.CALL, extra=(1, "ps"), body={}, epoch=epoch)
            name, message = member.refused()
            assert name == "ProtocolError"
            assert f"a message of epoch {epoch}; this is epoch 1" in message
    house.check()


def test_nobody_speaks_for_the_supervisor(house: House) -> None:
    pid = house.bystander.pid
    with house.member() as member:
        for kind, extra, body in (
            (Kind.EVENT, ("end",), {"reason": "a lie"}),
            (Kind.EVENT, ("signal",), {"signal": 9, "sender": 1}),
            (Kind.EVENT, ("gone",), {"pid": house.group.getpid(), "why": "a lie"}),
            (Kind.REFUSED, (), {"type": "GroupEnded", "message": "a lie"}),
            (Kind.REPLY, (1, False), {"type": "GroupEnded", "message": "a lie"}),
            (Kind.WELCOME, (), {}),
        ):
            member.say(kind, to=pid, extra=extra, body=body)
            assert member.refused()[0] in ("AuthenticationError", "ProtocolError")
    house.check()


def test_garbage_for_a_member_does_not_harm_it(house: House) -> None:
    pid = house.bystander.pid
    with house.member() as member:
        for number, frames in enumerate([[], [b""], [b"\xff"], [b"a", b"b", b"c"], [pack_body([[9, 0, b""]])]]):
            header = Header(Kind.DATA, 1, member.pid, 1, 1000 + number, (1, 1, 0, 0))
            member.socket.send_multipart([pack_route(pid), header.pack(), *frames])
        member.seq = 2000
        member.say(Kind.ACK, to=pid, extra=(1 << 40, 1 << 40))
        assert member.call("group")[0]
    house.check()
    actor = house.group.fork(make_echo())
    assert actor.ask("up?") == "up?"
    bad = Entry(EntryKind.TELL, 0, b"garbage")  # a message whose value cannot be read
    with house.member() as member:
        header = Header(Kind.DATA, 1, member.pid, 1, 3000, (1, 1, 0, 0))
        member.socket.send_multipart([pack_route(actor.pid), header.pack(), *pack_entries([bad])])
        assert actor.ask("still there?") == "still there?"


def make_echo() -> type[rack.Actor]:
    class Echo(rack.Actor):
        def receiveUnrecognizedMessage(self, message: Any, sender: Any) -> None:
            self.send(sender, message)

    return Echo


def test_calls_with_nonsense_are_refused(house: House) -> None:
    with house.member() as member:
        for op, args in (
            ("logs", {}),
            ("logs", {"pid": house.bystander.pid, "offset": 3}),
            ("logs", {"pid": "x", "offset": 0, "follow": True}),
            ("started", {"pids": [[1]], "count": 1}),
            ("wait", {"pids": [{}]}),
            ("kill", {"pids": [1.5], "signal": 15}),
            ("fork", {"n": 1, "kind": "function", "env": 5}),
            ("no such call", {}),
        ):
            ok, fields = member.call(op, **args)
            assert not ok
            assert fields["type"] == "InvalidCall"
        for body in (None, [], "x", {1: 2}):
            member.seq += 1
            header = Header(Kind.CALL, 1, member.pid, 1, member.seq, (member.seq, "ps"))
            member.socket.send_multipart([pack_route(1), header.pack(), pack_body(body)])
            assert member.refused()[0] == "ProtocolError"
    house.check()


# -- direct connections ----------------------------------------------------------------------------------------


def test_a_stranger_at_a_direct_connection(house: House, transport: str) -> None:
    host = house.group.fork(tell_keys)
    guest = house.group.fork(talk, host.pid, 200)
    assert guest.result(timeout=60) == sum(range(200))
    peers = [house.group.fork(talk, host.pid, 3000) for _ in range(2)]
    until = time.monotonic() + BOUND
    while not (endpoint := host.ask("where?")[1]):
        assert time.monotonic() < until
    chance = random.Random(SEED)
    for _ in range(20):
        with closing(connect_raw(endpoint)) as raw:
            try:
                raw.sendall(chance.randbytes(100))
            except OSError:
                pass
    keys = host.ask("keys?")[0]
    stranger = Stranger(endpoint, keys and keys[0])
    stranger.socket.sndtimeo = 100  # on tcp it is shut out, and has nowhere to send to
    try:
        for ticket in (b"", bytes(16), [1], {"a": 1}, None, 5):
            stranger.say(Kind.JOIN, guest.pid, body={"ticket": ticket}, epoch=1)
        for frames in garbage(chance):
            stranger.socket.send_multipart(frames)
        lie = Entry(EntryKind.TELL, 0, encode("a lie"))
        header = Header(Kind.DATA, 1, peers[0].pid, 1, 9, (1, 1, 0, 1 << 40))
        stranger.socket.send_multipart([pack_route(host.pid), header.pack(), *pack_entries([lie])])
    except zmq.Again:
        assert transport == "tcp"
    else:
        assert stranger.socket.poll(200) == 0  # not a word to whoever was not announced
    finally:
        stranger.close()
    for peer in peers:
        assert peer.result(timeout=60) == sum(range(3000))
    assert host.ask(7) == 7
    house.check()


def test_an_endpoint_that_is_none_harms_nobody(house: House) -> None:
    """A member says that it listens where nobody can: whoever is sent there goes on as before."""
    with house.member() as member:
        for endpoint in ("nonsense", "tcp://", "tcp://256.256.256.256:1", "ipc://" + "x" * 500, "", "inproc://x"):
            ticket = bytes(16)
            assert member.call("group")[0]
            body = {"pid": house.bystander.pid, "endpoint": endpoint, "ticket": ticket, "number": 1 << 40}
            member.say(Kind.CALL, extra=(0, "listening"), body=body)
        assert member.call("group")[0]
        house.check()
    house.check()


def connections(endpoint: str) -> int:
    """Return how many are connected to an ipc endpoint."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    return sum(line.endswith(endpoint.removeprefix("ipc://")) for line in lines) - 1  # less the one that listens


def test_whoever_is_connected_ahead_of_time_is_nobody() -> None:
    with rack.group(transport="ipc", provider_settings={"warm": 3}) as group:
        endpoint = group.kernel.sockets.endpoint
        assert eventually(lambda: connections(endpoint) == 4), "the script and three that wait"
        assert len(group.ps()) == 1
        (server,) = [p for p in psutil.Process().children(recursive=True) if len(p.children()) == 3]
        waiting = server.children()[:2]  # three deaths would end the making of more
        for process in waiting:
            process.kill()
        assert eventually(lambda: connections(endpoint) == 4 and not set(waiting) & set(server.children()))
        first = group.fork(answer)
        assert first.ask(1, timeout=BOUND) == 1
        assert int(group.ps()[-1]["instance"]) not in {process.pid for process in waiting}
        assert eventually(lambda: connections(endpoint) == 5), "its connection is one of those that waited"


def test_a_welcome_that_is_lost_is_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection broke when its token had been taken: it was told that somebody else had used it, and ended."""
    polled: list[Sockets] = []
    lost: list[bool] = []
    receive, poll = Sockets.receive, Sockets.poll

    def note(self: Sockets, timeout: float | None) -> list[Any]:
        polled.append(self)
        return poll(self, timeout)

    def lose(socket: zmq.Socket[Any], *more: Any) -> list[Any] | None:
        frames = receive(socket, *more)
        if frames is not None and not lost and parse_header(frames[1]).kind is Kind.WELCOME:
            lost.append(True)
            polled[-1].broken = True
            return None
        return frames

    monkeypatch.setattr(Sockets, "poll", note)
    monkeypatch.setattr(Sockets, "receive", staticmethod(lose))
    with rack.group("lost", transport="tcp", provider_settings=FEW_WARM) as group:
        assert lost
        assert group.fork(abs, -3).result(BOUND * 4) == 3
        assert [row["pid"] for row in group.ps()] == [2]
