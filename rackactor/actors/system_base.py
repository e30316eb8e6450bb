"""A system base for Thespian: `ActorSystem(rackactor.SystemBase())` runs a Thespian program on a group.

Every actor is a process of the group. The program's own mailbox is what Thespian calls the external
requester; each `private()` context is a further mailbox of it.
"""

from __future__ import annotations

import sys
import threading
import time
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import wraps
from types import ModuleType
from typing import Any, ClassVar, NoReturn, cast
from weakref import WeakSet

from thespian.actors import (
    ActorAddress,
    ActorSystem,
    ActorSystemFailure,
    ActorSystemRequestTimeout,
    InvalidActorSourceHash,
    InvalidActorSpecification,
    NoCompatibleSystemForActor,
    Thespian_StatusReq,
)
from thespian.system import isInternalActorSystemMessage

from rackactor import units
from rackactor.actors import capabilities as _capabilities
from rackactor.actors import sources
from rackactor.address import RackAddress
from rackactor.current import current, enter, find, started_inside
from rackactor.errors import (
    ActorNotMade,
    GroupEnded,
    InvalidCall,
    MailboxFull,
    NoChild,
    NoSuchProcess,
    ProtocolError,
    RackError,
    RackTimeout,
)
from rackactor.syscalls import mail
from rackactor.syscalls.group import Group, group
from rackactor.syscalls.session import Session
from rackactor.wire import outcomes
from rackactor.wire.calls.actor_system import SetCapabilities
from rackactor.wire.calls.processes import Wait
from rackactor.wire.codec import MESSAGE, encode
from rackactor.wire.target import Creation, actor_target

#: `ActorSystem(NAME)` is found by this name, as Thespian's own bases are by theirs.
NAME = "rackprocBase"
#: Seconds within which a primary actor must be made, as in Thespian.
CREATE_TIMEOUT = 50.0
#: Seconds that a system's actors have to end when their group goes on.
END_TIMEOUT = 15.0

#: Groups that a system base has made; another system base does not join these.
_own_groups: WeakSet[Group] = WeakSet()


