"""The object that a Thespian `Actor` delegates to: its `_myRef`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from thespian.actors import ActorAddress, InvalidActorSpecification, WakeupMessage
from thespian.system.timing import ExpirationTimer

from rackactor import units
from rackactor.actors import sources
from rackactor.actors.capabilities import pack
from rackactor.address import RackAddress
from rackactor.errors import InvalidCall
from rackactor.syscalls.session import Session
from rackactor.wire.calls.actor_system import DeadLetters, SetCapabilities, ShutDown, SourceAuthority, SourceNews
from rackactor.wire.target import Creation, actor_target
from rackactor_runtime.agent.sources import by_name


class Reference:
    """The Thespian calls of one actor, carried out in its group.

    Attributes:
        address: its own.
        globalName: its name in the whole group, or None.
        children: the live actors that it has created.
        created: the pids of those whose processes have not ended yet.
        wakeups: (address, timer) of each pending wake-up.
    """

    def __init__(self, session: Session, send: Callable[[ActorAddress, Any], None], creation: Creation) -> None:
        self._session = session
        self._kernel = session.kernel
        self._send = send
        self._source_hash = creation.source_hash
        self.address = RackAddress(session.gid, session.getpid())
        self.globalName = creation.global_name
        self.children: list[RackAddress] = []
        self.created: set[int] = set()
        self.wakeups: list[tuple[RackAddress, Any]] = []

    @property
    def source_hash(self) -> str | None:
        """The loaded source that it was made from, if any."""
        return self._source_hash

    def createActor(self, actor: Any, requirements: Any = None, name: str | None = None, source: Any = None) -> Any:
        """Fork an actor; its address is known at once. If it cannot be made, the caller gets a ChildActorExited."""
        actor, source = by_name(actor, source or self._source_hash)
        creation = Creation(requirements, name, source if isinstance(actor, str) else None)
        try:
            target = actor_target(actor)
        except InvalidCall as error:
            raise InvalidActorSpecification(actor, str(error)) from None
        pid, existing = self._session.fork_actor(target, creation)
        address = RackAddress(self._session.gid, pid)
        if not existing:
            self.children.append(address)
            self.created.add(pid)
        return address

    def actor_send(self, address: ActorAddress, message: Any) -> None:
        """Send a message; if the address came with an ask, the message is the reply."""
        self._send(address, message)

    def wakeupAfter(self, period: Any, payload: Any) -> None:
        """Schedule a WakeupMessage for the mailbox."""
        delay = max(0.0, period.total_seconds()) if isinstance(period, timedelta) else units.timeout(period, "period")
        due = (self.address, ExpirationTimer(period))
        self.wakeups.append(due)

        def wake() -> None:
            self.wakeups.remove(due)
            self._kernel.put((WakeupMessage(period, payload), self.address))

        if delay is not None:
            self._kernel.call_later(delay, wake)

    def handleDeadLetters(self, address: ActorAddress, enable: bool) -> None:
        """Begin or stop to receive messages that could not be delivered."""
        self._kernel.call(DeadLetters(bool(enable)))

    def updateCapability(self, name: str, value: Any) -> None:
        """Change a capability of the group's actor system."""
        self._kernel.call(SetCapabilities(pack({name: value}, allow_pickle=self._kernel.allow_pickle)))

    def actorSystemShutdown(self) -> None:
        """End the group."""
        self._kernel.call(ShutDown())

    # -- sources --------------------------------------------------------------------------------------

    def registerSourceAuthority(self, address: ActorAddress) -> None:
        """Register as the authority that decides which sources may be loaded."""
        self._kernel.call(SourceAuthority())

    def notifyOnSourceAvailability(self, address: ActorAddress, enable: bool) -> None:
        """Begin or stop to be notified of sources that are loaded and unloaded."""
        self._kernel.call(SourceNews(bool(enable)))

    def loadActorSource(self, source: Any) -> str:
        """Pass a source to the group; returns its hash."""
        return sources.load(self._kernel, source)

    def unloadActorSource(self, name: str) -> None:
        """Remove a source from the group."""
        sources.unload(self._kernel, name)

    # -- conventions: a group is one system, whichever hosts it spans -----------------------------------

    def notifyOnSystemRegistrationChanges(self, address: ActorAddress, enable: bool) -> None:
        """Do nothing: no other system ever registers."""

    def preRegisterRemoteSystem(self, address: Any, capabilities: Any) -> None:
        """Do nothing: no other system ever registers."""

    def deRegisterRemoteSystem(self, address: Any) -> None:
        """Do nothing: no other system ever registers."""
