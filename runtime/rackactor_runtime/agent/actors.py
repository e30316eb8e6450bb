"""Actors as processes: a mailbox, a handler at a time, and Thespian's rules about what goes wrong."""

from __future__ import annotations

import logging
import signal
import sys
import traceback
from datetime import timedelta
from typing import Any

from thespian.actors import (
    Actor,
    ActorAddress,
    ActorExitRequest,
    ChildActorExited,
    DeadEnvelope,
    WakeupMessage,
)

from rackactor.address import RackAddress
from rackactor.codec import decode, encode
from rackactor.errors import InvalidCall, NoSuchProcess
from rackactor.peers import Delivery
from rackactor.session import Session
from rackactor.stream import EntryKind
from rackactor.target import actor_target
from rackactor_runtime.agent import report as _report
from rackactor_runtime.agent.report import Report

_log = logging.getLogger("rackactor.actor")


class Reference:
    """The object that a Thespian `Actor` delegates to: its `_myRef`."""

    def __init__(self, session: Session, host: ActorHost, global_name: str | None) -> None:
        self._session = session
        self._host = host
        self.address = RackAddress(session.gid, session.getpid())
        self.globalName = global_name

    def createActor(self, actor: Any, requirements: Any = None, name: str | None = None, source: Any = None) -> Any:
        """Fork an actor; its address is known at once."""
        if source is not None:
            raise InvalidCall("a group ships code by value: createActor takes no sourceHash here")
        pid = self._session.fork_actor(actor_target(actor), requirements, name)
        return RackAddress(self._session.gid, pid)

    def actor_send(self, address: ActorAddress, message: Any) -> None:
        """Send a message; to an address that came with an ask, the reply to it."""
        self._host.send(address, message)

    def wakeupAfter(self, period: Any, payload: Any) -> None:
        """Have a WakeupMessage put into the mailbox later."""
        delay = period.total_seconds() if isinstance(period, timedelta) else float(period)
        message = WakeupMessage(period, payload)
        kernel = self._session.kernel
        kernel.after(delay, lambda: kernel.put((message, self.address)))

    def handleDeadLetters(self, address: ActorAddress, enable: bool) -> None:
        """Begin or stop to get what could not be delivered."""
        self._session.kernel.call("dead_letters", {"enable": enable})