class SystemBase:
    """Thespian's actor system on a group.

    Inside a group (`with rack.group(...)`, or in a process of one) its actors are processes of that group, and
    `shutdown` ends just them. Otherwise it makes a group, at its first use, which `shutdown` or the end of the
    program ends.

    Args:
        capabilities: passed to `actorSystemCapabilityCheck`, beside Thespian's standard ones. Those of
            `ActorSystem(base, capabilities)` are added.
        logDefs: a `logging.config` dictionary for the actors' processes; by default they log warnings to their
            standard error, which the group shows and keeps. That of `ActorSystem(base, logDefs=...)` takes precedence.
        options: of the group that is made: see `rack.group`.
    """

    def __init__(self, *, capabilities: dict[str, Any] | None = None, logDefs: Any = None, **options: Any) -> None:
        session = cast(Session | None, current() if started_inside() else find())
        self._joined = None if session in _own_groups else session
        self._capabilities = dict(capabilities or {})
        self._log_definitions = logDefs or None
        self._options = {"name": "thespian", **options}
        self._lock = threading.RLock()
        self._session: Session | None = None
        self._main: Context | None = None
        self._primaries: set[int] = set()

    # -- what ActorSystem calls -------------------------------------------------------------------------

    def newPrimaryActor(
        self,
        actorClass: Any,
        targetActorRequirements: Any = None,
        globalName: str | None = None,
        sourceHash: str | None = None,
    ) -> RackAddress:
        """Start an actor and wait until it is made.

        Raises:
            InvalidActorSpecification: it is no actor.
            ImportError: its module cannot be imported in its process.
            NoCompatibleSystemForActor: the group lacks capabilities that the actor requires.
            InvalidActorSourceHash: no such source is loaded.
            Exception: what its constructor raised.
        """
        with _as_thespian():
            session = self.session
            creation = Creation(targetActorRequirements, globalName, sourceHash)
            try:
                pid, existing = session.fork_actor(actor_target(actorClass), creation)
            except InvalidCall as error:
                raise InvalidActorSpecification(actorClass, str(error)) from None
            if not existing:
                self._await_made(session, pid, actorClass, sourceHash)
            return RackAddress(session.gid, pid)

    def tell(self, address: ActorAddress, message: Any) -> None:
        """Send a message."""
        self.main.tell(address, message)

    def ask(self, address: ActorAddress, message: Any, timeout: Any) -> Any:
        """Send a message; return the next one that arrives, from any actor, or None."""
        return self.main.ask(address, message, timeout)

    def listen(self, timeout: Any) -> Any:
        """Return the next message that arrives, or None when there is none within `timeout`."""
        return self.main.listen(timeout)

    def external_clone(self) -> Context:
        """Open another mailbox, for use in another thread."""
        with _as_thespian():
            return Context(self, self.session, self.session.kernel.open_box())

    def shutdown(self) -> None:
        """End every actor of this system, and the group if this system made it."""
        with self._lock:
            session, self._session, self._main = self._session, None, None
        if session is None:
            return
        if isinstance(session, Group) and session in _own_groups:
            session.end("its actor system was shut down")
            return
        session.signals.remove_child_listener(self._reap)
        try:
            self._end_primaries(session)
        except GroupEnded:
            pass  # and so have the actors

    def updateCapability(self, capabilityName: str, capabilityValue: Any = None) -> None:
        """Change a capability of the group; actors whose requirements are no longer met end."""
        with _as_thespian():
            self._set_capabilities(self.session, {capabilityName: capabilityValue})

    def loadActorSource(self, fname: Any) -> str:
        """Pass an archive of sources to the group: see `Actor.loadActorSource`."""
        with _as_thespian():
            return sources.load(self.session.kernel, fname)

    def unloadActorSource(self, sourceHash: str) -> None:
        """Remove a source from the group."""
        with _as_thespian():
            sources.unload(self.session.kernel, sourceHash)

    # -- behind it --------------------------------------------------------------------------------------

    def configure(self, capabilities: dict[str, Any] | None, logDefs: Any) -> dict[str, Any]:
        """Take the arguments of `ActorSystem` for this base; returns the resulting capabilities."""
        with self._lock:
            self._capabilities |= capabilities or {}
            self._log_definitions = logDefs or self._log_definitions
            if self._session is not None:
                with _as_thespian():
                    self._set_capabilities(self._session, self._facts())
        return {**_capabilities.standard(), **self._capabilities}

    def _facts(self) -> dict[str, Any]:
        facts = {**_capabilities.standard(), **self._capabilities}
        if self._log_definitions is not None:
            facts[_capabilities.LOGGING] = self._log_definitions
        return facts

    @property
    def session(self) -> Session:
        """The membership in the group, made at its first use."""
        with self._lock:
            if self._session is None:
                self._session = self._open()
            return self._session

    @property
    def main(self) -> Context:
        """The first mailbox."""
        with self._lock:
            if self._main is None:
                session = self.session
                # In a process that is an actor itself, the first mailbox belongs to that actor.
                number = 0 if session in _own_groups else session.kernel.open_box()
                self._main = Context(self, session, number)
            return self._main

    def _open(self) -> Session:
        session: Session | None = self._joined
        if session is None or session.kernel.closed:
            session = group(**self._options)
            _own_groups.add(session)
            enter(session)
        self._set_capabilities(session, self._facts())
        mail.collect_dead_letters(session.kernel)
        session.signals.add_child_listener(self._reap)
        return session

    def _set_capabilities(self, session: Session, facts: dict[str, Any]) -> None:
        packed = _capabilities.pack(facts, allow_pickle=session.kernel.allow_pickle)
        session.kernel.call(SetCapabilities(packed))

    def _await_made(self, session: Session, pid: int, actor: Any, source_hash: str | None) -> None:
        """Wait until an actor answers; if it has ended because it could not be made, raise the reason."""
        kernel = session.kernel
        try:
            pending = kernel.ask(pid, encode(Thespian_StatusReq()))
            if not kernel.wait(lambda: pending.done, CREATE_TIMEOUT):
                kernel.forget_ask(pending)
                raise ActorSystemRequestTimeout(f"process {pid} has not made its actor within {CREATE_TIMEOUT:g} s")
            pending.get()
        except NoSuchProcess:
            _raise_why(session, pid, actor, source_hash)
        self._primaries.add(pid)

    def _reap(self, pid: int) -> None:
        """Reap an ended actor: Thespian programs do not wait for their actors."""
        if self._session is not None and pid in self._primaries:
            self._primaries.discard(pid)
            self._session.kernel.cast(Wait([pid], hang=False))

    def _end_primaries(self, session: Session) -> None:
        for pid in list(self._primaries):
            try:
                session.kill(pid)
            except NoSuchProcess:
                pass
        limit = time.monotonic() + END_TIMEOUT
        for pid in list(self._primaries):
            try:
                session.process(pid).wait(max(0.0, limit - time.monotonic()))
            except (NoChild, NoSuchProcess, RackTimeout):
                pass  # reaped already; or its grace period ends later, and the supervisor reaps it


