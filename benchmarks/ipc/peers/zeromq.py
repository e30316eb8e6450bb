"""Bare pyzmq: a PUSH and a PULL each way over ipc; and a plain copy over TCP under CURVE."""

from __future__ import annotations

import os
import tempfile
import time
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import zmq

from ...peer import PATIENCE
from ..pairs import Children, Open, Pair, Receive, Send
from ..peer import CHUNK

Keys = tuple[bytes, bytes]


class BareZeroMQ(Pair):
    """Messages only: what any pipe over ZeroMQ in Python could reach at best."""

    title = "bare pyzmq"
    distributions = ("pyzmq",)
    note = "PUSH and PULL over ipc, high-water marks as they come; the copy: DEALER to DEALER over loopback under CURVE"

    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.made = 0

    def stop(self) -> None:
        self.folder.cleanup()

    def ends(self) -> tuple[Open, Open]:
        self.made += 1
        there, back = (f"ipc://{os.path.join(self.folder.name, f'{self.made}{way}')}" for way in "ab")
        return partial(_open, there, back), partial(_open, back, there)

    def copied(self, size: int) -> float:
        server, client = zmq.curve_keypair(), zmq.curve_keypair()
        with Children() as children:
            children.start(_take_copy, server, size, children.there)
            port = children.told()
            children.start(_send_copy, port, client, server[0], size, children.there)
            return float(children.told())


def _open(to: str, back: str) -> tuple[Send, Receive]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    push, pull = context.socket(zmq.PUSH), context.socket(zmq.PULL)
    pull.bind(back)
    push.connect(to)
    return push.send, pull.recv


def _dealer(keys: Keys) -> zmq.Socket[bytes]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    dealer = context.socket(zmq.DEALER)
    dealer.curve_publickey, dealer.curve_secretkey = keys
    dealer.sndhwm = dealer.rcvhwm = 64
    return dealer


def _take_copy(keys: Keys, size: int, out: Connection[Any, Any]) -> None:
    dealer = _dealer(keys)
    dealer.curve_server = True
    out.send(dealer.bind_to_random_port("tcp://127.0.0.1"))
    dealer.send(dealer.recv())
    while size > 0:
        size -= len(dealer.recv(copy=False))
    dealer.send(b"seen")
    time.sleep(PATIENCE)


def _send_copy(port: int, keys: Keys, server: bytes, size: int, out: Connection[Any, Any]) -> None:
    dealer = _dealer(keys)
    dealer.curve_serverkey = server
    dealer.connect(f"tcp://127.0.0.1:{port}")
    dealer.send(b"up")
    dealer.recv()
    chunk = b"x" * CHUNK
    begin = time.perf_counter()
    for _ in range(-(-size // CHUNK)):
        dealer.send(chunk, copy=False)
    dealer.recv()
    out.send(time.perf_counter() - begin)
    time.sleep(PATIENCE)
