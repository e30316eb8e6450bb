"""Actors as processes: a mailbox, one handler at a time, and Thespian's rules for errors."""

from __future__ import annotations

import logging
import logging.config
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from thespian.actors import (
    ActorAddress,
    ActorExitRequest,
    ActorTypeDispatcher,
    ChildActorExited,
    DeadEnvelope,
    LoadedSource,
    PoisonMessage,
    Thespian_ActorStatus,
    Thespian_StatusReq,
    ThespianWatch,
    UnloadedSource,
    ValidatedSource,
    ValidateSource,
    WatchMessage,
)

from rackactor.actors import capabilities as _capabilities
from rackactor.actors.actor import Actor, NoHandler, has_handler, no_handler
from rackactor.address import RackAddress
from rackactor.errors import ActorNotMade, InvalidCall, ProtocolError
from rackactor.kernel import coroutines
from rackactor.kernel.peers import Delivery
from rackactor.syscalls import mail
from rackactor.syscalls.fork_options import other_requirements
from rackactor.syscalls.session import Session
from rackactor.wire.calls.actor_system import Leaving
from rackactor.wire.calls.processes import SpareChildren, Wait
from rackactor.wire.codec import MESSAGE, decode, encode
from rackactor.wire.events import CapabilitiesEvent, DeadLetterEvent, LeavingEvent, SourceEvent, ValidateSourceEvent
from rackactor.wire.frames import SUPERVISOR
from rackactor.wire.stream import Entry, EntryKind
from rackactor.wire.target import Creation
from rackactor_runtime import memory_reserve
from rackactor_runtime.agent import report as _report
from rackactor_runtime.agent import sources
from rackactor_runtime.agent.create_actor import make
from rackactor_runtime.agent.fd_watch import Watcher
from rackactor_runtime.agent.fetching import Fetcher
from rackactor_runtime.agent.reference import Reference
from rackactor_runtime.agent.report import Report

_log = logging.getLogger("rackactor.actors.actor")
#: The most types of unhandled messages that are reported.
_DROPPED = 100