class Context:
    """A mailbox of this program: the actor system as one thread sees it."""

    def __init__(self, base: SystemBase, session: Session, number: int) -> None:
        self._base = base
        self._kernel = session.kernel
        self._number = number
        self._box: deque[Any] | None = self._kernel.boxes[number] if number else None
        self.address = RackAddress(session.gid, session.kernel.pid, 0, number)

    def tell(self, address: ActorAddress, message: Any) -> None:
        """Send a message."""
        with _as_thespian():
            mail.send(self._kernel, address, message, self._number)

    def ask(self, address: ActorAddress, message: Any, timeout: Any) -> Any:
        """Send a message; return the next one that arrives, from any actor, or None."""
        bound = _seconds(timeout)
        self.tell(address, message)
        return self.listen(bound)

    def listen(self, timeout: Any) -> Any:
        """Return the next message that arrives, or None when there is none within `timeout`."""
        seconds = _seconds(timeout)
        limit = None if seconds is None else time.monotonic() + seconds
        with _as_thespian():
            while True:
                item = self._kernel.take(None if limit is None else max(0.0, limit - time.monotonic()), self._box)
                if item is not None:
                    try:
                        message = self._kernel.open(item.entry.payload, MESSAGE, item.pid)
                    except ProtocolError:  # it is no message
                        continue
                    if not isInternalActorSystemMessage(message):
                        return message
                elif self._kernel.ended:
                    raise GroupEnded(self._kernel.ended)
                elif limit is not None and time.monotonic() >= limit:
                    return None

    def newPrimaryActor(self, *args: Any) -> RackAddress:
        """Start an actor: see `SystemBase.newPrimaryActor`."""
        return self._base.newPrimaryActor(*args)

    def external_clone(self) -> Context:
        """Open another mailbox."""
        return self._base.external_clone()

    def exit_context(self) -> None:
        """Close the mailbox; messages sent to it from now on are dead letters."""
        self._kernel.boxes.pop(self._number, None)


class ActorSystemBase(SystemBase):
    """The base as Thespian makes it from its name."""

    #: Options of the groups of such systems, since a name cannot carry options.
    options: ClassVar[dict[str, Any]] = {}

    def __init__(self, system: Any, logDefs: Any = None) -> None:
        given = dict(system.capabilities)
        system.capabilities.update({**_capabilities.standard(), **given})
        super().__init__(capabilities=system.capabilities, logDefs=logDefs or None, **self.options)


@contextmanager
def _as_thespian() -> Iterator[None]:
    """Turn errors into Thespian's."""
    try:
        yield
    except MailboxFull as error:
        raise ActorSystemRequestTimeout(str(error)) from error
    except (GroupEnded, RackTimeout) as error:
        raise ActorSystemFailure(str(error)) from error


def _raise_why(session: Session, pid: int, actor: Any, source_hash: str | None) -> NoReturn:
    fate = session.waits.fate(pid)
    status = session.waits.wait_for(fate, END_TIMEOUT)
    failure = ActorSystemFailure(f"the actor {actor} did not start: {status}\n{status.evidence}")
    frames = fate.take()
    if frames is None:
        raise failure
    error = outcomes.raised(frames, pid, status)
    if isinstance(error, ActorNotMade):
        raise _translate(error, actor, source_hash) from None
    if type(error).__module__ == RackError.__module__:
        raise failure
    raise error


def _translate(error: ActorNotMade, actor: Any, source_hash: str | None) -> Exception:
    made: Exception = ImportError(f"{actor}: {error}")
    if error.reason == "specification":
        made = InvalidActorSpecification(actor, str(error))
    elif error.reason == "capabilities":
        made = NoCompatibleSystemForActor(actor, "No compatible ActorSystem could be found")
    elif error.reason == "source":
        made = InvalidActorSourceHash(source_hash)
    return made


def _register() -> None:
    """Make this base known to Thespian by its name."""
    module = ModuleType(f"thespian.system.{NAME}", __doc__)
    module.ActorSystemBase = ActorSystemBase  # type: ignore[attr-defined]
    sys.modules.setdefault(module.__name__, module)


_register()


def _take_arguments() -> None:
    """Make `ActorSystem(base, capabilities, logDefs)` pass its arguments to one of our bases.

    Thespian passes them only to the bases that it makes itself, and otherwise drops them silently.
    """
    begin = ActorSystem._startupActorSys

    @wraps(begin)
    def begin_ours(system: Any, current: Any, wanted: Any, capabilities: Any, logDefs: Any) -> Any:
        base = begin(system, current, wanted, capabilities, logDefs)
        if isinstance(base, SystemBase):
            if base is wanted:
                system.capabilities.update(base.configure(capabilities, logDefs))
            elif base is current and (capabilities or logDefs):
                warnings.warn(
                    "this program has an actor system already, which goes on with the capabilities and logDefs that it"
                    " has: shut it down first, or give transientUnique=True",
                    stacklevel=3,
                )
        return base

    ActorSystem._startupActorSys = begin_ours


_take_arguments()


def _seconds(timeout: Any) -> float | None:
    """Convert a Thespian timeout: seconds, a timedelta, or None."""
    return max(0.0, timeout.total_seconds()) if isinstance(timeout, timedelta) else units.timeout(timeout)
