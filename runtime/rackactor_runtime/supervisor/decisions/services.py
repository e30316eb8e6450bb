"""Services: programs beside the supervisor, started at the first request for them.

The requester is answered when the service has joined. If it does not come up, or dies, those who wait for it get an
error, and the next request starts it again, a limited number of times: nothing here starts anything by itself.
"""

from __future__ import annotations

from rackactor.errors import InvalidCall, ServiceFailed
from rackactor_runtime.providers.base import InstanceExit
from rackactor_runtime.supervisor.decisions import births, lifecycle
from rackactor_runtime.supervisor.decisions.messages import Reply, StartService, StopService
from rackactor_runtime.supervisor.decisions.state import STARTS, GroupState, Service
from rackactor_runtime.supervisor.decisions.table import Process
from rackactor_runtime.supervisor.decisions.turn import Turn

#: Seconds within which a service may be started `STARTS` times.
PERIOD = 30.0
#: Seconds from its start until a service must have joined.
BOOT = 20.0


def request(turn: Turn, pid: int, rid: int, name: object) -> None:
    """Answer with the pid of a service, as soon as it has one.

    Raises:
        InvalidCall: there is no such service.
        ServiceFailed: it has failed too often recently.
    """
    services = turn.state.services
    service = services.get(name) if isinstance(name, str) else None
    if service is None:
        raise InvalidCall(f"there is no service {name!r}; there are: {', '.join(sorted(services))}")
    if service.joined:
        turn.emit(Reply(pid, rid, True, {"pid": service.pid}))
        return
    if service.pid is None:
        _start(turn, service)
    service.waiting.append((pid, rid))


def _start(turn: Turn, service: Service) -> None:
    starts = service.starts
    if turn.state.shutdown.finished:
        raise ServiceFailed(f"the group has ended: its service {service.name!r} is not started any more")
    if len(starts) == STARTS and turn.now - starts[0] < PERIOD:
        raise ServiceFailed(
            f"the service {service.name!r} was started {STARTS} times within {PERIOD:g} s, and is left alone"
            f" for a while; the last time: {service.last_words}"
        )
    starts.append(turn.now)
    record = births.external(turn, "service", name=service.name, token=turn.token())
    service.pid, service.boot_by = record.pid, turn.now + BOOT
    turn.emit(StartService(record.pid, record.incarnation, service.name, record.joining.token))


def joined(turn: Turn, record: Process) -> None:
    """Note that a member has joined; if it is a service, those who wait for it are told."""
    service = _of(turn.state, record.pid)
    if service is None:
        return
    service.joined, service.boot_by = True, None
    waiting, service.waiting = service.waiting, []
    turn.emit(*(Reply(asker, rid, True, {"pid": record.pid}) for asker, rid in waiting))


def ended(turn: Turn, pid: int, words: str) -> None:
    """Note that the program of a service has ended, or could not be started."""
    service, record = _of(turn.state, pid), turn.state.table.get(pid)
    if service is not None:
        service.last_words = words
    if record is not None and record.alive:
        record.intent_words = words
        lifecycle.gone(turn, record, InstanceExit(note=words))


def gone(turn: Turn, record: Process) -> None:
    """Note that a process is no longer a member: it waits for nothing, and nobody waits for it."""
    for each in turn.state.services.values():
        each.waiting = [asker for asker in each.waiting if asker[0] != record.pid]
    service = _of(turn.state, record.pid)
    if service is None:
        return
    words = service.last_words or "it has ended"
    waiting, service.waiting = service.waiting, []
    service.pid, service.joined, service.boot_by = None, False, None
    for asker, rid in waiting:
        turn.refuse(asker, rid, ServiceFailed(f"the service {service.name!r} did not start: {words}"))


def cancel(turn: Turn, pid: int, rid: int) -> None:
    """Withdraw a call that timed out."""
    for service in turn.state.services.values():
        service.waiting = [asker for asker in service.waiting if asker != (pid, rid)]


def silent(turn: Turn, record: Process) -> None:
    """End a service that has been silent for too long; the next request starts it again."""
    service = _of(turn.state, record.pid)
    if service is not None:
        service.last_words = "it had not answered, and was ended"
    turn.emit(StopService(record.pid))


def excuse(turn: Turn, away: float) -> None:
    """Extend the time limits of booting services by the time for which the supervisor did not run."""
    for service in turn.state.services.values():
        if service.boot_by is not None:
            service.boot_by += away


def tick(turn: Turn) -> None:
    """End services that have not come up in time."""
    for service in turn.state.services.values():
        if service.boot_by is not None and turn.now >= service.boot_by:
            assert service.pid is not None
            service.boot_by = None
            service.last_words = f"it had not joined within {BOOT:g} s"
            turn.emit(StopService(service.pid))


def _of(state: GroupState, pid: int) -> Service | None:
    return next((service for service in state.services.values() if service.pid == pid), None)
