"""The poll over plain descriptors: what a ZeroMQ socket has is found, whoever has used it meanwhile."""

from __future__ import annotations

import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from rackactor.kernel.transport.sockets import Sockets, receive, send, tune

SOON = 5.0


class Two:
    """Sockets, and a router that they are connected to."""

    def __init__(self, folder: Path) -> None:
        self.sockets = Sockets()
        self.router: zmq.Socket[bytes] = self.sockets.context.socket(zmq.ROUTER)
        self.router.linger = 0
        endpoint = f"ipc://{folder}/s"
        self.router.bind(endpoint)
        self.sockets.dial(endpoint, None, None)
        self.sockets.send(self.sockets.supervisor, [b"up", b""])
        self.identity = self.router.recv_multipart()[0]

    def tell(self, text: bytes) -> None:
        self.router.send_multipart([self.identity, text, b""])

    def until_found(self) -> list[Any]:
        until = time.monotonic() + SOON
        while time.monotonic() < until:
            if found := self.sockets.poll(until - time.monotonic()):
                return found
        return []

    def close(self) -> None:
        self.router.close(0)
        self.sockets.close()


@pytest.fixture(name="two", params=[False, True], ids=["at rest", "in conversation"])
def two_ends(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Two]:
    two = Two(tmp_path)
    two.sockets.spin = request.param
    yield two
    two.close()


def test_nothing_comes(two: Two) -> None:
    begin = time.monotonic()
    assert two.sockets.poll(0) == []
    while time.monotonic() - begin < 0.1:
        assert two.sockets.poll(0.1) == []
    assert not two.sockets._recheck


def test_a_message_is_found_and_stays_found_until_it_is_read(two: Two) -> None:
    supervisor = two.sockets.supervisor
    two.tell(b"one")
    assert two.until_found() == [supervisor]
    two.tell(b"two")
    assert two.sockets.poll(SOON) == [supervisor]  # neither has been read
    assert receive(supervisor) == [b"one", b""]
    assert two.until_found() == [supervisor]
    assert receive(supervisor) == [b"two", b""]
    assert two.sockets.poll(0) == []


def test_a_send_that_notices_an_arrival_does_not_hide_it(two: Two) -> None:
    supervisor = two.sockets.supervisor
    for _ in range(200):
        assert two.sockets.poll(0) == []
        two.tell(b"here")
        two.sockets.send(supervisor, [b"there", b""])  # may take the news off the descriptor
        two.router.recv_multipart()
        assert two.until_found() == [supervisor]
        assert receive(supervisor) == [b"here", b""]


def test_a_line_is_found_beside_it(two: Two) -> None:
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here, there:
        two.sockets.watch(here)
        there.send(b"x")
        assert two.until_found() == [here]
        two.tell(b"here")
        until = time.monotonic() + SOON
        while set(two.sockets.poll(SOON)) != {here, two.sockets.supervisor}:
            assert time.monotonic() < until
        two.sockets.unwatch(here)
        two.sockets.unwatch(here)
        assert two.sockets.poll(SOON) == [two.sockets.supervisor]


def test_a_dropped_socket_is_not_asked_again(two: Two) -> None:
    other = two.sockets.connect(f"{two.router.getsockopt_string(zmq.LAST_ENDPOINT)}", None)
    two.sockets.send(other, [b"up", b""])
    two.sockets.drop(other)
    assert two.sockets.poll(0) == []


def test_a_wake_ends_it(two: Two) -> None:
    while two.sockets._recheck:
        two.sockets.poll(0)
    waker = threading.Timer(0.05, two.sockets.wake)
    waker.start()
    begin = time.monotonic()
    assert two.sockets.poll(SOON) == []
    assert time.monotonic() - begin < SOON
    waker.join()


def test_a_signal_handler_may_poll_meanwhile(two: Two) -> None:
    inner: list[list[Any]] = []

    def handler(*_: Any) -> None:
        inner.append(two.sockets.poll(0))
        two.sockets.wake()

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        begin = time.monotonic()
        while not inner and time.monotonic() - begin < SOON:
            two.sockets.poll(SOON)
        assert inner == [[]]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class _Interrupted(Exception):
    """Raised by a signal handler."""


def test_frames_of_two_messages_never_mix_whatever_a_signal_handler_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", len)  # where Python ignores what a handler raises, it comes to nothing
    chance = random.Random(7)
    context: zmq.Context[Any] = zmq.Context()
    here, there = context.socket(zmq.DEALER), context.socket(zmq.DEALER)
    tune(here)
    tune(there)
    raised = sent = left = 0
    got = set()

    def handler(*_: Any) -> None:
        nonlocal raised, left
        if left:
            raised, left = raised + 1, left - 1
            # Another one soon, perhaps while what this one has broken is mended.
            signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.00001, 0.0001))
            raise _Interrupted

    def take() -> None:
        while (frames := receive(there)) is not None:
            assert len(frames) == 5
            assert len({bytes(frame) for frame in frames}) == 1
            got.add(int(bytes(frames[0])))

    def talk() -> None:
        nonlocal sent, left
        left = 2
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.00005, 0.001))
        while left:
            sent += 1
            send(here, [b"%d" % sent] * 5)
            take()

    before = signal.signal(signal.SIGALRM, handler)
    try:
        here.bind(f"ipc://{tmp_path}/s")
        there.connect(f"ipc://{tmp_path}/s")
        there.send_multipart([b"0"] * 5)
        here.recv_multipart()  # they are connected
        until = time.monotonic() + 2.0
        while time.monotonic() < until or raised < 500:
            try:
                try:
                    talk()
                except _Interrupted:
                    pass
                left = 0
            except _Interrupted:
                pass  # the second one of this round: there is no third
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        take()
        here.close(0)
        there.close(0)
        context.term()
    assert len(got) > sent - 2 * raised  # a raise costs what was being read at most
