"""Faults of the operating system, injected into the system calls of a supervisor, its fork server and its services.

Each call that the product makes, directly or through the standard library, may be answered by one of the errors that
it could get, without having been made. Nothing is injected before a test arms the injector, and nothing into what is
being imported. How likely a fault is depends on the place in the code: what is seldom called is hit early.
"""

from __future__ import annotations

import builtins
import errno
import io
import json
import mmap
import os
import random
import select
import selectors
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

#: What a call may be answered by.
WRITING = (errno.ENOSPC, errno.EFBIG, errno.EIO, errno.ENOMEM)
READING = (errno.EIO, errno.ENOMEM)
OPENING = (errno.ENOSPC, errno.EMFILE, errno.EFBIG, errno.EIO, errno.ENOMEM)
MAKING = (errno.EMFILE, errno.ENOMEM)
FORKING = (errno.EAGAIN, errno.ENOMEM)

CALLS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("write", "writev", "pwrite", "ftruncate", "posix_fallocate", "copy_file_range"), WRITING),
    **dict.fromkeys(("mkdir", "rename", "replace", "link", "symlink", "unlink", "rmdir", "chmod"), WRITING),
    **dict.fromkeys(("read", "pread", "stat", "lstat", "fstat", "readlink", "statvfs"), READING),
    **dict.fromkeys(("open", "listdir", "scandir"), OPENING),
    **dict.fromkeys(("pipe", "pipe2", "dup", "pidfd_open", "eventfd", "memfd_create"), MAKING),
    "fork": FORKING,
}
SOCKET_CALLS = {"send": READING, "recv": READING, "accept": MAKING, "bind": OPENING, "connect": OPENING}
#: Of frames, innermost first, in which the product's own is looked for.
DEPTH = 8
OURS = ("/rackactor/", "/rackactor_runtime/")
#: The least probability of a fault at one place, and that of the first call there. A service calls each place anew
#: in each of its lives, and is to come up now and then.
LEAST, FIRST = 0.02, {"supervisor": 0.3, "forkserver": 0.3, "service": 0.02, "agent": 0.1}


