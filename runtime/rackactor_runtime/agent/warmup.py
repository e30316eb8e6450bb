"""A rehearsal of an agent's life, before a process is needed.

The first runs of Python code are slow: names are looked up, and the interpreter specializes the code. The fork server
rehearses before it has children, so that all of them inherit the specialized code. After a fork, the first write to
each memory page costs a copy of it, so a warm process, which has time, rehearses once more.

There is no other end: no thread is started and no socket opened. Nothing is left of it but the copied pages.
"""

from __future__ import annotations

import functools
import logging
import os
import pickle
import signal
import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from thespian.actors import ActorExitRequest

from rackactor import current
from rackactor.actors.actor import Actor
from rackactor.kernel import interrupts
from rackactor.kernel.event_loop import EventLoop
from rackactor.kernel.identity import Identity
from rackactor.kernel.kernel import Kernel
from rackactor.kernel.sockets import Link
from rackactor.kernel.uplink import Uplink
from rackactor.syscalls.session import Session
from rackactor.wire import frames, main_module, stream
from rackactor.wire.codec import encode
from rackactor.wire.frames import Header, Kind, parse_header, parse_map
from rackactor.wire.stream import Entry, EntryKind
from rackactor.wire.target import Creation, pack_arguments, pack_target, unpack_target
from rackactor.wire.welcome import Welcome
from rackactor_runtime.agent import finishing
from rackactor_runtime.agent.actors import ActorHost
from rackactor_runtime.agent.main import VARIABLES, announce
from rackactor_runtime.agent.report import Report

#: How often the fork server rehearses: after eight runs, code is specialized at the next one.
TIMES = 12
#: Messages for the actor in each rehearsal.
MESSAGES = 2
#: Time limit of waits for others, seconds: here they answer at once.
_BOUND = 1.0
_PARENT, _PID = 2, 3


class _FakeActor(Actor):
    """Stands in for any actor."""

    def receiveMsg_bytes(self, message: bytes, sender: Any) -> None:
        self.send(sender, message)


class _Dummy:
    """Stands in for a socket: a real one would start the threads of ZeroMQ."""

    def close(self, linger: int) -> None:
        """Do nothing."""


class _Nowhere(Link):
    """A link that leads nowhere."""

    def _open(self) -> Any:
        return _Dummy()

    def poll(self, timeout: float | None) -> list[Any]:
        """Find something to read each time."""
        return [self.supervisor]


class _DeafUplink(Uplink):
    """An uplink whose messages go nowhere; calls are answered all the same."""

    def __init__(self, link: Link, identity: Identity, cues: deque[tuple[bytes, bytes]]) -> None:
        super().__init__(link, identity, lambda _: None)
        self._script_left = cues

    def send(self, kind: Kind, extra: tuple[Any, ...], bodies: Sequence[Any], pid: int = frames.SUPERVISOR) -> None:
        """Do everything but send."""
        self._identity.header(kind, extra), frames.pack_route(pid)
        if kind is Kind.CALL and extra[0]:
            reply = Header(Kind.REPLY, self._identity.epoch, frames.SUPERVISOR, 1, 1, (extra[0], True))
            self._script_left.append((reply.pack(), frames.pack_body({})))


class _FakeKernel(Kernel):
    """A membership in a group that does not exist: what it sends goes nowhere, and what it receives is made up."""

    def __init__(self, welcome: bytes, messages: Sequence[tuple[bytes, bytes]]) -> None:
        EventLoop.__init__(self, _Nowhere())
        self._script_left: deque[tuple[bytes, bytes]] = deque(messages)
        self.welcome = Welcome.from_wire(parse_map(welcome), [])
        self.identity.pid, self.identity.incarnation, self.gid = _PID, 1, self.welcome.gid
        self._uplink = _DeafUplink(self._link, self.identity, self._script_left)
        self.allow_pickle = True
        self._beat = self._lease = 60.0
        self._last_turn = self._last_heard = self._last_tick = self._uplink.last_sent = time.monotonic()

    def leave(self) -> None:
        """Close everything."""
        self._leader.close()
        self._link.close()

    def _read(self, socket: Any) -> None:
        if self._script_left:
            head, body = self._script_left.popleft()
            self._dispatch(parse_header(head), [body])
        else:
            self.put((ActorExitRequest(), None))


@functools.cache
def _script() -> tuple[bytes, bytes, bytes, list[tuple[bytes, bytes]]]:
    """Return a target, its arguments, a welcome and messages, as they come over the wire."""
    welcome = {"gid": "", "pid": _PID, "ppid": _PARENT, "kind": "actor", "heartbeat": 60.0, "lease": 60.0}
    messages = []
    for number in range(1, MESSAGES + 1):
        header = Header(Kind.DATA, 0, _PARENT, 1, number, (number, 1, number - 1, stream.WINDOW))
        (body,) = stream.pack_entries([Entry(EntryKind.ASK, number, encode(b""))])
        messages.append((header.pack(), bytes(body)))
    return pack_target(_FakeActor).blob, pack_arguments((), {}), frames.pack_body(welcome), messages


def warm_up() -> None:
    """Rehearse until the interpreter has specialized the code."""
    for _ in range(TIMES):
        rehearse()
    finishing.note_modules()


def rehearse() -> Report:
    """Rehearse the loading of an actor, its messages, and its end; return the report of its end."""
    blob, arguments, welcome, messages = _script()
    path, argv, handler = list(sys.path), list(sys.argv), signal.getsignal(signal.SIGTERM)
    main = main_module.main_module()
    variables = {name: os.environ.get(name) for name in VARIABLES}
    stage = _FakeKernel(welcome, messages)
    session = Session(stage)
    interrupts.install()
    try:
        current.enter(session)
        announce(stage.welcome)
        target = unpack_target(blob)
        args, kwargs = pickle.loads(arguments)
        logging.StreamHandler(sys.stderr).setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        logging.root.setLevel(logging.root.level)  # this visits all loggers
        report = ActorHost(session, Creation()).run(target, args, kwargs)
        session.run_exit_hooks()
        stage.drain(_BOUND)
        stage.call("exit", report.fields(), timeout=_BOUND)
        return report
    finally:
        sys.path[:], sys.argv[:] = path, argv
        main_module.forget(main)
        signal.signal(signal.SIGTERM, handler)
        current.leave(session)
        interrupts.uninstall()
        _restore(variables)
        stage.leave()


def _restore(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
