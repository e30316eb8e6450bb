"""The short way between two processes that talk a lot over ipc: chosen by size, lost without loss."""

from __future__ import annotations

import resource
import socket

import pytest
from support import eventually

import rackactor as rack
from rackactor import current
from rackactor.kernel.peers import DIRECT_NEARBY
from rackactor.kernel.transport import seqpacket
from rackactor.kernel.transport.sockets import max_direct_peers
from rackactor.launch import directories

pytestmark = pytest.mark.wire


class Keeper(rack.Actor):
    """Keep what comes, in order; tell of the short ways that are open, and cut them."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[int] = []

    def receiveMsg_dict(self, message: dict, sender: rack.actors.actor.RackAddress) -> None:
        self.kept.append(message["n"])

    def receiveMsg_str(self, message: str, sender: rack.actors.actor.RackAddress) -> None:
        direct = current.current().kernel.loop.direct
        lines = [line for line, peer in direct._lines.items() if peer is not None]
        if message == "cut":
            for line in lines:
                line.shutdown(socket.SHUT_RDWR)
        self.send(sender, len(lines) if message != "kept" else self.kept)


def _talk(pid: int, cut: bool, short: bool = True) -> tuple[int, list[int]]:
    """Tell numbers; return how many short ways there were (waited for if there should be one), and what has come."""
    keeper = rack.process(pid)
    lines = 0
    for n in range(3000):
        # Small and large ones in turn, so that both ways are busy at once and may overtake each other.
        keeper.tell({"n": n, "fill": bytes(40_000 if n % 50 == 0 else 10)})
        if n == 499 and short:
            assert eventually(lambda: keeper.ask("lines", timeout=60) == 1, 30.0)
        if n % 500 == 499:
            lines = max(lines, keeper.ask("lines", timeout=60))
            if cut and n == 1499:
                keeper.ask("cut", timeout=60)
    return lines, keeper.ask("kept", timeout=60)


def test_small_messages_take_it_and_order_holds() -> None:
    with rack.group() as group:
        lines, kept = group.fork(_talk, group.fork(Keeper).pid, False).result(60)
    assert lines == 1
    assert kept == list(range(3000))


def test_what_it_loses_goes_the_longer_way() -> None:
    with rack.group() as group:
        lines, kept = group.fork(_talk, group.fork(Keeper).pid, True).result(60)
    assert lines == 1
    assert kept == list(range(3000))


def test_not_over_tcp() -> None:
    with rack.group(transport="tcp") as group:
        lines, kept = group.fork(_talk, group.fork(Keeper).pid, False, False).result(60)
    assert lines == 0
    assert kept == list(range(3000))


def test_a_stranger_is_shown_the_door() -> None:
    with rack.group() as group:
        keeper = group.fork(Keeper)
        assert group.fork(_talk, keeper.pid, False).result(60)[0] == 1
        door = seqpacket.place(f"ipc://{directories.group_dir(group.gid)}/p{keeper.pid}")
        assert door is not None
        for packet in (b"nonsense", b"\x93\xc4\x00\xc4\x00\xc4\x00", bytes(50_000)):
            line = seqpacket.dial(door)
            assert line is not None
            with line:
                line.setblocking(True)
                line.settimeout(5)
                try:
                    line.send(packet)
                    line.shutdown(socket.SHUT_WR)
                    assert line.recv(100) == b""
                except ConnectionError:
                    pass  # hung up on before we had done
        assert len(keeper.ask("kept", timeout=60)) == 3000


def _ask_all(pids: list[int], limit: int) -> tuple[int, int]:
    """Ask each process often enough to be introduced, with few descriptors; return how many were, and may be."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    others = [rack.process(pid) for pid in pids]
    for _ in range(2 * DIRECT_NEARBY):
        for answer in [other.submit("kept") for other in others]:
            assert answer.result(30) == []
    return len(current.current().kernel.loop.direct._paths), max_direct_peers()


def test_descriptors_are_left_for_everything_else() -> None:
    with rack.group() as group:
        keepers = group.fork(Keeper, n=40)
        direct, bound = group.fork(_ask_all, [keeper.pid for keeper in keepers], 96).result(60)
    assert 0 < direct <= bound < 40
