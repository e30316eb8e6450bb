"""The supervisor's thin shell: polls its sockets and its provider, hands events to the actor, does what it sends."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import zmq

from rackactor import addresses, wire
from rackactor import link as _link
from rackactor.errors import AuthenticationError, NoSuchProcess, NotAllowed, ProtocolError, RackError
from rackactor.link import Keys
from rackactor.wire import Header, Kind, parse_header, parse_map, parse_route
from rackactor.zap import Authenticator
from rackactor_runtime.providers import base
from rackactor_runtime.supervisor.actor import WORLD, Supervisor, Timed
from rackactor_runtime.supervisor.decisions import messages as m
from rackactor_runtime.supervisor.decisions.core import Core
from rackactor_runtime.supervisor.decisions.table import Process
from rackactor_runtime.supervisor.door import Door, Speaker
from rackactor_runtime.supervisor.keeping import Keeping
from rackactor_runtime.supervisor.logservice import FEED, LogService
from rackactor_runtime.supervisor.memoryservice import MemoryService
from rackactor_runtime.supervisor.servants import Servants

#: Seconds between looks at the clock.
TICK = 0.1
#: Messages taken from the sockets in one go, so that the provider and the clock get their turn.
BATCH = 512
#: Seconds that the last readers have after the group has ended.
LAST_WORDS = 3.0


@dataclass
class Config:
    """What the shell needs beside the core."""

    directory: Path
    transport: str
    #: Where it is reached over tcp.
    address: str
    operator_token: bytes
    operator_keys: Keys | None
    #: A pidfd of the program that made the group, or None.
    owner_fd: int | None


class _Reference:
    """The reference object behind the supervisor actor: its `send` is our to-do list."""

    def __init__(self, shell: Shell) -> None:
        self.address = WORLD
        self._shell = shell

    def actor_send(self, address: Any, effect: Any) -> None:
        self._shell.carry_out(effect)


class Shell:
    """Run a supervisor."""

    def __init__(self, core: Core, config: Config, provider: base.Provider) -> None:
        self.core = core
        self._config = config
        self._provider = provider
        self._context = zmq.Context(io_threads=1)
        self._context.set(zmq.MAX_SOCKETS, 4096)
        self.keys = Keys.make() if config.transport == "tcp" else None
        operator = config.operator_keys
        self._door = Door(core, config.operator_token, operator.public if operator else None)
        self._zap = Authenticator(self._context, self._door.admit) if self.keys else None
        self._router, self.endpoint = self._bind()
        #: What each birth has in common.
        self._common = {"endpoint": self.endpoint, "server_key": self.keys and self.keys.public}
        self._foresighted = provider if isinstance(provider, base.Foresighted) else None
        if self._foresighted is not None:
            self._foresighted.expect(self._common)
        self._poller = zmq.Poller()
        self._watch_all()
        self._held: dict[int, list[list[Any]]] = {}
        self._seq = 0
        self._logs = LogService(config.directory, core.settings.log_limit, self._grant, self._reply_logs)
        self._memory = MemoryService(config.directory, core.settings, self._send, core.lives)
        self._servants = Servants(self._surroundings())
        self._actor = Supervisor(core)
        self._actor._myRef = _Reference(self)
        self._finish_by: float | None = None
        self._bye: set[int] = set()
        self._keeping = Keeping()
        self._refusals: dict[bytes, int] = {}

    # -- the loop -----------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until the group has ended."""
        next_tick, more = 0.0, False
        while not self._finished():
            wait = 0.0 if more else max(0.0, min(TICK, next_tick - time.monotonic()))
            ready = dict(self._poller.poll(math.ceil(wait * 1000)))
            if self._zap is not None and self._zap.socket in ready:
                self._zap.answer()
            if self._router in ready:
                for _ in range(BATCH):
                    if not self._take():
                        break
            if any(fd in ready for fd in self._provider.fds()):
                self._take_provider()
            if self._config.owner_fd in ready:
                self._owner_gone()
            self._take_servants(ready)
            more = self._memory.turn()
            if time.monotonic() >= next_tick:
                next_tick = time.monotonic() + TICK
                self._hear(m.Ticked())

    def close(self) -> None:
        """Give everything back."""
        self._provider.close(5.0)
        self._servants.close()
        self._logs.close()
        self._memory.close()
        self._router.close(500)
        if self._zap is not None:
            self._zap.socket.close(0)
        self._context.term()

    def _finished(self) -> bool:
        if self._finish_by is None:
            return False
        here = {r.pid for r in self.core.table if r.external and r.alive and r.started is not None}
        return (not (here - self._bye) and self._servants.empty) or time.monotonic() >= self._finish_by

    def _bind(self) -> tuple[zmq.Socket[Any], str]:
        router: zmq.Socket[Any] = self._context.socket(zmq.ROUTER)
        _link.tune(router)
        router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        router.setsockopt(zmq.BACKLOG, 1024)
        if self.keys is None:
            router.bind(f"ipc://{self._config.directory}/s")
        else:
            router.curve_server = True
            router.curve_publickey, router.curve_secretkey = self.keys.public, self.keys.secret
            bind = addresses.listener(self._config.address)
            if addresses.is_ipv6(bind):
                router.setsockopt(zmq.IPV6, 1)
            _link.watch_over(router)
            router.bind(bind)
        return router, _link.endpoint(router)

    def _watch_all(self) -> None:
        self._poller.register(self._router, zmq.POLLIN)
        if self._zap is not None:
            self._poller.register(self._zap.socket, zmq.POLLIN)
        for fd in [*self._provider.fds(), *([self._config.owner_fd] if self._config.owner_fd is not None else [])]:
            self._poller.register(fd, zmq.POLLIN)

    def _owner_gone(self) -> None:
        assert self._config.owner_fd is not None
        self._poller.unregister(self._config.owner_fd)
        os.close(self._config.owner_fd)
        self._config.owner_fd = None
        self._hear(m.OwnerGone("the program that made the group is gone"))

    def _hear(self, event: m.Event) -> None:
        self._actor.receiveMessage(Timed(event, time.monotonic(), time.time()), WORLD)

    # -- messages in --------------------------------------------------------------------------------

    def _take(self) -> bool:
        """Take one message from the members; False when there is none."""
        frames, key = self._receive()
        if frames is None:
            return False
        connection = frames[0]
        if frames[-1] == _link.TORN:
            return True
        try:
            route, header = parse_route(frames[1]), parse_header(frames[2])
            if header.kind is Kind.JOIN:
                self._join(connection, frames[3:], key)
                return True
            if header.kind is Kind.RESUME:
                self._resume(connection, header, key)
                return True
            speaker = self._door.speaker(connection, header, key)
            if speaker is None or header.seq <= speaker.seq:
                return True
            speaker.seq = header.seq
            self.core.heard(speaker.pid, time.monotonic())
            if header.kind is Kind.RECEIVED:
                self._keeping.acknowledge(speaker.pid, header.extra[0])
                return True
            count = None if header.kind is Kind.BEAT else self._keeping.took(speaker.pid, frames[1:])
            if count is not None:
                self._send(speaker.pid, Kind.RECEIVED, (count,), [])
            if route[0] != wire.SUPERVISOR:
                self._relay(speaker, header, route, frames)
            elif header.kind is Kind.CALL:
                self._call(speaker, header, frames[3:])
            elif header.kind is Kind.BEAT:
                self._send(speaker.pid, Kind.BEAT, (), [])
                count = self._keeping.due(speaker.pid)
                if count is not None:
                    self._send(speaker.pid, Kind.RECEIVED, (count,), [])
        except (RackError, IndexError) as error:
            self._refuse(connection, error)
        return True

    def _receive(self) -> tuple[list[Any] | None, bytes | None]:
        """Return the frames of one message, and the CURVE key that it came under."""
        if self.keys is None:
            return _link.receive(self._router, 3), None
        try:
            frames: list[Any] = [self._router.recv(zmq.NOBLOCK)]
        except zmq.Again:
            return None, None
        key = None
        while self._router.getsockopt(zmq.RCVMORE):
            frame = self._router.recv(copy=False)
            if key is None:
                key = str(frame.get("User-Id")).encode()
            frames.append(frame.buffer if len(frame) >= _link.ZERO_COPY else frame.bytes)
        return frames, key

    def _join(self, connection: bytes, bodies: Sequence[Any], key: bytes | None) -> None:
        fields = parse_map(bodies[0])
        speaker = self._door.join(connection, fields.get("token"), fields.get("protocol"), key)
        os_pid = fields.get("os_pid")
        self._hear(m.Joined(speaker.pid, os_pid if isinstance(os_pid, int) else 0, key))
        if self._foresighted is not None and not self.core.tokens:
            self._foresighted.settled()

    def _resume(self, connection: bytes, header: Header, key: bytes | None) -> None:
        """Go on with a member whose connection broke, where it broke."""
        speaker = self._door.resume(connection, header, key)
        if speaker is None:
            return
        pid = speaker.pid
        self.core.heard(pid, time.monotonic())
        self._bye.discard(pid)
        found = self._keeping.resume(pid, header.extra[0])
        if found is None:
            self._hear(m.Severed(pid, "its connection broke with too much under way to go on"))
            return
        self._send(pid, Kind.RESUME, (found[0],), [])
        for frames in found[1]:
            self._put(pid, frames)

    def _call(self, speaker: Speaker, header: Header, bodies: Sequence[Any]) -> None:
        rid, op = header.extra
        args, blobs = parse_map(bodies[0]), tuple(bodies[1:])
        if op == "logs":
            try:
                self._may_read(args.get("pid"))
                self._logs.call(speaker.pid, rid, args)
            except RackError as error:
                fields = {"type": type(error).__name__, "message": str(error)}
                self.carry_out(m.Reply(speaker.pid, rid, False, fields))
        elif op == "bye":
            self._bye.add(speaker.pid)
        elif op.startswith("shm"):
            self._memory.call(speaker.pid, rid, op, args, blobs)
        else:
            if op == "cancel":
                self._memory.cancel(speaker.pid, args.get("rid"))
            self._hear(m.Called(speaker.pid, rid, op, args, blobs))

    def _may_read(self, pid: Any) -> None:
        """Refuse to have somebody wait for the output of a process that has none."""
        if not isinstance(pid, int) or pid == FEED:
            return
        record = self.core.table.get(pid) or self.core.table.past(pid)
        if record is None:
            raise NoSuchProcess(f"this group never had a process {pid}, or has forgotten it")
        if record.external:
            raise NotAllowed(f"process {pid} prints on a terminal of its own: the group has no log of it")

    def _relay(self, speaker: Speaker, header: Header, route: tuple[int, int], frames: list[Any]) -> None:
        """Pass a message on to another member, its body untouched."""
        if header.kind not in (Kind.DATA, Kind.ACK):
            raise AuthenticationError(f"a {header.kind.name} to a process is the supervisor's to send")
        target = self.core.table.get(route[0])
        if target is None or not target.alive or route[1] not in (0, target.incarnation):
            self._send_gone(speaker.pid, route[0], target)
            return
        target.correspondents.add(speaker.pid)
        sender = self.core.table.get(speaker.pid)
        if sender is not None:
            sender.correspondents.add(target.pid)
        if target.started is None:
            self._held.setdefault(target.pid, []).append(frames)
        else:
            self._forward(target.pid, frames)

    def _forward(self, pid: int, frames: list[Any]) -> None:
        self._keeping.keep(pid, frames[1:])
        self._put(pid, frames[1:])

    def _put(self, pid: int, frames: Sequence[Any]) -> bool:
        """Send to a member; False when its connection has just broken: it comes back, or the provider will tell."""
        connection = self._door.connection(pid)
        if connection is None:
            return False
        try:
            _link.send(self._router, [connection, *frames])
        except zmq.ZMQError:
            return False
        return True

    def _send_gone(self, to: int, pid: int, record: Process | None) -> None:
        past = record or self.core.table.past(pid)
        why = str(past.status) if past is not None and past.status is not None else "there is no such process"
        self._send(to, Kind.EVENT, ("gone",), [wire.pack_body({"pid": pid, "why": why})])

    def _refuse(self, connection: bytes, error: Exception) -> None:
        """Tell an impostor so, a few times; a flood of nonsense is not worth a flood of answers."""
        count = self._refusals.get(connection, 0)
        if count >= 8 or len(self._refusals) > 10_000:
            return
        self._refusals[connection] = count + 1
        known = error if isinstance(error, (AuthenticationError, ProtocolError)) else ProtocolError(str(error))
        body = wire.pack_body({"type": type(known).__name__, "message": str(known)})
        header = Header(Kind.REFUSED, self.core.epoch, wire.SUPERVISOR, 0, 0)
        try:
            _link.send(self._router, [connection, wire.pack_route(0), header.pack(), body])
        except zmq.ZMQError:
            pass

    def _take_provider(self) -> None:
        for event in self._provider.events():
            match event:
                case base.Output(key, stream, data):
                    record = self.core.table.get(key.pid)
                    feed = record is not None and record.kind != "command"
                    self._logs.output(key, stream, data, feed=feed)
                case base.Created(key, instance):
                    self._hear(m.InstanceCreated(key, instance))
                case base.CreateFailed(key, fault):
                    self._logs.ended(key.pid)
                    self._hear(m.InstanceEnded(key, None, None, fault=fault))
                case base.Ended(key, code, signal, oom, note):
                    self._logs.ended(key.pid)
                    tail = self._logs.tail(key.pid)
                    self._hear(m.InstanceEnded(key, code, signal, oom, note, tail=tail))

    # -- services -----------------------------------------------------------------------------------

    def _surroundings(self) -> dict[str, Any]:
        """Return what a service is told beside who it is."""
        return {
            "endpoint": self.endpoint,
            "server_key": self.keys and self.keys.public,
            "directory": str(self._config.directory),
            "settings": asdict(self.core.settings),
        }

    def _start_servant(self, order: m.StartService) -> None:
        descriptor = self._servants.start(order)
        if descriptor is not None:
            self._poller.register(descriptor, zmq.POLLIN)

    def _take_servants(self, ready: Mapping[Any, int]) -> None:
        for event, descriptor in self._servants.ended(ready):
            if descriptor is not None:
                self._poller.unregister(descriptor)
                os.close(descriptor)
            self._hear(event)

    # -- what the actor wants done -------------------------------------------------------------------

    def carry_out(self, effect: m.Effect) -> None:
        """Do one effect."""
        match effect:
            case m.Welcome(pid, fields, blobs):
                self._send(pid, Kind.WELCOME, (), [wire.pack_body(fields), *blobs])
                if self.keys is not None:
                    self._keeping.begin(pid)
                for frames in self._held.pop(pid, ()):
                    self._forward(pid, frames)
            case m.Reply(pid, rid, ok, fields, blobs):
                if rid:
                    self._send(pid, Kind.REPLY, (rid, ok), [wire.pack_body(fields), *blobs])
            case m.Notify(pid, name, fields, blobs):
                if name == "listen":
                    fields = {**fields, "bind": self._bind_for(pid), "ticket": os.urandom(16)}
                self._send(pid, Kind.EVENT, (name,), [wire.pack_body(fields), *blobs])
            case m.Create(order):
                birth = order.birth | self._common
                self._provider.create(base.Order(order.key, birth, order.env, order.cwd, order.memory))
            case m.Delete(key):
                self._provider.delete(key)
            case m.Examine(key):
                self._hear(m.Examined(key, self._provider.examine(key)))
            case m.StartService():
                self._start_servant(effect)
            case m.StopService(pid):
                self._servants.kill(pid)
            case m.Dismiss(pid):
                self._dismiss(pid)
            case m.Finish():
                self._logs.end_feed()
                self._servants.dismiss()
                self._finish_by = self._finish_by or time.monotonic() + LAST_WORDS

    def _dismiss(self, pid: int) -> None:
        for frames in self._held.pop(pid, ()):
            sender = parse_header(frames[2]).pid
            self._send_gone(sender, pid, self.core.table.get(pid))
        self._logs.unfollow(pid)
        self._memory.gone(pid)
        self._keeping.end(pid)
        self._door.dismiss(pid)

    def _bind_for(self, pid: int) -> str:
        """Return where a process may listen for others; over tcp it knows itself where they reach it."""
        return "" if self.keys is not None else f"ipc://{self._config.directory}/p{pid}"

    def _send(self, pid: int, kind: Kind, extra: tuple[Any, ...], bodies: Sequence[Any]) -> None:
        if self._door.connection(pid) is None:
            return
        self._seq += 1
        header = Header(kind, self.core.epoch, wire.SUPERVISOR, 1, self._seq, extra)
        frames = [wire.pack_route(pid), header.pack(), *bodies]
        if kind is Kind.REPLY or kind is Kind.EVENT:
            self._keeping.keep(pid, frames)
        if not self._put(pid, frames):
            self._bye.add(pid)  # its connection has broken: nobody there needs our last words

    def _grant(self, key: base.Key, count: int) -> None:
        self._provider.grant_output(key, count)

    def _reply_logs(self, pid: int, rid: int, fields: dict[str, Any], blobs: list[bytes]) -> None:
        self._send(pid, Kind.REPLY, (rid, True), [wire.pack_body(fields), *blobs])