class Injector:
    """Decide about each call.

    Args:
        place: a directory: `armed` there begins with a byte that says whether, and `injected` gets a line for each.
        seed: of the dice.
        role: "supervisor" or "service"; a fork of the first is its fork server, and a fork of that an agent.
        roles: those that get faults.
    """

    def __init__(self, place: str, seed: int, role: str, roles: list[str]) -> None:
        self._roles = roles
        self._seed = seed
        self._open = os.open
        self._write = os.write
        with open(os.path.join(place, "armed"), "rb") as file:
            self._armed = mmap.mmap(file.fileno(), 1, access=mmap.ACCESS_READ)
        self._log_at = os.path.join(place, "injected")
        self._calls: dict[tuple[str, str, int], int] = {}
        self._local = threading.local()
        self._become(role)
        os.register_at_fork(after_in_child=self._forked)

    def _become(self, role: str) -> None:
        self._role = role
        self._dice = random.Random(f"{self._seed} {role}")

    def _forked(self) -> None:
        self._become({"supervisor": "forkserver"}.get(self._role, "agent"))

    def fault(self, name: str, errnos: tuple[int, ...]) -> int:
        """Return the error with which a call is to be answered, or 0."""
        if self._armed[0] != 1 or self._role not in self._roles or getattr(self._local, "busy", False):
            return 0
        where = _find(sys._getframe(2))
        if where is None:
            return 0
        key = (name, *where)
        count = self._calls[key] = self._calls.get(key, 0) + 1
        if self._dice.random() >= max(LEAST, FIRST.get(self._role, LEAST) / count):
            return 0
        number = self._dice.choice(errnos)
        self._local.busy = True
        try:
            line = f"{self._role} {name} {errno.errorcode[number]} {os.path.basename(where[0])}:{where[1]}\n"
            descriptor = self._open(self._log_at, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._write(descriptor, line.encode())
            os.close(descriptor)
        finally:
            self._local.busy = False
        return number

    def wrapped(self, name: str, real: Callable[..., Any], errnos: tuple[int, ...]) -> Callable[..., Any]:
        """Return a call that may fail with an OSError."""

        def call(*args: Any, **kwargs: Any) -> Any:
            if number := self.fault(name, errnos):
                raise OSError(number, os.strerror(number), *[arg for arg in args[:1] if isinstance(arg, str)])
            return real(*args, **kwargs)

        return call


def _find(frame: FrameType | None) -> tuple[str, int] | None:
    """Return file and line of the product's code that makes a call; None: it is somebody else's, or an import."""
    found = None
    for _ in range(DEPTH):
        if frame is None:
            break
        name = frame.f_code.co_filename
        if name.startswith("<frozen importlib"):
            return None
        if found is None and any(part in name for part in OURS) and "/tests/" not in name:
            found = (name, frame.f_lineno)
        frame = frame.f_back
    return found


def install(config: str) -> None:
    """Wrap what this process calls, if it is one of those that get faults."""
    words = sys.orig_argv
    role = next((role for role in ("supervisor", "services") if f"rackactor_runtime.{role}" in words), "")
    if not role:
        return
    given = json.loads(config)
    made = Injector(given["place"], given["seed"], {"services": "service"}.get(role, role), given["roles"])
    for name, errnos in CALLS.items():
        setattr(os, name, made.wrapped(name, getattr(os, name), errnos))
    io.open = builtins.open = made.wrapped("open", open, OPENING)  # type: ignore[assignment]
    for name, errnos in SOCKET_CALLS.items():
        setattr(socket.socket, name, _method(made, f"socket.{name}", getattr(socket.socket, name), errnos))
    socket.socket.__init__ = _method(made, "socket", socket.socket.__init__, MAKING)  # type: ignore[method-assign]
    socket.socketpair = made.wrapped("socketpair", socket.socketpair, MAKING)
    subprocess._fork_exec = made.wrapped("fork_exec", subprocess._fork_exec, FORKING)  # type: ignore[attr-defined]
    threading._start_new_thread = _thread_start(made, threading._start_new_thread)  # type: ignore[attr-defined]
    _wrap_epoll(made)
    _wrap_lmdb(made)


def _method(made: Injector, name: str, real: Callable[..., Any], errnos: tuple[int, ...]) -> Callable[..., Any]:
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if number := made.fault(name, errnos):
            raise OSError(number, os.strerror(number))
        return real(self, *args, **kwargs)

    return call


def _thread_start(made: Injector, real: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        if made.fault("thread", FORKING):
            raise RuntimeError("can't start new thread")
        return real(*args, **kwargs)

    return call


def _wrap_epoll(made: Injector) -> None:
    real = select.epoll

    class Epoll:
        """An epoll that may have no room for one more."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._epoll = real(*args, **kwargs)

        def register(self, *args: Any, **kwargs: Any) -> None:
            self._fail("epoll.register", (errno.ENOSPC, errno.ENOMEM))
            self._epoll.register(*args, **kwargs)

        def modify(self, *args: Any, **kwargs: Any) -> None:
            self._fail("epoll.modify", (errno.ENOMEM,))
            self._epoll.modify(*args, **kwargs)

        def _fail(self, name: str, errnos: tuple[int, ...]) -> None:
            if number := made.fault(name, errnos):
                raise OSError(number, os.strerror(number))

        def __getattr__(self, name: str) -> Any:
            return getattr(self._epoll, name)

    select.epoll = Epoll  # type: ignore[misc, assignment]
    selectors.EpollSelector._selector_cls = Epoll  # type: ignore[attr-defined]


def _wrap_lmdb(made: Injector) -> None:
    import lmdb

    real = lmdb.open

    def fail(name: str, errnos: tuple[int, ...], undo: Callable[[], None] = lambda: None) -> None:
        if number := made.fault(name, errnos):
            undo()
            kind = {errno.ENOMEM: lmdb.MemoryError, errno.ENOSPC: lmdb.DiskError}.get(number, lmdb.Error)
            raise kind(f"{name}: {os.strerror(number)}")

    class Transaction:
        def __init__(self, txn: Any) -> None:
            self._txn = txn

        def put(self, *args: Any, **kwargs: Any) -> Any:
            fail("lmdb.put", READING)
            return self._txn.put(*args, **kwargs)

        def commit(self) -> None:
            fail("lmdb.commit", WRITING, self._txn.abort)
            self._txn.commit()

        def __enter__(self) -> Transaction:
            self._txn.__enter__()
            return self

        def __exit__(self, *args: Any) -> Any:
            return self._txn.__exit__(*args)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._txn, name)

    class Environment:
        def __init__(self, env: Any) -> None:
            self._env = env

        def begin(self, *args: Any, **kwargs: Any) -> Any:
            fail("lmdb.begin", READING)
            return Transaction(self._env.begin(*args, **kwargs))

        def __getattr__(self, name: str) -> Any:
            return getattr(self._env, name)

    def open_(*args: Any, **kwargs: Any) -> Environment:
        fail("lmdb.open", OPENING)
        return Environment(real(*args, **kwargs))

    lmdb.open = open_