class ActorHost:
    """Host one actor in this process.

    A handler that raises gets its message a second time; if it raises again, the sender gets a `PoisonMessage`
    (or, if it asked, an error) and the actor goes on.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._kernel = session.kernel
        self._instance: Any = None
        self._terminated = False

    def run(self, target: Any, args: Any, kwargs: Any) -> Report:
        """Make the actor, then handle its messages until it ends."""
        session = self._session
        session.on_child = lambda pid: self._kernel.put((ChildActorExited(RackAddress(session.gid, pid)), self._me))
        session.on_free_signal = lambda sig, sender: self._kernel.put((_Free(sig, sender), self._me))
        self._kernel.on("undelivered", lambda fields, blobs: self._undelivered(fields["pid"], blobs[0]))
        self._me = RackAddress(session.gid, session.getpid())
        self._instance = make(target, args, kwargs)
        self._instance._myRef = Reference(session, self, session.kernel.welcome["name"])
        signal.signal(signal.SIGTERM, self._terminate)
        return self._loop()

    def send(self, address: ActorAddress, message: Any) -> None:
        """Send a message to an address of this group."""
        if not isinstance(address, RackAddress) or address.gid != self._session.gid:
            return  # an address of no process of this group: nobody is there
        kernel = self._kernel
        payload = encode(message, allow_pickle=kernel.allow_pickle)
        kind = EntryKind.REPLY if address.rid else EntryKind.TELL
        try:
            kernel.post(address.pid, kind, payload, address.rid)
        except NoSuchProcess:
            self._undelivered(address.pid, payload)

    def _terminate(self, *_: Any) -> None:
        """SIGTERM: the actor gets an ActorExitRequest, before anything else that waits."""
        if not self._terminated:
            self._terminated = True
            self._kernel.mailbox.appendleft((ActorExitRequest(), self._me))
            self._kernel.poke()

    def _loop(self) -> Report:
        while True:
            item = self._kernel.take(None)
            if item is None:
                return Report("exited", 0)
            if type(item) is Delivery:
                message, sender, rid = self._open(item)
            else:
                (message, sender), rid = item, 0
            if isinstance(message, _Free):
                self._instance.receiveSignal(message.signal, message.sender)
                continue
            self._handle(message, sender, rid)
            if isinstance(message, ActorExitRequest):
                return self._exit(message)

    def _open(self, item: Delivery) -> tuple[Any, RackAddress, int]:
        rid = item.entry.rid if item.entry.kind is EntryKind.ASK else 0
        sender = RackAddress(self._session.gid, item.pid, rid)
        try:
            return decode(item.entry.payload, allow_pickle=self._kernel.allow_pickle), sender, rid
        except Exception:
            self._fail(sender, rid, None, traceback.format_exc())
            return _Nothing, sender, rid

    def _handle(self, message: Any, sender: RackAddress, rid: int) -> None:
        if message is _Nothing:
            return
        try:
            self._instance.receiveMessage(message, sender)
            return
        except Exception:
            _log.debug("a handler raised; it gets the message again", exc_info=True)
        try:
            self._instance.receiveMessage(message, sender)
        except Exception as error:
            text = "".join(traceback.format_exception(_report.strip(error)))
            _log.warning("the handler for %s raised twice:\n%s", type(message).__name__, text)
            self._fail(sender, rid, message, text)

    def _fail(self, sender: RackAddress, rid: int, message: Any, text: str) -> None:
        """Tell the sender that its message cannot be handled."""
        from thespian.actors import PoisonMessage

        if rid:
            self._kernel.post(sender.pid, EntryKind.FAILED, text.encode("utf-8", "replace"), rid)
        elif sender != self._me and not isinstance(message, PoisonMessage):
            self.send(RackAddress(sender.gid, sender.pid), PoisonMessage(message, text))

    def _exit(self, message: ActorExitRequest) -> Report:
        if not message.isRecursive:
            self._kernel.call("spare_children")
        if self._terminated:
            return Report("signalled", 128 + signal.SIGTERM, int(signal.SIGTERM), "it took its ActorExitRequest")
        return Report("exited", 0)

    def _undelivered(self, pid: int, payload: Any) -> None:
        """Give what nobody can receive to the handlers of dead letters."""
        self._kernel.later(lambda: self._dead_letter(pid, payload))
        self._kernel.poke()

    def _dead_letter(self, pid: int, payload: Any) -> None:
        fields, _ = self._kernel.call("dead_letter_handlers")
        try:
            message = decode(payload, allow_pickle=self._kernel.allow_pickle)
        except Exception:
            return
        for handler in fields["pids"]:
            envelope = DeadEnvelope(RackAddress(self._session.gid, pid), message)
            if handler != pid:
                self.send(RackAddress(self._session.gid, handler), envelope)


class _Free:
    """A free-string signal in the mailbox."""

    def __init__(self, sig: str, sender: int) -> None:
        self.signal = sig
        self.sender = sender


_Nothing = object()


def make(target: Any, args: Any, kwargs: dict[str, Any]) -> Actor:
    """Make an actor: with the arguments of its fork, or as Thespian does."""
    from thespian.system.utilis import actualActorClass, withPossibleInitArgs

    kwargs = dict(kwargs)
    requirements = kwargs.pop("requirements", None)
    cls = actualActorClass(target)
    if args or kwargs:
        return cls(*args, **kwargs)
    return withPossibleInitArgs(capabilities={}, requirements=requirements).create(cls)


def host_actor(session: Session, target: Any, args: Any, kwargs: Any) -> Report:
    """Run an actor to its end."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    return ActorHost(session).run(target, args, kwargs)
