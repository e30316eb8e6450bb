"""The supervisor's I/O loop: polls members and provider, passes events to the actor, carries out its effects."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, cast

import zmq

from rackactor.errors import InvalidCall, NoSuchProcess, NotAllowed, RackError
from rackactor.launch import last_words
from rackactor.wire.calls.logs import FEED, Logs
from rackactor.wire.calls.machine import MachineSays
from rackactor.wire.calls.processes import Cancel
from rackactor.wire.errors import pack_error
from rackactor.wire.events import ListenEvent
from rackactor_runtime.providers import base
from rackactor_runtime.supervisor.actor import WORLD, Store, Supervisor, Timed
from rackactor_runtime.supervisor.clock import Clock
from rackactor_runtime.supervisor.decisions import messages as m
from rackactor_runtime.supervisor.decisions.state import GroupState, StateView
from rackactor_runtime.supervisor.faults import SYSTEM_ERRORS, Faults, in_words, refusal
from rackactor_runtime.supervisor.home import Home
from rackactor_runtime.supervisor.logs.service import LogService
from rackactor_runtime.supervisor.machine_link import MachineLink
from rackactor_runtime.supervisor.members.router import Members
from rackactor_runtime.supervisor.memory.service import MemoryService
from rackactor_runtime.supervisor.service_programs import ServicePrograms

#: Seconds between ticks.
TICK = 0.1
#: The most bytes of the supervisor's own log, and how many are kept of one that has grown longer.
LOG = 4 << 20, 256 << 10
#: Seconds that the last readers have after the group's end.
LAST_WORDS = 3.0

_log = logging.getLogger(__name__)


class _Reference:
    """The reference object behind the supervisor actor: its `send` appends to the list of effects."""

    def __init__(self, shell: Loop) -> None:
        self.address = WORLD
        self._shell = shell

    def actor_send(self, address: Any, effect: Any) -> None:
        self._shell.carry_out(effect)


class Loop:
    """Runs a supervisor.

    Args:
        state: of the group; only `decide` changes it, and only a view of it is kept here.
        store: keeps the state.
        home: the group's directory.
        members: the connections of the group's members.
        logs: keeps what processes print.
        memory: the group's shared memory.
        services: the programs of the group's services.
        machines: connects the provider with the programs on its machines.
        provider: makes the processes.
        clock: tells the time.
        entropy: returns so many random bytes.
        owner_fd: a descriptor that becomes readable when the program that made the group dies; None: there is none.
    """

    def __init__(
        self,
        state: GroupState,
        store: Store,
        *,
        home: Home,
        members: Members,
        logs: LogService,
        memory: MemoryService,
        services: ServicePrograms,
        machines: MachineLink,
        provider: base.Provider,
        clock: Clock,
        entropy: Callable[[int], bytes],
        owner_fd: int | None = None,
    ) -> None:
        self._view: StateView = state
        self._home = home
        self._members = members
        self._logs = logs
        self._memory = memory
        self._services = services
        self._machines = machines
        self._provider = provider
        self._clock = clock
        self._entropy = entropy
        self._owner_fd = owner_fd
        members.connect(self)
        #: The part that all birth data share.
        self._common = {"endpoint": members.endpoint, "server_key": members.keys and members.keys.public}
        self._prewarming = cast(base.Prewarming, provider) if provider.capabilities.prewarms else None
        if self._prewarming is not None:
            self._prewarming.expect(self._common)
        self._poller = zmq.Poller()
        self._watch_all()
        self._actor = Supervisor(state, store)
        self._actor._myRef = _Reference(self)
        self._finish_by: float | None = None
        self._entered = 0
        self._faults = Faults()
        self._next_tick, self._more = clock.now(), False

    # -- the loop -----------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until the group has ended."""
        while not self._finished():
            try:
                self.turn()
            except SYSTEM_ERRORS as error:
                self._faults.note("a turn of the supervisor's loop", error)
                self._faults.pause()

    def turn(self) -> None:
        """Process what has come, or comes before the next tick; then tick, if it is time."""
        self._take(0.0 if self._more else max(0.0, min(TICK, self._next_tick - self._clock.now())))
        self._more = self._memory.turn()
        late = self._clock.now() - self._next_tick
        if late >= 0:
            if late > TICK:
                self._hear(m.Absent(late))
                self._take(0.0)  # what has happened meanwhile must be known before any member is judged
            self._next_tick = self._clock.now() + TICK
            self._hear(m.Ticked())
            self._members.tick(self._clock.now())
            self._logs.again()
            last_words.bound_log(2, *LOG)
            if self._home.is_lost(self._clock.now()):
                self._move()

    def _take(self, wait: float) -> None:
        """Process what has come, or comes within this many seconds."""
        ready = dict(self._poller.poll(math.ceil(wait * 1000)))
        self._members.take(ready)
        if any(fd in ready for fd in self._provider.fds()):
            self._take_provider()
        if self._owner_fd in ready:
            self._owner_gone()
        self._take_services(ready)

    def _move(self) -> None:
        """Make the group's directory again, after it was removed."""
        home = self._home
        _log.warning("the group's directory %s has been removed", home.directory)
        try:
            home.make_again(self._memory.path)
            if self._provider.capabilities.housed:  # first: should this process die now, the provider removes it
                cast(base.Housed, self._provider).moved(str(home.directory))
            self._members.move()
            self._common["endpoint"] = self._members.endpoint
            home.open({**home.card, "endpoint": self._members.endpoint})
        except (RackError, *SYSTEM_ERRORS) as error:
            self._faults.note("the group's directory cannot be made again", error)
            return
        self._logs.move(home.directory)
        self._memory.move(home.directory)
        if self._prewarming is not None:
            self._prewarming.expect(self._common)
        _log.warning("it is %s now", home.directory)

    def close(self) -> None:
        """Close everything."""
        kept = any(record.keeper and record.alive for record in self._view.table)
        self._provider.close(self._provider.capabilities.closing)
        self._services.close()
        self._logs.close()
        self._memory.close()
        self._members.close()
        self._machines.last_act(kept)

    def _finished(self) -> bool:
        if self._finish_by is None:
            return False
        return (not self._members.are_listening() and self._services.empty) or self._clock.now() >= self._finish_by

    def _watch_all(self) -> None:
        for socket in self._members.sockets:
            self._poller.register(socket, zmq.POLLIN)
        for fd in [*self._provider.fds(), *([self._owner_fd] if self._owner_fd is not None else [])]:
            self._poller.register(fd, zmq.POLLIN)

    def _owner_gone(self) -> None:
        assert self._owner_fd is not None
        self._poller.unregister(self._owner_fd)
        os.close(self._owner_fd)
        self._owner_fd = None
        self._hear(m.OwnerGone("the program that made the group is gone"))

    def _hear(self, event: m.Event) -> None:
        self._actor.receiveMessage(Timed(event, self._clock.now(), self._clock.wall(), self._entropy(32)), WORLD)

    def _enter(self, event: m.Event) -> int:
        """Add a member that was not forked; return its pid."""
        self._hear(event)
        return self._entered

    def open(self, token: bytes) -> int:
        """Begin: expect the program that made the group, with a token; return its pid."""
        return self._enter(m.GroupOpened(token, self._owner_fd is not None))

    # -- what members ask for -----------------------------------------------------------------------

    def entered(self) -> int:
        """Note that a command line has come; return the pid that it gets."""
        return self._enter(m.OperatorArrived())

    def heard(self, pids: Sequence[int]) -> None:
        """Note that these members have sent something."""
        self._hear(m.Heard(pids))

    def corresponded(self, pid: int, other: int) -> None:
        """Note that two members have exchanged their first message."""
        self._hear(m.Corresponded(pid, other))

    def joined(self, pid: int, os_pid: int, key: bytes | None) -> None:
        """Note that a member has presented its token."""
        self._hear(m.Joined(pid, os_pid, key))
        self._machines.joined(pid, os_pid)
        if self._prewarming is not None and not self._view.tokens:
            self._prewarming.settled()

    def severed(self, pid: int, why: str) -> None:
        """Note that a member's connection broke, and cannot be resumed."""
        self._hear(m.Severed(pid, why))

    def malformed(self, pid: int, why: str) -> None:
        """Note that a member has sent something that breaks the protocol."""
        self._hear(m.Malformed(pid, why[:500]))

    def called(self, pid: int, rid: int, op: str, args: dict[str, Any], blobs: tuple[Any, ...]) -> None:
        """Carry out a member's call, or pass it to the part that does."""
        try:
            self._call(pid, rid, op, args, blobs)
        except (RackError, *SYSTEM_ERRORS) as error:
            if not isinstance(error, RackError):
                self._faults.note(f"the call {op!r} of process {pid}", error)
            self.carry_out(m.Reply(pid, rid, False, refusal(error, op)))
        except Exception as error:  # whatever the arguments are
            words = f"{op}: bad arguments ({type(error).__name__}: {error})"
            self.carry_out(m.Reply(pid, rid, False, pack_error(InvalidCall(words))))

    def _call(self, pid: int, rid: int, op: str, args: dict[str, Any], blobs: tuple[Any, ...]) -> None:
        if op == Logs.op:
            asked = Logs.from_wire(args)
            self._may_read(asked.pid)
            self._logs.call(pid, rid, asked)
        elif op == MachineSays.op and (told := self._machines.heard(pid, args, blobs)) is not None:
            for event in told:
                self._hear(event)
            self.carry_out(m.Reply(pid, rid, True))
        elif op.startswith("shm"):
            self._memory.call(pid, rid, op, args, blobs)
        else:
            if op == Cancel.op:
                self._memory.cancel(pid, args.get("rid"))
            self._hear(m.Called(pid, rid, op, args, blobs))

    def _may_read(self, pid: int) -> None:
        """Refuse a wait for the output of a process that has none."""
        if pid == FEED:
            return
        record = self._view.table.get(pid) or self._view.table.past(pid)
        if record is None:
            raise NoSuchProcess(f"this group never had a process {pid}, or has forgotten it")
        if record.external:
            raise NotAllowed(f"process {pid} prints on a terminal of its own: the group has no log of it")

    def _take_provider(self) -> None:
        for event in self._provider.events():
            try:
                self._take_event(event)
            except SYSTEM_ERRORS as error:  # the events after it are still valid
                self._faults.note(f"{type(event).__name__} of process {event.key.pid}", error)

    def _take_event(self, event: base.Event) -> None:
        match event:
            case base.Output(key, stream, data):
                record = self._view.table.get(key.pid)
                feed = record is not None and record.kind != "command"
                self._logs.output(key, stream, data, feed=feed)
            case base.Created(key, instance):
                self._hear(m.InstanceCreated(key, instance))
            case base.CreateFailed(key, fault, kind):
                self._last_output(key.pid)
                self._hear(m.InstanceEnded(key, base.InstanceExit(fault=fault, kind=kind)))
            case base.Ended(key, code, signal, oom, note, outside, deleted):
                tail = self._last_output(key.pid)
                how = base.InstanceExit(code, signal, oom, note, tail=tail, outside=outside, deleted=deleted)
                self._hear(m.InstanceEnded(key, how))
            case base.Located(key, address):
                self._hear(m.InstanceLocated(key, address))
            case base.Unanswered(key, seconds, words):
                self._hear(m.Unanswered(key, seconds, words))
            case base.Owed(_, seconds):
                self._hear(m.Owed(seconds))
            case base.Unkillable(key, words):
                _log.warning("process %d is not gone: %s", key.pid, words)
                self._hear(m.Unconfirmed(key, words))

    def _last_output(self, pid: int) -> str:
        """Note that a process prints nothing any more; return its last output."""
        try:
            self._logs.ended(pid)
            return self._logs.tail(pid)
        except SYSTEM_ERRORS as error:
            self._faults.note(f"the end of the output of process {pid}", error)
            return ""

    # -- services -----------------------------------------------------------------------------------

    def _surroundings(self) -> dict[str, Any]:
        """Return the part of a service's birth data that all services share."""
        return {
            **self._common,
            "directory": str(self._home.directory),
            "settings": asdict(self._view.settings),
        }

    def _start_service(self, order: m.StartService) -> None:
        descriptor = self._services.start(order, self._surroundings())
        if descriptor is not None:
            self._poller.register(descriptor, zmq.POLLIN)

    def _take_services(self, ready: Mapping[Any, int]) -> None:
        for event, descriptor in self._services.ended(ready):
            if descriptor is not None:
                self._poller.unregister(descriptor)
                os.close(descriptor)
            self._hear(event)

    # -- what the actor wants done -------------------------------------------------------------------

    def carry_out(self, effect: m.Effect) -> None:
        """Carry out one effect. If the operating system refuses it, those who wait for it are told so."""
        try:
            self._carry_out(effect)
        except SYSTEM_ERRORS as error:
            self._faults.note(f"{type(effect).__name__} could not be carried out", error)
            words = in_words(error)
            match effect:
                case m.Create(order):
                    self._hear(m.InstanceEnded(order.key, base.InstanceExit(fault=words)))
                case m.StartService(pid):
                    self._hear(m.ServiceEnded(pid, f"its program could not be started: {words}"))
                case m.Probe(key):
                    self._hear(m.Probed(key, base.Liveness.UNKNOWN))
                case m.Reply(pid, rid, True):
                    self.carry_out(m.Reply(pid, rid, False, refusal(error)))

    def _carry_out(self, effect: m.Effect) -> None:
        match effect:
            case m.Welcome(pid, fields, blobs):
                self._members.welcome(pid, fields, blobs)
            case m.Reply(pid, rid, ok, fields, blobs):
                self._members.reply(pid, rid, fields, blobs, ok=ok)
            case m.Notify(pid, event, blobs):
                if isinstance(event, ListenEvent):
                    event = replace(event, bind=self._members.bind_for(pid), ticket=self._entropy(16))
                self._members.notify(pid, event, blobs)
            case m.Create(order):
                self._provider.create(self._machines.order(order, self._common))
            case m.Delete(key):
                self._provider.delete(key)
            case m.Probe(key):
                self._hear(m.Probed(key, self._provider.probe(key)))
            case m.StartService():
                self._start_service(effect)
            case m.StopService(pid):
                self._services.kill(pid)
            case m.Entered(pid):
                self._entered = pid
            case m.Dismiss(pid):
                self._dismiss(pid)
            case m.Finish(_, left):
                self._finish_by = self._finish_by or self._clock.now() + LAST_WORDS
                for words in left:
                    _log.warning("the group ended without a confirmed delete: %s", words)
                self._logs.end_feed()
                self._services.dismiss()

    def _dismiss(self, pid: int) -> None:
        self._logs.unfollow(pid)
        self._memory.gone(pid)
        self._members.dismiss(pid)
        self._machines.dismissed(pid)
