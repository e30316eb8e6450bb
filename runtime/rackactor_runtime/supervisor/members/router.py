"""The supervisor's side of the wire: the socket to which members connect, the member behind each connection, and the
messages under way to it.

The listener does what a message asks for. This module checks who may send it, and that nothing is lost or comes twice.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import zmq

from rackactor.errors import AuthenticationError, InvalidCall, ProtocolError, RackError
from rackactor.kernel.transport import netaddr, sockets
from rackactor.kernel.transport.newcomers import Gate
from rackactor.kernel.transport.sockets import Keys
from rackactor.kernel.transport.zap import Authenticator
from rackactor.wire.errors import pack_error
from rackactor.wire.frames import SUPERVISOR, Header, Kind, pack_body, pack_route, parse_header, parse_map, parse_route
from rackactor.wire.plain_values import is_plain
from rackactor.wire.schema import Event
from rackactor_runtime.supervisor.decisions.state import StateView
from rackactor_runtime.supervisor.decisions.table import Process
from rackactor_runtime.supervisor.members.authentication import Door, Speaker
from rackactor_runtime.supervisor.members.config import Config
from rackactor_runtime.supervisor.members.listener import Listener
from rackactor_runtime.supervisor.members.resend import ResendBuffers

#: Messages taken from the socket at a time, so that the provider and the clock get their turns.
BATCH = 512
#: Seconds for which another process, which is just ending, may still hold the port.
PORT_PATIENCE = 5.0
#: Answers to one unknown connection, and how many such connections are answered at all.
ANSWERS, ANSWERED = 8, 10_000


class Members:
    """The connections of a group's members. Nothing is taken from them before a listener is connected.

    Args:
        view: of the group's state.
        config: how the supervisor is reached.
    """

    def __init__(self, view: StateView, config: Config) -> None:
        self._view = view
        self._config = config
        self._listener: Listener
        self._context = zmq.Context(io_threads=1)
        self._context.set(zmq.MAX_SOCKETS, 4096)
        self.keys = Keys.make() if config.transport == "tcp" else None
        operator = config.operator_keys
        self._door = Door(view, self._enter, config.operator_token, operator.public if operator else None)
        self._zap = Authenticator(self._context, self._door.admit) if self.keys else None
        self._refusals: dict[bytes, int] = {}
        self._router = self._open()
        self._gate = Gate(self._router, remote=self.keys is not None, ended=lambda name: self._refusals.pop(name, None))
        self._bind()
        self.endpoint = sockets.endpoint(self._router)
        self._resend = ResendBuffers()
        #: The welcomes of members, over a network, that have sent nothing since: a welcome may have been lost.
        self._welcomes: dict[int, list[Any]] = {}
        #: Messages for members that have yet to join.
        self._held: dict[int, list[list[Any]]] = {}
        self._leaving: set[int] = set()
        #: Members that have sent something since the listener was last told.
        self._spoken: set[int] = set()
        self._seq = 0

    def connect(self, listener: Listener) -> None:
        """Begin to serve: from now on the listener carries out what members ask for."""
        self._listener = listener

    def _enter(self) -> int:
        return self._listener.entered()

    def _open(self) -> zmq.Socket[Any]:
        router: zmq.Socket[Any] = self._context.socket(zmq.ROUTER)
        sockets.tune(router)
        router.setsockopt(zmq.RCVHWM, sockets.QUEUE)
        router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        router.setsockopt(zmq.BACKLOG, 1024)
        return router

    def _bind(self) -> None:
        router = self._router
        if self.keys is None:
            router.bind(f"ipc://{self._config.directory}/s")
            return
        router.curve_server = True
        router.curve_publickey, router.curve_secretkey = self.keys.public, self.keys.secret
        bind = netaddr.listener(self._config.address, self._config.port)
        if netaddr.is_ipv6(bind):
            router.setsockopt(zmq.IPV6, 1)
        sockets.watch_over(router)
        _bind_soon(router, bind, PORT_PATIENCE)

    def move(self) -> None:
        """Listen in the group's new directory. Present connections stay."""
        if self.keys is None:
            self.endpoint = f"ipc://{self._config.directory}/s"
            self._router.bind(self.endpoint)

    def bind_for(self, pid: int) -> str:
        """Return where a process may listen for others; over tcp the process itself knows its address."""
        return "" if self.keys is not None else f"ipc://{self._config.directory}/p{pid}"

    @property
    def sockets(self) -> list[zmq.Socket[Any]]:
        """What to poll."""
        own = [self._router, self._gate.events]
        return own if self._zap is None else [*own, self._zap.socket]

    def close(self) -> None:
        """Send the remaining messages, and close."""
        self._gate.close()
        self._router.close(500)
        if self._zap is not None:
            self._zap.socket.close(0)
        self._context.term()

    def are_listening(self) -> bool:
        """Tell whether a script or an operator is still connected, to get last messages: it has not said goodbye."""
        here = {r.pid for r in self._view.table if r.external and r.alive and r.started is not None}
        return bool(here - self._leaving)

    # -- what comes from them -----------------------------------------------------------------------

    def take(self, ready: Mapping[Any, int]) -> None:
        """Process what has come, up to a limit."""
        if self._gate.events in ready:
            self._gate.read()
        if self._zap is not None and self._zap.socket in ready:
            self._zap.answer()
        if self._router in ready:
            for _ in range(BATCH):
                frames, key = self._receive()
                if frames is None:
                    break
                if frames[-1] != sockets.ABORTED:
                    self._take(frames, key)
        if self._spoken:
            spoken, self._spoken = sorted(self._spoken), set()
            self._listener.heard(spoken)

    def tick(self, now: float) -> None:
        """Cut connections that have not joined in time."""
        self._gate.turn(now)

    def _receive(self) -> tuple[list[Any] | None, bytes | None]:
        """Return the frames of one message, and the CURVE key that it came under."""
        if self.keys is None:
            return sockets.receive(self._router, 3, self._gate), None
        try:
            frames: list[Any] = [self._router.recv(zmq.NOBLOCK)]
        except zmq.Again:
            return None, None
        key = None
        while self._router.getsockopt(zmq.RCVMORE):
            frame = self._router.recv(copy=False)
            if key is None:
                key = str(frame.get("User-Id")).encode()
                if frames[0] not in self._gate.names:
                    self._gate.meet(frames[0], frame)
            frames.append(frame.buffer if len(frame) >= sockets.ZERO_COPY else frame.bytes)
        return frames, key

    def _take(self, frames: list[Any], key: bytes | None) -> None:
        connection = frames[0]
        speaker = None
        try:
            route, header = parse_route(frames[1]), parse_header(frames[2])
            if header.kind is Kind.JOIN:
                self._join(connection, frames[3:], key)
                return
            if header.kind is Kind.RESUME:
                self._resume(connection, header, key)
                return
            speaker = self._door.speaker(connection, header, key)
            if speaker is None or header.seq <= speaker.seq:
                return
            if not speaker.seq:
                self._welcomes.pop(speaker.pid, None)
            speaker.seq = header.seq
            self._spoken.add(speaker.pid)
            if header.kind is Kind.RECEIVED:
                self._resend.acknowledge(speaker.pid, header.extra[0])
                return
            count = None if header.kind is Kind.BEAT else self._resend.took(speaker.pid, frames[1:])
            self._acknowledge(speaker.pid, count)
            if route[0] != SUPERVISOR:
                self._relay(speaker, header, route, frames)
            elif header.kind is Kind.CALL:
                self._call(speaker, header, frames[3:])
            elif header.kind is Kind.BEAT:
                self.send(speaker.pid, Kind.BEAT, (), [])
                self._acknowledge(speaker.pid, self._resend.due(speaker.pid))
        except Exception as error:  # the message may be malformed in any way
            if isinstance(error, OSError) and not isinstance(error, RackError):
                raise  # an error of the operating system is not the sender's fault
            self._refuse(connection, error)
            speaker = speaker or self._door.known(connection, key)
            if speaker is not None and not isinstance(error, AuthenticationError):
                self._listener.malformed(speaker.pid, f"ProtocolError: {error}")

    def _acknowledge(self, pid: int, count: int | None) -> None:
        if count is not None:
            self.send(pid, Kind.RECEIVED, (count,), [])

    def _join(self, connection: bytes, bodies: Sequence[Any], key: bytes | None) -> None:
        fields = parse_map(bodies[0])
        speaker = self._door.join(connection, fields.get("token"), fields.get("protocol"), key)
        self._gate.joined(connection)
        if (welcome := self._welcomes.get(speaker.pid)) is not None:  # its connection broke before the welcome arrived
            self._go_on(speaker.pid, 0, lambda _: self._put(speaker.pid, welcome))
            return
        os_pid = fields.get("os_pid")
        self._listener.joined(speaker.pid, os_pid if isinstance(os_pid, int) else 0, key)

    def _resume(self, connection: bytes, header: Header, key: bytes | None) -> None:
        """Resume a member's broken connection where it broke."""
        speaker = self._door.resume(connection, header, key)
        if speaker is None:
            return
        self._gate.joined(connection)
        pid = speaker.pid
        self._spoken.add(pid)
        self._welcomes.pop(pid, None)
        self._go_on(pid, header.extra[0], lambda got: self.send(pid, Kind.RESUME, (got,), []))

    def _go_on(self, pid: int, count: int, begin: Callable[[int], object]) -> None:
        """Send again on a member's new connection what it does not have.

        Args:
            pid: of the member.
            count: how many messages it has received.
            begin: sends the first message there; it is called with the number of messages received from the member.
        """
        self._leaving.discard(pid)
        found = self._resend.resume(pid, count)
        if found is None:
            self._listener.severed(pid, "its connection broke with too much under way to go on")
            return
        begin(found[0])
        for frames in found[1]:
            self._put(pid, frames)

    def _call(self, speaker: Speaker, header: Header, bodies: Sequence[Any]) -> None:
        rid, op = header.extra
        args = parse_map(bodies[0])
        if not is_plain(args):  # extension types, or nested too deeply to be packed again
            raise ProtocolError(f"the arguments of {op!r} are not plain values")
        if op == "bye":
            self._leaving.add(speaker.pid)
        self._listener.called(speaker.pid, rid, op, args, tuple(bodies[1:]))

    def _relay(self, speaker: Speaker, header: Header, route: tuple[int, int], frames: list[Any]) -> None:
        """Relay a message to another member, with its body unchanged."""
        if header.kind not in (Kind.DATA, Kind.ACK):
            raise AuthenticationError(f"a {header.kind.name} to a process is the supervisor's to send")
        target = self._view.table.get(route[0])
        if target is None or not target.alive or route[1] not in (0, target.incarnation):
            self._send_gone(speaker.pid, route[0], target)
            return
        sender = self._view.table.get(speaker.pid)
        known = speaker.pid in target.correspondents and (sender is None or target.pid in sender.correspondents)
        if not known:
            self._listener.corresponded(speaker.pid, target.pid)
        if target.started is None:
            self._held.setdefault(target.pid, []).append(frames)
        else:
            self._forward(target.pid, frames)

    def _refuse(self, connection: bytes, error: Exception) -> None:
        """Refuse an unknown sender, a few times; a flood of invalid messages is not answered by a flood of refusals."""
        self._gate.refused(connection)
        count = self._refusals.get(connection, 0)
        if count >= ANSWERS or len(self._refusals) > ANSWERED:
            return
        self._refusals[connection] = count + 1
        known = error if isinstance(error, (AuthenticationError, ProtocolError)) else ProtocolError(str(error))
        body = pack_body(pack_error(known))
        header = Header(Kind.REFUSED, self._view.epoch, SUPERVISOR, 0, 0)
        try:
            sockets.send(self._router, [connection, pack_route(0), header.pack(), body])
        except zmq.ZMQError:
            pass

    # -- what goes to them --------------------------------------------------------------------------

    def send(self, pid: int, kind: Kind, extra: tuple[Any, ...], bodies: Sequence[Any]) -> None:
        """Send to a member. If it is gone, nothing happens: that is noticed in other ways."""
        self._send(pid, kind, extra, bodies)

    def reply(self, pid: int, rid: int, fields: dict[str, Any], blobs: Sequence[Any] = (), *, ok: bool = True) -> None:
        """Answer a member's call; see `Post`."""
        if rid:
            self._send(pid, Kind.REPLY, (rid, ok), [pack_body(fields), *blobs])

    def notify(self, pid: int, event: Event, blobs: Sequence[Any] = ()) -> None:
        """Tell a member something that it has not asked for."""
        self._send(pid, Kind.EVENT, (event.op,), [pack_body(event.to_wire()), *blobs])

    def _send(self, pid: int, kind: Kind, extra: tuple[Any, ...], bodies: Sequence[Any]) -> list[Any] | None:
        if self._door.connection(pid) is None:
            return None
        self._seq += 1
        header = Header(kind, self._view.epoch, SUPERVISOR, 1, self._seq, extra)
        frames = [pack_route(pid), header.pack(), *bodies]
        if kind is Kind.REPLY or kind is Kind.EVENT:
            self._resend.keep(pid, frames)
        if not self._put(pid, frames):
            self._leaving.add(pid)  # its connection has broken, so it does not need the last messages
        return frames

    def welcome(self, pid: int, fields: dict[str, Any], blobs: Sequence[Any]) -> None:
        """Start with a member that has joined: send its welcome, then the messages that have waited for it."""
        frames = self._send(pid, Kind.WELCOME, (), [pack_body(fields), *blobs])
        if self.keys is not None and frames is not None:
            self._resend.begin(pid)
            self._welcomes[pid] = frames
        for frames in self._held.pop(pid, ()):
            self._forward(pid, frames)

    def dismiss(self, pid: int) -> None:
        """Forget a member; the senders of messages that waited for it are told."""
        for frames in self._held.pop(pid, ()):
            self._send_gone(parse_header(frames[2]).pid, pid, self._view.table.get(pid))
        self._leaving.discard(pid)
        self._resend.end(pid)
        self._welcomes.pop(pid, None)
        self._door.dismiss(pid)

    def _forward(self, pid: int, frames: list[Any]) -> None:
        self._resend.keep(pid, frames[1:])
        self._put(pid, frames[1:])

    def _put(self, pid: int, frames: Sequence[Any]) -> bool:
        """Send to a member; False if its connection has just broken: it will return, or the provider will tell."""
        connection = self._door.connection(pid)
        if connection is None:
            return False
        try:
            sockets.send(self._router, [connection, *frames])
        except zmq.ZMQError:
            return False
        return True

    def _send_gone(self, to: int, pid: int, record: Process | None) -> None:
        past = record or self._view.table.past(pid)
        why = past.status.reason if past is not None and past.status is not None else "there is no such process"
        self.send(to, Kind.EVENT, ("gone",), [pack_body({"pid": pid, "why": why})])


def _bind_soon(socket: zmq.Socket[Any], endpoint: str, patience: float) -> None:
    """Bind a socket; the previous holder of its port may take a moment to release it.

    Raises:
        InvalidCall: the port is in use.
    """
    until = time.monotonic() + patience
    while True:
        try:
            socket.bind(endpoint)
            return
        except zmq.ZMQError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() >= until:
                raise InvalidCall(f"cannot listen at {endpoint}: {error}") from None
            time.sleep(0.02)
