"""Redis, the stack of 2015: lists as pipes, and plain keys, with a server of its own in the private folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from functools import partial
from typing import Any

import redis

from ...peer import PATIENCE
from ..pairs import Open, Pair, Receive, Send
from ..peer import BATCH, SMALL_VALUE, VALUE


class Redis(Pair):
    """A list each way: RPUSH and a blocking BLPOP, a command for each message."""

    title = "Redis lists and keys"
    distributions = ("redis",)
    note = (
        "redis-server over a Unix socket, nothing persistent; RPUSH and a blocking BLPOP, a command for each message "
        "(no pipelining of them, and none of the 0.1 s polling of 2015)"
    )

    def start(self) -> None:
        server = shutil.which("redis-server")
        if server is None:
            raise FileNotFoundError("no redis-server found: apt-get install redis-server")
        self.folder = tempfile.TemporaryDirectory()
        self.socket = os.path.join(self.folder.name, "s")
        settings = {"port": "0", "unixsocket": self.socket, "save": "", "appendonly": "no", "dir": self.folder.name}
        words = [word for name, value in settings.items() for word in (f"--{name}", value)]
        self.server = subprocess.Popen([server, *words], stdout=subprocess.DEVNULL)
        self.client = _client(self.socket)
        self._wait_until_up()
        self.made = 0

    def _wait_until_up(self) -> None:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                self.client.ping()
                return
            except redis.ConnectionError:
                if time.monotonic() > until or self.server.poll() is not None:
                    raise
                time.sleep(0.01)

    def stop(self) -> None:
        self.client.close()
        self.server.terminate()
        self.server.wait(PATIENCE)
        self.folder.cleanup()

    def end(self) -> None:
        self.client.flushall()

    def ends(self) -> tuple[Open, Open]:
        self.made += 1
        there, back = f"{self.made}there", f"{self.made}back"
        return partial(_open, self.socket, there, back), partial(_open, self.socket, back, there)

    def read(self, count: int) -> float:
        get = self.client.get
        self.client.set("key", b"x" * VALUE)
        begin = time.perf_counter()
        for _ in range(count):
            get("key")
        return time.perf_counter() - begin

    def write(self, count: int) -> float:
        value, put = b"x" * VALUE, self.client.set
        begin = time.perf_counter()
        for _ in range(count):
            put("key", value)
        return time.perf_counter() - begin

    def pipelined(self, count: int) -> float:
        value = b"x" * SMALL_VALUE
        begin = time.perf_counter()
        for first in range(0, count, BATCH):
            with self.client.pipeline(transaction=False) as pipeline:
                for i in range(min(BATCH, count - first)):
                    pipeline.set(f"key{i}", value)
                pipeline.execute()
        return time.perf_counter() - begin


def _client(path: str) -> Any:
    return redis.Redis(unix_socket_path=path)


def _open(path: str, to: str, back: str) -> tuple[Send, Receive]:
    client = _client(path)
    return partial(client.rpush, to), lambda: client.blpop([back])[1]
