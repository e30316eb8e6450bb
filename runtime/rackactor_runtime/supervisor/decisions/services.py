"""Services: programs that the supervisor has beside it, started when somebody first asks for them.

Who asks is answered when the service has joined. One that does not come up, or dies, is an error for those who wait
for it, and is started anew for the next who asks, so often and no more: nothing here starts anything by itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rackactor.errors import InvalidCall, ServiceFailed
from rackactor_runtime.supervisor.decisions.exit_status import Ending
from rackactor_runtime.supervisor.decisions.messages import Called, Effect, Reply, StartService, StopService
from rackactor_runtime.supervisor.decisions.table import Process

if TYPE_CHECKING:
    from rackactor_runtime.supervisor.decisions.lifecycle import Core

#: Starts of one service allowed within `PERIOD`.
STARTS = 5
#: Seconds; see `STARTS`.
PERIOD = 30.0
#: Seconds from its start until a service must have joined.
BOOT = 20.0


@dataclass
class Service:
    """One service of the group."""

    name: str
    #: Of the life that it has now; None: it does not run.
    pid: int | None = None
    joined: bool = False
    boot_by: float | None = None
    #: (pid, number of the call) of whoever waits for it.
    waiting: list[tuple[int, int]] = field(default_factory=list)
    #: When it was started, the last `STARTS` times.
    starts: deque[float] = field(default_factory=lambda: deque(maxlen=STARTS))
    #: How its last life ended.
    last_words: str = ""


class Services:
    """The services of a group. Its methods return what is to be done."""

    def __init__(self, core: Core, names: Collection[str]) -> None:
        self._core = core
        self._services = {name: Service(name) for name in names}

    def request(self, pid: int, rid: int, name: object) -> list[Effect]:
        """Answer with the pid of a service, as soon as it has one.

        Raises:
            InvalidCall: there is no such service.
            ServiceFailed: it has failed too often of late.
        """
        service = self._services.get(name) if isinstance(name, str) else None
        if service is None:
            raise InvalidCall(f"there is no service {name!r}; there are: {', '.join(sorted(self._services))}")
        if service.joined:
            return [Reply(pid, rid, True, {"pid": service.pid})]
        effects: list[Effect] = [] if service.pid is not None else [self._start(service)]
        service.waiting.append((pid, rid))
        return effects

    def _start(self, service: Service) -> Effect:
        core, starts = self._core, service.starts
        if core.shutdown.finished:
            raise ServiceFailed(f"the group has ended: its service {service.name!r} is not started any more")
        if len(starts) == STARTS and core.now - starts[0] < PERIOD:
            raise ServiceFailed(
                f"the service {service.name!r} was started {STARTS} times within {PERIOD:g} s, and is left alone"
                f" for a while; the last time: {service.last_words}"
            )
        starts.append(core.now)
        record = core.service(service.name)
        service.pid, service.boot_by = record.pid, core.now + BOOT
        return StartService(record.pid, record.incarnation, service.name, record.token)

    def joined(self, pid: int) -> list[Effect]:
        """Learn that a member has joined; if it is a service, those who wait for it are told."""
        service = self._of(pid)
        if service is None:
            return []
        service.joined, service.boot_by = True, None
        waiting, service.waiting = service.waiting, []
        return [Reply(asker, rid, True, {"pid": pid}) for asker, rid in waiting]

    def ended(self, pid: int, words: str) -> None:
        """Learn that the program of a service has ended, or could not be started."""
        service, record = self._of(pid), self._core.table.get(pid)
        if service is not None:
            service.last_words = words
        if record is not None and record.alive:
            record.intent_words = words
            self._core.gone(record, Ending(None, None, note=words))

    def gone(self, record: Process) -> list[Effect]:
        """Learn that a member is no more: it waits for nothing, and nobody for it."""
        for each in self._services.values():
            each.waiting = [asker for asker in each.waiting if asker[0] != record.pid]
        service = self._of(record.pid)
        if service is None:
            return []
        words = service.last_words or "it has ended"
        waiting, service.waiting = service.waiting, []
        service.pid, service.joined, service.boot_by = None, False, None
        refusal = {"type": "ServiceFailed", "message": f"the service {service.name!r} did not start: {words}"}
        return [Reply(asker, rid, False, refusal) for asker, rid in waiting]

    def cancel(self, pid: int, rid: int) -> None:
        """Withdraw a call that timed out."""
        for service in self._services.values():
            service.waiting = [asker for asker in service.waiting if asker != (pid, rid)]

    def silent(self, record: Process) -> Effect:
        """Have a service ended that has not been heard for too long; its next life is for the next who asks."""
        service = self._of(record.pid)
        if service is not None:
            service.last_words = "it had not answered, and was ended"
        return StopService(record.pid)

    def excuse(self, away: float) -> None:
        """Give what boots the time for which the supervisor did not run."""
        for service in self._services.values():
            if service.boot_by is not None:
                service.boot_by += away

    def tick(self) -> list[Effect]:
        """End what has not come up in time."""
        effects: list[Effect] = []
        for service in self._services.values():
            if service.boot_by is not None and self._core.now >= service.boot_by:
                assert service.pid is not None
                service.boot_by = None
                service.last_words = f"it had not joined within {BOOT:g} s"
                effects.append(StopService(service.pid))
        return effects

    def _of(self, pid: int) -> Service | None:
        return next((service for service in self._services.values() if service.pid == pid), None)


class ServiceCalls:
    """The system calls about services."""

    def __init__(self, core: Core) -> None:
        super().__init__()
        self._of_services = core

    def op_service(self, caller: Process, call: Called) -> None:
        """Tell the pid of a service of the group, which is started if need be."""
        core = self._of_services
        core.effects.extend(core.services.request(caller.pid, call.rid, call.args.get("name")))
