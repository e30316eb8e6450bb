"""Whatever bytes come over the wire, nobody is harmed or held up."""

from __future__ import annotations

import os
import random
import socket
import struct
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from strangers import BOUND, SEED, House, garbage

from rackactor.kernel.transport.sockets import ABORTED
from rackactor.wire.frames import Header, Kind, pack_body, pack_route

pytestmark = pytest.mark.wire


def test_random_bytes(house: House) -> None:
    chance = random.Random(SEED)
    for _ in range(150):
        with closing(house.raw()) as raw:
            try:
                raw.sendall(chance.randbytes(chance.choice([1, 9, 64, 100, 5000])))
                if chance.random() < 0.2:
                    raw.sendall(GREETING + chance.randbytes(200))
            except OSError:
                pass  # cut off already
    house.check()


#: The greeting of ZMTP 3.0 for the mechanism NULL, and the command that ends its handshake.
GREETING = b"\xff\0\0\0\0\0\0\0\1\x7f\3\0" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x04\x29\x05READY\x0bSocket-Type\0\0\0\x06DEALER\x08Identity\0\0\0\0"


def shake_hands(raw: socket.socket) -> None:
    """Do the handshake of the mechanism NULL by hand."""
    raw.sendall(GREETING)
    read_exactly(raw, 64)
    raw.sendall(READY)
    flags, length = read_exactly(raw, 2)
    assert flags == 4
    assert read_exactly(raw, length).startswith(b"\x05READY")


def read_exactly(raw: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = raw.recv(count - len(data))
        assert more, "cut off"
        data += more
    return data


def is_cut_off(raw: socket.socket) -> bool:
    """Tell whether the other end closes the connection, within the socket's timeout."""
    try:
        while raw.recv(4096):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize("transport", ["ipc"])
def test_a_length_of_4_gigabytes(house: House) -> None:
    begun = time.monotonic()
    for length in (4 << 30, (1 << 30) + 1, (1 << 63) - 1, (1 << 64) - 1):
        with closing(house.raw()) as raw:
            shake_hands(raw)
            raw.sendall(b"\x03" + struct.pack(">Q", length) + bytes(1000))
            assert is_cut_off(raw)
    assert time.monotonic() - begun < BOUND
    assert resident(house) < 300 << 20
    house.check()


def resident(house: House) -> int:
    """Return the resident memory of the supervisor, bytes."""
    return int(Path(f"/proc/{house.card['os_pid']}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.mark.parametrize("transport", ["tcp"])
def test_a_length_of_4_gigabytes_before_any_key_was_shown(house: House) -> None:
    begun = time.monotonic()
    greeting = GREETING.replace(b"NULL\0", b"CURVE")
    for start in (GREETING, greeting):  # NULL is no way in; with CURVE a command of 4 GB is none either
        with closing(house.raw()) as raw:
            raw.sendall(start)
            try:
                raw.sendall(b"\x06" + struct.pack(">Q", 4 << 30) + bytes(1000))
            except OSError:
                pass
            assert is_cut_off(raw)
    assert time.monotonic() - begun < BOUND
    assert resident(house) < 300 << 20
    house.check()


@pytest.mark.parametrize("transport", ["ipc"])
def test_a_truncated_frame(house: House) -> None:
    message = pack_route(1)
    whole = b"\x01\x08" + message + b"\x00\x64" + bytes(100)
    for cut in (1, 2, 5, 10, 11, 12, 50, len(whole) - 1):
        with closing(house.raw()) as raw:
            shake_hands(raw)
            raw.sendall(whole[:cut])
    with closing(house.raw()) as raw:  # one that stays half said does not hold the others up
        shake_hands(raw)
        raw.sendall(whole[:-1])
        house.check()


def test_a_connection_that_says_nothing_holds_nobody_up(house: House) -> None:
    silent = [house.raw() for _ in range(50)]
    house.check()
    for raw in silent:
        raw.close()


def test_well_formed_messages_with_garbage_in_them(house: House) -> None:
    chance = random.Random(SEED)
    for number, frames in enumerate(garbage(chance)):
        with house.stranger(house.operator_keys) as stranger:
            stranger.socket.send_multipart(frames)
            name, _ = stranger.refused()
            assert name in ("ProtocolError", "AuthenticationError")
        if number % 20 == 0:
            house.check()
    with house.member() as member:
        for frames in garbage(chance):
            member.socket.send_multipart(frames)
        member.seq = 10
        until = time.monotonic() + BOUND
        member.say(Kind.CALL, extra=(77, "ps"), body={})
        while member.hear()[0].kind is not Kind.REPLY:
            assert time.monotonic() < until
    house.check()


def test_a_message_of_a_hundred_thousand_parts(house: House) -> None:
    with house.stranger(house.operator_keys) as stranger:
        stranger.socket.send_multipart([b""] * 100_000)
        if house.server_key is None:
            header, fields = stranger.hear(4 * BOUND)  # so many parts take a while
            assert (header.kind, fields["type"]) == (Kind.REFUSED, "ProtocolError")
        # Over tcp it is cut before all parts have come: nobody needs that many bytes to join.
    house.check()
    with house.member() as member:
        header = Header(Kind.CALL, 1, member.pid, 1, 50, (1, "ps")).pack()
        member.socket.send_multipart([pack_route(1), header, pack_body({}), *[b""] * 100_000])
        member.seq = 60
        assert member.hear(4 * BOUND)[0].kind in (Kind.REPLY, Kind.REFUSED)
    house.check()


def test_a_flood_of_refused_messages(house: House) -> None:
    with house.stranger(house.operator_keys) as stranger:
        for _ in range(20_000):
            stranger.socket.send_multipart([b"not", b"of", b"this", b"wire"])
        house.check()
        refusals = 0
        while stranger.socket.poll(300):
            stranger.socket.recv_multipart()
            refusals += 1
        assert 1 <= refusals < 100  # a flood of nonsense is not worth a flood of answers
    house.check(2.0)


def test_a_flood_of_broken_off_messages(house: House) -> None:
    with house.stranger(house.operator_keys) as stranger:
        for _ in range(20_000):
            stranger.socket.send_multipart([pack_route(1), ABORTED])
        house.check()


def test_many_impostors(house: House) -> None:
    """Each new connection is refused too, however many have been before it."""
    for _ in range(150):
        with house.stranger(house.operator_keys) as stranger:
            stranger.say(Kind.BEAT)
            assert stranger.refused()[0] == "AuthenticationError"
    house.check(3.0)


@pytest.mark.parametrize("transport", ["ipc"])
def test_a_flood_of_who_has_not_joined_is_held_back_and_not_kept(house: House) -> None:
    """What comes faster than it is refused waits at its sender: the supervisor's memory stays as it is."""
    with ExitStack() as connections:
        raw: socket.socket | None = None
        before = most = resident(house)
        flood = b"\0\1x" * 300_000
        until = time.monotonic() + 4.0
        while time.monotonic() < until:
            if raw is None:
                raw = connections.enter_context(closing(house.raw()))
                shake_hands(raw)
                raw.settimeout(0.05)
            try:
                raw.send(flood)
            except TimeoutError:
                pass
            except ConnectionError:
                raw = None  # it has been cut: it comes again
            most = max(most, resident(house))
        assert most - before < 32 << 20
        house.check(2 * BOUND)
