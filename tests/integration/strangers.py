"""Those who come to a group uninvited, and the group they come to."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgpack
import pytest
import zmq
from support import FEW_WARM

import rackactor as rack
from rackactor.kernel.kernel import Kernel
from rackactor.kernel.transport.sockets import Keys
from rackactor.launch import directories
from rackactor.syscalls import group as groups
from rackactor.wire.frames import PROTOCOL, SUPERVISOR, Header, Kind, pack_body, pack_route, parse_header, parse_map

#: Nobody waits longer than this for a refusal, seconds.
BOUND = 5.0
SEED = 20260


def answer() -> None:
    """Reply to what is asked."""
    while True:
        message = rack.receive(None)
        message.reply(message.value)


@dataclass
class House:
    """A group with a bystander, who must not come to harm."""

    group: rack.Group
    birth: dict[str, Any]
    card: dict[str, Any]
    bystander: rack.Process

    @property
    def server_key(self) -> bytes | None:
        key = self.card["server_key"]
        return key and key.encode()

    @property
    def operator_keys(self) -> Keys | None:
        keys = self.card["keys"]
        return keys and Keys(keys[0].encode(), keys[1].encode())

    def check(self, within: float = BOUND) -> None:
        """Nobody has come to harm: the bystander answers, and the supervisor forks."""
        begun = time.monotonic()
        assert self.bystander.ask("still there?", timeout=within) == "still there?"
        assert self.group.fork(abs, -3).result(timeout=60) == 3
        assert time.monotonic() - begun < within

    def come(self, token: Any, **other: Any) -> Kernel:
        """Join as an agent does."""
        birth = {"endpoint": self.card["endpoint"], "server_key": self.server_key, "token": token, "pid": 0}
        return Kernel({**birth, "incarnation": 1, **other})

    @contextmanager
    def stranger(self, keys: Keys | None = None) -> Iterator[Stranger]:
        """Come with nothing but a socket."""
        made = Stranger(self.card["endpoint"], self.server_key, keys)
        try:
            yield made
        finally:
            made.close()

    @contextmanager
    def member(self) -> Iterator[Stranger]:
        """Join properly, as a command line does, with a socket that may then say anything."""
        with self.stranger(self.operator_keys) as made:
            made.say(Kind.JOIN, 0, body={"token": bytes.fromhex(self.card["token"]), "protocol": PROTOCOL})
            header, fields = made.hear()
            assert header.kind is Kind.WELCOME
            made.pid, made.epoch = fields["pid"], header.epoch
            yield made
            made.seq += 10_000
            made.say(Kind.CALL, extra=(0, "exit"), body={"code": 0})
            made.leave()

    def raw(self) -> socket.socket:
        """Connect below ZeroMQ."""
        endpoint: str = self.card["endpoint"]
        return connect_raw(endpoint)


class Stranger:
    """A DEALER socket without manners."""

    def __init__(self, endpoint: str, server_key: bytes | None, keys: Keys | None = None) -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 0
        if server_key is not None:
            self.socket.curve_serverkey = server_key
            keys = keys or Keys.make()
            self.socket.curve_publickey, self.socket.curve_secretkey = keys.public, keys.secret
        self.monitor = self.socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_AUTH)
        self.socket.connect(endpoint)
        self.pid, self.epoch, self.seq = 0, 0, 0

    def say(
        self,
        kind: Kind,
        pid: int | None = None,
        *,
        to: int = SUPERVISOR,
        extra: tuple[Any, ...] = (),
        body: Any = None,
        epoch: int | None = None,
        incarnation: int = 1,
    ) -> None:
        """Send a well-formed message."""
        self.seq += 1
        who, when = self.pid if pid is None else pid, self.epoch if epoch is None else epoch
        header = Header(kind, when, who, incarnation, self.seq, extra)
        self.socket.send_multipart([pack_route(to), header.pack(), *([] if body is None else [pack_body(body)])])

    def hear(self, timeout: float = BOUND) -> tuple[Header, dict[str, Any]]:
        """Return the next word of the supervisor that is no heartbeat."""
        until = time.monotonic() + timeout
        while self.socket.poll(max(0, until - time.monotonic()) * 1000):
            frames = self.socket.recv_multipart()
            header = parse_header(frames[1])
            if header.kind not in (Kind.BEAT, Kind.ACK, Kind.DATA):
                return header, parse_map(frames[2])
        raise AssertionError("nothing was said")

    def refused(self) -> tuple[str, str]:
        """Return the name and the words of the refusal that must come."""
        header, fields = self.hear()
        assert header.kind is Kind.REFUSED
        return fields["type"], fields["message"]

    def shut_out(self) -> bool:
        """Tell whether the supervisor has refused the key itself."""
        return bool(self.monitor.poll(BOUND * 1000))

    def call(self, op: str, **args: Any) -> tuple[bool, dict[str, Any]]:
        """Make a system call."""
        self.say(Kind.CALL, extra=(self.seq + 1, op), body=args)
        header, fields = self.hear()
        assert header.kind is Kind.REPLY
        return header.extra[1], fields

    def leave(self) -> None:
        """Go when everything has been said."""
        self.socket.linger = 1000
        self.close()

    def close(self) -> None:
        if self.socket.closed:
            return
        self.socket.disable_monitor()
        self.socket.close()
        self.context.destroy(0)


def connect_raw(endpoint: str) -> socket.socket:
    kind, _, address = endpoint.partition("://")
    made = socket.socket(socket.AF_UNIX if kind == "ipc" else socket.AF_INET)
    made.settimeout(BOUND)
    host, _, port = address.rpartition(":")
    made.connect(address if kind == "ipc" else (host, int(port)))
    return made


@contextmanager
def open_house(transport: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """Make a group, remembering how its maker joined."""
    births: list[dict[str, Any]] = []

    def join(birth: dict[str, Any], timeout: float | None = None) -> Kernel:
        births.append(birth)
        return Kernel(birth, timeout)

    monkeypatch.setattr(groups, "Kernel", join)
    options: dict[str, Any] = {"transport": transport, "provider_settings": FEW_WARM, "max_spawns": 10_000}
    with rack.group("secure", grace=2.0, end_grace=0.5, **options) as group:
        (card,) = [card for card in directories.cards() if card["gid"] == group.gid]
        bystander = group.fork(answer)
        assert bystander.ask("up?") == "up?"
        yield House(group, births[0], card, bystander)


def garbage(chance: random.Random) -> Iterator[list[bytes]]:
    """Yield well-formed ZeroMQ messages that nobody of this wire sends."""
    yield [b""]
    yield [b"", b""]
    yield [pack_route(1)]
    yield [pack_route(1), b""]
    yield [b"short", Header(Kind.BEAT, 1, 2, 1, 1).pack()]
    yield [pack_route(1), msgpack.packb(["x"] * 5)]
    yield [pack_route(1), msgpack.packb({"kind": 3})]
    yield [pack_route(1), bytes(5000)]
    yield [pack_route(1), b"\xdd\xff\xff\xff\xff"]
    yield [pack_route(1), Header(Kind.JOIN, 0, 0, 0, 0).pack()]
    yield [pack_route(1), Header(Kind.JOIN, 0, 0, 0, 0).pack(), b"\xc1"]
    yield [pack_route(1), Header(Kind.JOIN, 0, 0, 0, 0).pack(), pack_body({"token": [1], "protocol": PROTOCOL})]
    yield [pack_route(1), Header(Kind.JOIN, 0, 0, 0, 0).pack(), pack_body({"protocol": {"a": 1}})]
    yield [pack_route(2**32 - 1), Header(Kind.DATA, 1, 2, 1, 1, (1, 1, 1, 1)).pack(), b"x"]
    yield [pack_route(1), Header(Kind.CALL, 1, 2, 1, 1, (1, "end")).pack()]
    for _ in range(100):
        yield [chance.randbytes(chance.choice([0, 8, 9, 30, 70_000])) for _ in range(chance.randint(1, 5))]
