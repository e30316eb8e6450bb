"""An agent's life, gone through for nothing before anybody waits for it.

What Python runs for the first times is slow: names are looked up, and code is made over for what it meets. The fork
server practises before it has children, so that all of them know it by heart. And after a fork, whatever is used
for the first time costs a copy of the memory page it lies in: a warm process has time, and rehearses once more.

Nobody is at the other end: no thread is started and no socket opened. Nothing is left of it but the pages.
"""

from __future__ import annotations

import functools
import logging
import os
import pickle
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

from thespian.actors import ActorExitRequest

from rackactor import current
from rackactor.actors.actor import Actor
from rackactor.kernel import interrupts
from rackactor.kernel.kernel import Kernel
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

#: How often the fork server practises: code that was run eight times is made over at the next.
TIMES = 12
#: Messages that the actor gets each time.
MESSAGES = 2
#: Bound of what would wait for others, seconds: here they answer at once.
_BOUND = 1.0
_PARENT, _PID = 2, 3


class _FakeActor(Actor):
    """Stands in for whatever actor is to come."""

    def receiveMsg_bytes(self, message: bytes, sender: Any) -> None:
        self.send(sender, message)


class _Nowhere:
    """In place of `Sockets`: nobody hears what is sent, and what comes is made up.

    Args:
        script: headers and bodies of the messages that come, one each time; the answers to system calls are added.
    """

    def __init__(self, script: Iterable[tuple[bytes, bytes]]) -> None:
        self._script = deque(script)
        self._next: list[Any] | None = None
        #: Called when nothing comes any more.
        self.at_end: Callable[[], None] = lambda: None
        self.supervisor = object()
        self.broken = self.spin = False

    def poll(self, timeout: float | None) -> list[Any]:
        """Find something to read, until nothing comes any more."""
        if not self._script:
            self.at_end()
            return []
        self._next = [frames.pack_route(_PID), *self._script.popleft()]
        return [self.supervisor]

    def receive(self, socket: object) -> list[Any] | None:
        """Return the frames of a message."""
        found, self._next = self._next, None
        return found

    def send(self, socket: object, message: Sequence[Any]) -> None:
        """Answer a system call; of the rest nothing comes."""
        header = parse_header(message[1])
        if header.kind is Kind.CALL and header.extra[0]:
            reply = Header(Kind.REPLY, header.epoch, frames.SUPERVISOR, 1, 1, (header.extra[0], True))
            self._script.append((reply.pack(), frames.pack_body({})))

    def wake(self) -> None:
        """Do nothing: nobody sleeps."""

    def close(self, linger: float) -> None:
        """Do nothing: nothing is open."""


def _join_nobody(welcome: bytes, messages: Iterable[tuple[bytes, bytes]]) -> Kernel:
    """Return a membership in a group that is not there, whose actor is asked to leave when the messages are over."""
    nowhere = _Nowhere(messages)
    kernel = Kernel(sockets=cast("Any", nowhere))
    kernel.enter(Welcome.from_wire(parse_map(welcome), []))
    nowhere.at_end = lambda: kernel.put((ActorExitRequest(), None))
    return kernel


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
    """Go through it until the interpreter knows it by heart."""
    for _ in range(TIMES):
        rehearse()
    finishing.note_modules()


def rehearse() -> Report:
    """Go through the loading of an actor, its messages, and its end, of which it returns the report."""
    blob, arguments, welcome, messages = _script()
    path, argv, handler = list(sys.path), list(sys.argv), signal.getsignal(signal.SIGTERM)
    main = main_module.main_module()
    variables = {name: os.environ.get(name) for name in VARIABLES}
    kernel = _join_nobody(welcome, messages)
    session = Session(kernel)
    interrupts.install()
    try:
        current.enter(session)
        announce(kernel.welcome)
        target = unpack_target(blob)
        args, kwargs = pickle.loads(arguments)
        logging.StreamHandler(sys.stderr).setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        logging.root.setLevel(logging.root.level)  # it goes through all loggers
        report = ActorHost(session, Creation()).run(target, args, kwargs)
        session.run_exit_hooks()
        kernel.drain(_BOUND)
        kernel.call(report.call(), timeout=_BOUND)
        return report
    finally:
        sys.path[:], sys.argv[:] = path, argv
        main_module.forget(main)
        signal.signal(signal.SIGTERM, handler)
        current.leave(session)
        _restore(variables)
        kernel.close()


def _restore(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
