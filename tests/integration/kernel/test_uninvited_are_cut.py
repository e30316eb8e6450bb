"""Connections that do not join are bounded in number, in time and in bytes; who is to come in comes in all the same."""

from __future__ import annotations

import os
import resource
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psutil
import pytest
import zmq
from strangers import House, Stranger
from support import eventually, os_pid_of
from test_wire_garbage import is_cut_off, resident

import rackactor as rack
from rackactor.kernel.transport.newcomers import PATIENCE
from rackactor.wire.frames import Kind

pytestmark = pytest.mark.wire

#: Descriptors that the supervisor may have.
FEW = 512


TCP = pytest.mark.parametrize("transport", ["tcp"])


def open_descriptors(house: House) -> int:
    return len(os.listdir(f"/proc/{house.card['os_pid']}/fd"))


def until_cut(stranger: socket.socket, bound: float) -> float:
    """Return after how many seconds a connection is cut."""
    begun = time.monotonic()
    stranger.settimeout(bound)
    assert is_cut_off(stranger)
    return time.monotonic() - begun


def greet(process: rack.Process) -> str:
    answers = [process.ask("hello") for _ in range(50)]
    return str(answers[-1])


@contextmanager
def flood(endpoint: str, count: int) -> Iterator[list[int]]:
    """Have that many connections that say nothing, and make each anew that is cut; yields how many were made."""
    made, over = [0], threading.Event()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    address = endpoint.removeprefix("tcp://").split(":")

    def pour() -> None:
        with selectors.DefaultSelector() as idle:
            while not over.is_set():
                while len(idle.get_map()) < count and not over.is_set():
                    one = socket.socket()
                    one.settimeout(0.2)
                    try:
                        one.connect((address[0], int(address[1])))
                    except OSError:
                        one.close()
                        break
                    idle.register(one, selectors.EVENT_READ)
                    made[0] += 1
                    if made[0] % 100 == 0:
                        break
                for key, _ in idle.select(0.01):
                    idle.unregister(key.fileobj)
                    key.fileobj.close()  # type: ignore[union-attr]
            for key in list(idle.get_map().values()):
                key.fileobj.close()  # type: ignore[union-attr]

    thread = threading.Thread(target=pour)
    thread.start()
    try:
        yield made
    finally:
        over.set()
        thread.join()
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@TCP
def test_a_flood_of_connections_keeps_nobody_out(house: House) -> None:
    resource.prlimit(house.card["os_pid"], resource.RLIMIT_NOFILE, (FEW - 64, FEW))
    before = most = open_descriptors(house)
    with flood(house.card["endpoint"], 2000) as made:
        assert eventually(lambda: made[0] >= 2000, 120)
        for _ in range(5):
            begun = time.monotonic()
            assert house.group.fork(abs, -3).result(timeout=15) == 3
            assert time.monotonic() - begun < 15
            assert house.bystander.ask("up?", timeout=15) == "up?"
            most = max(most, open_descriptors(house))
    assert most < FEW
    until = time.monotonic() + 10
    while open_descriptors(house) > before + 20:
        assert time.monotonic() < until, "descriptors are not free again"
        time.sleep(0.1)
    house.check()


def listening(os_pid: int) -> list[str]:
    """Return where a process listens."""
    found = psutil.Process(os_pid).net_connections("tcp")
    return [f"tcp://127.0.0.1:{one.laddr.port}" for one in found if one.status == psutil.CONN_LISTEN]


@TCP
def test_a_flood_at_a_process_itself(house: House) -> None:
    os_pid = os_pid_of(house.bystander)

    def has_a_door() -> bool:
        house.bystander.ask("talk")
        return bool(listening(os_pid))

    assert eventually(has_a_door, 15)
    resource.prlimit(os_pid, resource.RLIMIT_NOFILE, (FEW, FEW))
    before = most = len(os.listdir(f"/proc/{os_pid}/fd"))
    with flood(listening(os_pid)[0], 1000) as made:
        while made[0] < 1000:
            assert house.bystander.ask("still there?", timeout=15) == "still there?"
            most = max(most, len(os.listdir(f"/proc/{os_pid}/fd")))
        assert house.group.fork(greet, house.bystander).result(timeout=15) == "hello"
        most = max(most, len(os.listdir(f"/proc/{os_pid}/fd")))
    assert before < most < FEW
    assert eventually(lambda: len(os.listdir(f"/proc/{os_pid}/fd")) < before + 10, 15)


@contextmanager
def watched(stranger: Stranger, events: int) -> Iterator[zmq.Socket[bytes]]:
    """Have what happens to a stranger's connection told."""
    stranger.socket.disable_monitor()
    stranger.monitor.close(0)
    with closing(stranger.socket.get_monitor_socket(events, "inproc://happens")) as told:
        yield told
        stranger.socket.disable_monitor()


@TCP
def test_who_shakes_hands_and_says_nothing_is_cut(house: House) -> None:
    begun = time.monotonic()
    with house.stranger(house.operator_keys) as stranger, watched(stranger, zmq.EVENT_DISCONNECTED) as told:
        assert told.poll(1000 * (PATIENCE + 10))
        assert time.monotonic() - begun > PATIENCE / 2
        house.check()


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
def test_who_is_refused_is_cut_when_it_has_heard_so(house: House) -> None:
    with house.stranger(house.operator_keys) as stranger, watched(stranger, zmq.EVENT_DISCONNECTED) as told:
        stranger.say(Kind.BEAT)
        assert stranger.refused()[0] == "AuthenticationError"
        assert told.poll(5000)
        house.check()


@TCP
def test_who_has_joined_is_not_cut(house: House) -> None:
    with house.member() as member, watched(member, zmq.EVENT_DISCONNECTED) as told:
        until = time.monotonic() + PATIENCE + 2
        while time.monotonic() < until:
            member.say(Kind.BEAT)
            assert not told.poll(300)
        member.say(Kind.BEAT, pid=77)  # what it may not say is refused; it costs no member its connection
        assert not told.poll(2000)
        assert member.refused()[0] == "AuthenticationError"


@TCP
def test_bytes_of_who_has_not_joined_are_bounded(house: House) -> None:
    before = most = resident(house)
    with house.stranger(house.operator_keys) as stranger, watched(stranger, zmq.EVENT_DISCONNECTED) as told:
        begun = time.monotonic()
        for _ in range(60):
            stranger.socket.send(bytes(16 << 20), copy=False)
        while not told.poll(10):
            most = max(most, resident(house))
            assert time.monotonic() - begun < 10
    assert most - before < 300 << 20
    house.check()