class ActorHost:
    """Hosts one actor in this process.

    When a handler raises, the sender gets a `PoisonMessage` (or, if it asked, an error) and the actor goes on. Actors
    of Thespian's own classes get the message a second time before that, as their programs expect.
    """

    def __init__(self, session: Session, creation: Creation) -> None:
        self._session = session
        self._kernel = session.kernel
        self._creation = creation
        self._reference = Reference(session, self.send, creation)
        self._me = self._reference.address
        self._system = RackAddress(session.gid, SUPERVISOR)
        self._instance: Any = None
        self._terminated = False
        self._capabilities = _capabilities.standard()
        self._watcher: Watcher | None = None
        self._loop = coroutines.keep()
        self._fetcher: Fetcher | None = None
        #: Names of the types of messages that were dropped for lack of a handler, and have been reported.
        self._dropped: set[str] = set()

    # -- its life -------------------------------------------------------------------------------------

    def run(self, target: Any, args: Any, kwargs: Any) -> Report:
        """Make the actor, then handle its messages until it ends."""
        self._listen()
        self._apply_capabilities(self._kernel.welcome.capabilities)
        if args and type(args[0]) is Creation:
            self._instance = make(self._session, target, self._creation, self._capabilities)
        else:
            self._instance = target(*args, **kwargs)
        self._instance._myRef = self._reference
        signal.signal(signal.SIGTERM, self._terminate)
        try:
            while (report := self._turn()) is None:
                pass
        finally:
            coroutines.forget()
        self._instance = None  # its open files are closed, although handlers of events refer to this host
        return report

    def send(self, address: ActorAddress, message: Any) -> None:
        """Send a message to an address of this group; to itself, without the wire."""
        if isinstance(message, ValidatedSource) and address == self._system:
            sources.validate(self._kernel, message)
        elif address == self._me:
            # Through bytes, so that the receiver gets its own copy. No credit is used, since nobody could give it back.
            payload = encode(message, allow_pickle=self._kernel.allow_pickle)
            self._kernel.put(Delivery(self._me.pid, self._kernel.incarnation, Entry(EntryKind.TELL, 0, payload)))
        else:
            mail.send(self._kernel, address, message)

    def _terminate(self, *_: Any) -> None:
        """SIGTERM: the actor gets an ActorExitRequest, before all waiting messages."""
        if not self._terminated:
            self._terminated = True
            self._kernel.mailbox.appendleft((ActorExitRequest(), self._me))
            self._kernel.wake()
            self._loop.call_off()

    def _turn(self) -> Report | None:
        """Handle one message; return the report when the actor ends."""
        item = self._next() if self._loop.begun else self._kernel.take(None)
        if item is None:
            return Report("exited", 0)
        try:
            return self._take(item)
        except coroutines.CalledOff:
            return None  # the ActorExitRequest is next

    def _next(self) -> Any:
        """Wait for a message while the event loop runs, since it may contain tasks."""
        if self._kernel.mailbox:
            return self._kernel.take(None)
        if self._fetcher is None:
            self._fetcher = Fetcher(self._kernel)
        return self._loop.wait(self._fetcher.take())

    def _take(self, item: Any) -> Report | None:
        if type(item) is not Delivery:
            return self._take_own(*item)
        sender = mail.sender_of(self._kernel, item)
        try:
            message = self._kernel.open(item.entry.payload, MESSAGE, item.pid)
        except ProtocolError:  # it is no message
            return None
        except Exception:
            self._fail(sender, None, traceback.format_exc()[-_report.MAX_TEXT :])
            return None
        return self._handle(message, sender, item)

    def _take_own(self, message: Any, sender: RackAddress) -> Report | None:
        """Handle an item that this host itself has put into the mailbox."""
        if isinstance(message, _Free):
            coroutines.finish(self._instance.receiveSignal(message.signal, message.sender))
        elif isinstance(message, _Changed):
            self._apply_capabilities(message.changes)
            self._check_capabilities()
        elif isinstance(message, _Ended):
            return self._child_ended(message)
        elif isinstance(message, _Ready):
            if self._watcher is not None and message.number == self._watcher.number:
                return self._handle(WatchMessage(message.filenos), self._me, None)
        else:
            return self._handle(message, sender, None)
        return None

    def _handle(self, message: Any, sender: RackAddress, item: Delivery | None) -> Report | None:
        if isinstance(message, Thespian_StatusReq):
            self.send(sender, self._status())
            return None
        if isinstance(message, ActorExitRequest):
            return self._exit(message, sender)
        result = self._receive(message, sender, item)
        if isinstance(result, ThespianWatch) or self._watcher is not None:
            self._watch(result)
        return None

    def _receive(self, message: Any, sender: RackAddress, item: Delivery | None) -> Any:
        try:
            return self._call(message, sender)
        except NoHandler as missing:
            self._drop(sender, message, str(missing))
            return None
        except BaseException as error:
            if not coroutines.is_failure(error):
                raise
            if isinstance(self._instance, Actor):
                self._failed(sender, message, error)
                return None
            _log.debug("a handler raised; it gets the message again", exc_info=True)
        try:
            if item is not None:  # the original, whatever the handler has done to its copy
                message = self._kernel.open(item.entry.payload, MESSAGE, item.pid)
            return self._call(message, sender)
        except BaseException as error:
            if not coroutines.is_failure(error):
                raise
            self._failed(sender, message, error, " twice")

    def _call(self, message: Any, sender: RackAddress) -> Any:
        actor = self._instance
        result = actor.receiveMessage(message, sender)
        if result is not None:
            return coroutines.finish(result)
        # Thespian silently drops messages without a handler; but its programs have no asks like ours.
        dispatches = sender.rid and type(actor).receiveMessage is ActorTypeDispatcher.receiveMessage
        if dispatches and not has_handler(actor, message):
            raise NoHandler(no_handler(actor, message))
        return None

    def _failed(self, sender: RackAddress, message: Any, error: BaseException, twice: str = "") -> None:
        with memory_reserve.lent():
            text = "".join(traceback.format_exception(_report.strip(error)))
            name = type(message).__name__
            _log.warning("the handler for %s raised%s:\n%s", name, twice, text)
            self._fail(sender, message, f"the handler for {name} raised{twice}:\n{text[-_report.MAX_TEXT :]}")

    def _drop(self, sender: RackAddress, message: Any, words: str) -> None:
        """Answer a message without a handler; if it was no ask, report that once for each type of message."""
        if sender.rid:
            self._fail(sender, message, words)
        elif words not in self._dropped and len(self._dropped) < _DROPPED:
            self._dropped.add(words)
            _log.warning("a message from process %d was dropped: %s", sender.pid, words)

    def _fail(self, sender: RackAddress, message: Any, text: str) -> None:
        """Tell the sender that its message cannot be handled, and why."""
        if sender.rid:
            self._kernel.post(sender.pid, EntryKind.FAILED, text.encode("utf-8", "backslashreplace"), sender.rid)
        elif sender != self._me and not isinstance(message, (PoisonMessage, ChildActorExited, DeadEnvelope)):
            try:
                self.send(sender, PoisonMessage(message, text))
            except InvalidCall as error:  # a handler may have put anything into the message, or made it too large
                self.send(sender, PoisonMessage(None, f"{text}\n(the message itself cannot be sent back: {error})"))

    def _exit(self, message: ActorExitRequest, sender: RackAddress) -> Report:
        failure: BaseException | None = None
        self._loop.go_on()
        try:
            coroutines.finish(self._instance.receiveMessage(message, sender))
        except BaseException as error:
            if not coroutines.is_failure(error):
                raise
            failure = error
        self._kernel.cast(Leaving())
        if failure is not None:
            _log.warning("the handler for ActorExitRequest raised", exc_info=failure)
        if not message.isRecursive:
            self._kernel.call(SpareChildren())
        mail.return_letters(self._kernel)
        if self._terminated:
            return Report("signalled", 128 + signal.SIGTERM, int(signal.SIGTERM), "it took its ActorExitRequest")
        return Report("exited", 0)

    # -- what it hears of beside messages -----------------------------------------------------------------

    def _listen(self) -> None:
        """Put events of the group into the mailbox; this runs in the loop, and must be quick."""
        session, kernel = self._session, self._kernel

        session.signals.add_child_listener(lambda pid: kernel.put((_Ended(pid, wholly=True), self._me)))
        kernel.on(LeavingEvent, lambda event, _: kernel.put((_Ended(event.pid, wholly=False), self._me)))
        session.signals.take_free(lambda sig, sender: kernel.put((_Free(sig, sender), self._me)))
        mail.collect_dead_letters(kernel)
        kernel.on(CapabilitiesEvent, lambda event, _: kernel.put((_Changed(event.set), self._me)))
        kernel.on(DeadLetterEvent, self._on_dead_letter)
        kernel.on(SourceEvent, self._on_source)
        kernel.on(ValidateSourceEvent, self._on_validate_source)

    def _on_dead_letter(self, event: DeadLetterEvent, _: Sequence[Any]) -> None:
        try:
            message = decode(event.payload, allow_pickle=self._kernel.allow_pickle)
        except Exception:
            _log.warning("a dead letter cannot be read", exc_info=True)
            return
        gid = self._session.gid
        envelope = DeadEnvelope(RackAddress(gid, event.pid, 0, event.box), message)
        self._kernel.put((envelope, RackAddress(gid, event.sender)))

    def _on_source(self, event: SourceEvent, _: Sequence[Any]) -> None:
        kind = LoadedSource if event.loaded else UnloadedSource
        self._kernel.put((kind(event.hash, event.info), self._system))

    def _on_validate_source(self, event: ValidateSourceEvent, _: Sequence[Any]) -> None:
        self._kernel.put((ValidateSource(event.hash, event.data), self._system))

    def _child_ended(self, end: _Ended) -> Report | None:
        """Tell the actor of a child's end, once; a child that it has created counts as exited when it leaves."""
        reference, address = self._reference, RackAddress(self._session.gid, end.pid)
        created = end.pid in reference.created
        if created and end.wholly:
            reference.created.discard(end.pid)
            # Thespian programs do not wait for their children, so it is reaped here.
            self._kernel.cast(Wait([end.pid], hang=False))
        if address in reference.children:
            reference.children.remove(address)
        elif created or not end.wholly:
            return None  # it has been told; or the child was forked, and `wait` tells its end
        return self._handle(ChildActorExited(address), address, None)

    def _apply_capabilities(self, changes: Mapping[str, Any]) -> None:
        _capabilities.apply(self._capabilities, changes, allow_pickle=self._kernel.allow_pickle)
        definitions = self._capabilities.pop(_capabilities.LOGGING, None)
        if definitions is not None:
            logging.config.dictConfig(definitions)

    def _check_capabilities(self) -> None:
        """End if the group no longer has the capabilities that this actor requires."""
        check = getattr(self._instance, "actorSystemCapabilityCheck", None)
        requirements = other_requirements(self._creation.requirements)
        if check is not None and not check(self._capabilities, requirements):
            self._kernel.put((ActorExitRequest(), self._system))

    def _watch(self, result: Any) -> None:
        if self._watcher is None:
            kernel, me = self._kernel, self._me
            self._watcher = Watcher(lambda number, filenos: kernel.put((_Ready(number, filenos), me)))
        self._watcher.watch(result.filenos if isinstance(result, ThespianWatch) else ())

    def _status(self) -> Thespian_ActorStatus:
        reference, welcome = self._reference, self._kernel.welcome
        parent = RackAddress(self._session.gid, welcome.ppid)
        name = type(self._instance).__name__
        status = Thespian_ActorStatus(self._me, name, self._system, parent, reference.source_hash)
        for child in reference.children:
            status.addChild(child)
        status.addWakeups(list(reference.wakeups))
        return status


class _Free:
    """A free-string signal in the mailbox."""

    def __init__(self, sig: str, sender: int) -> None:
        self.signal = sig
        self.sender = sender


class _Ended:
    """The end of a child, in the mailbox: its actor's, or (wholly) its process's."""

    def __init__(self, pid: int, *, wholly: bool) -> None:
        self.pid = pid
        self.wholly = wholly


class _Changed:
    """Changed capabilities of the group, in the mailbox."""

    def __init__(self, changes: Mapping[str, Any]) -> None:
        self.changes = changes


class _Ready:
    """Descriptors that a watch has found ready, in the mailbox."""

    def __init__(self, number: int, filenos: list[int]) -> None:
        self.number = number
        self.filenos = filenos


def host_actor(session: Session, target: Any, args: Any, kwargs: Any) -> Report:
    """Run an actor to its end."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    creation = args[0] if args and type(args[0]) is Creation else Creation()
    try:
        return ActorHost(session, creation).run(target, args, kwargs)
    except ActorNotMade as error:
        sys.stderr.write(f"{error}\n")
        return _report.raised(error, how="load-failed")
