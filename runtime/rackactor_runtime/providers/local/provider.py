"""The supervisor's side of the fork server: the provider's interface, and the handling of that server's death."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rackactor.kernel.transport.wakeup import Waker
from rackactor_runtime import descriptors
from rackactor_runtime.providers.base import Capabilities, Created, CreateFailed, Ended, Event, Key, Liveness, Order
from rackactor_runtime.providers.local import forkserver, linux, protocol, tree
from rackactor_runtime.providers.local.cgroup import MemoryGroups, make_name
from rackactor_runtime.providers.local.child import Entry, Prepare, Program
from rackactor_runtime.providers.local.settings import LocalSettings, check_state_dir

_log = logging.getLogger(__name__)

#: Reads of the fork server's socket in one call of `events`.
_READS = 16
#: Seconds that the processes of a dead fork server have to die before their end is reported anyway.
_PATIENCE = 5.0
#: The same for one that had to be killed by `close`.
_LAST_PATIENCE = 1.0
_DIED = "the local provider's fork server died"


class LocalProvider:
    """Starts, watches and destroys processes of this host.

    Make it before the process has any thread, ZeroMQ context or LMDB environment: it forks. While it
    lives its maker is a subreaper, and must start no process of its own with a session of its own
    (`start_new_session=True`): should the fork server die, that is how what it leaves is recognised.

    Args:
        settings: `preload`: names of modules that the fork server imports before it serves. `warm`: how many processes
            it keeps ready; each takes a few megabytes, and saves most of the time that a process takes to come up. 0:
            none. By default there are 8 at first, and one more for each that was started, up to 32. After half a minute
            without an order, only 8 of them are kept until there is one. `namespaces`: network namespaces (names as `ip
            netns` knows them, or paths) for the processes, used in turns; see `namespaces.py`. No process is kept ready
            then.
        state_dir: directory to remove if this process dies without `close`; "" for none.
            After `close` the caller is responsible for it.
        entry: runs a process's program: birth data in, exit code out. None: the agent's.
        prepare: does what the entry can do before the birth, in a process that waits for it.

    Raises:
        InvalidCall: a setting is invalid.
    """

    name = "local"
    capabilities = Capabilities(prewarms=True, housed=True)
    #: Fork servers of this process: one must not be taken for a process left by another, dead one.
    _servers: set[int] = set()

    def __init__(
        self,
        settings: Mapping[str, Any],
        state_dir: str,
        *,
        entry: Entry | None = None,
        prepare: Prepare | None = None,
    ) -> None:
        told = LocalSettings.parse(settings)
        self.capabilities = replace(self.capabilities, remote=bool(told.networks))
        self._decoder = protocol.Decoder()
        self._outbox = protocol.Outbox()
        self._live: dict[Key, int | None] = {}  # the OS pid, once known
        self._ready: list[Event] = []
        #: Messages of the fork server that belong to no process, such as a failed preload.
        self.notes: list[str] = []
        self._groups = MemoryGroups(make_name())
        self._overdue: float | None = None  # the fork server is gone: when to stop waiting for its orphans
        self._over = False  # and nothing of it is left
        self._warmed = False  # whether all warm processes are ready
        self._closing = False
        self._closed = False
        linux.become_subreaper()
        self._strangers = {(ospid, stat.started) for ospid, stat in _look_at_children()}
        plan = forkserver.Plan(
            state_dir=check_state_dir(state_dir),
            preload=told.preload,
            # Imported before the fork, for both: the supervisor needs most of what the agent does.
            program=forkserver.load_agent() if entry is None else Program(entry, () if prepare is None else (prepare,)),
            warm=told.warm,
            first_warm=told.first_warm,
            supervisor=os.getpid(),
            descriptors=linux.raise_descriptor_limit(),
            groups=self._groups,
            networks=told.networks,
        )
        self._sock, self._server = _start(plan)
        self._servers.add(self._server)
        # One descriptor stands for all: the socket's readability, its writability while something waits
        # for it, and the waker, which is rung for events that do not come over the socket.
        self._waker = Waker()
        self._epoll = select.epoll()
        self._epoll.register(self._waker, select.EPOLLIN)
        self._epoll.register(self._sock, select.EPOLLIN)
        self._writing = False

    def fds(self) -> Sequence[int]:
        """Return the descriptors whose readability means that `events()` has something."""
        return () if self._closed else (self._epoll.fileno(),)

    def expect(self, common: dict[str, Any]) -> None:
        """Note the part that all births will share: waiting processes prepare for it."""
        self._send(protocol.frame(protocol.EXPECT, protocol.pack(common)))

    def moved(self, state_dir: str) -> None:
        """Note that the directory to remove, should this process die, has changed."""
        self._send(protocol.frame(protocol.MOVED, check_state_dir(state_dir)))

    def settled(self) -> None:
        """Note that all ordered processes are up: the next ones can be made ready."""
        self._send(protocol.frame(protocol.SETTLED))

    def warm_up(self, timeout: float) -> None:
        """Wait until the warm processes are ready, for `timeout` seconds at most."""
        until = time.monotonic() + timeout
        while not (self._warmed or self._overdue is not None) and (left := until - time.monotonic()) > 0:
            self._epoll.poll(left)
            self._turn()

    def create(self, order: Order) -> None:
        """Begin to make a process.

        Raises:
            ValueError: there is one of that key already.
        """
        if order.key in self._live:
            raise ValueError(f"{order.key} exists")
        self._live[order.key] = None
        if self._closed or self._overdue is not None:
            self._tell(CreateFailed(order.key, "the provider is closed" if self._closed else _DIED))
            return
        try:
            self._outbox.put(protocol.create_frame(order))
        except (TypeError, ValueError, OverflowError) as error:
            self._tell(CreateFailed(order.key, f"cannot pass on the order: {error}"))
            return
        # The order is sent with the next call, or when `events` is called: many orders are sent together, and their
        # caller keeps the processor until it waits.
        self._waker.wake()

    def delete(self, key: Key) -> None:
        """Begin to destroy a process and all it started. Idempotent."""
        if key in self._live:
            self._send(protocol.frame(protocol.DELETE, *key))

    def probe(self, key: Key) -> Liveness:
        """Check a process from outside."""
        if key not in self._live:
            return Liveness.GONE
        ospid = self._live[key]
        if ospid is None:
            return Liveness.UNKNOWN
        try:
            stat = descriptors.spared(linux.read_stat, ospid)
        except OSError:
            return Liveness.UNKNOWN
        # Another parent: its number has been reused.
        if stat is None or stat.state in "ZX" or stat.ppid != self._server:
            return Liveness.GONE
        return Liveness.STOPPED if stat.state in "Tt" else Liveness.RUNNING

    def grant_output(self, key: Key, count: int) -> None:
        """Allow `count` more bytes of a process's output to be read.

        Raises:
            ValueError: `count` is negative.
        """
        if count < 0:
            raise ValueError(f"a grant of {count} bytes")
        if key in self._live:
            self._send(protocol.frame(protocol.GRANT, *key, count))

    def events(self) -> list[Event]:
        """Return what happened since the last call, in order; never blocks."""
        if not self._closed:
            self._turn()
        events, self._ready = self._ready, []
        return events

    def close(self, timeout: float) -> None:
        """End the fork server with all its processes, and give everything back. Idempotent.

        The ends are still reported by `events`.
        """
        if self._closed:
            return
        until = time.monotonic() + timeout
        self._closing = True
        self._send(protocol.frame(protocol.CLOSE))
        while not self._over and (left := until - time.monotonic()) > 0:
            self._epoll.poll(left)
            self._turn()
        if not self._over:
            _log.warning("the fork server did not end within %g s: killed", timeout)
            self._lose(_LAST_PATIENCE)
        while not self._over:
            self._mourn()
            time.sleep(0.001)
        self._closed = True
        self._epoll.close()
        self._sock.close()
        del self._waker

    def _tell(self, event: Event) -> None:
        """Add an event that does not come over the socket."""
        self._live.pop(event.key, None)
        self._ready.append(event)
        if not self._closed:
            self._waker.wake()

    def _send(self, data: bytes) -> None:
        if self._overdue is None and not self._closed:
            self._outbox.put(data)
            self._flush()

    def _flush(self) -> None:
        try:
            self._outbox.flush(self._sock.send)
        except ConnectionError:
            self._outbox = protocol.Outbox()  # reading will notice; its remaining messages come first
        except OSError as error:  # the kernel has no memory for it: it waits, as when the socket is full
            _log.warning("to the fork server: %s", error.strerror)
        writing = bool(self._outbox)
        if writing != self._writing:
            try:
                self._epoll.modify(self._sock, select.EPOLLIN | (select.EPOLLOUT if writing else 0))
                self._writing = writing
            except OSError:
                self._waker.wake()  # once more, in the next turn

    def _turn(self) -> None:
        self._waker.drain()
        if self._overdue is None:
            self._flush()
            self._hear()
        if self._overdue is not None and not self._over:
            self._mourn()

    def _hear(self) -> None:
        for _ in range(_READS):
            try:
                data = protocol.receive(self._sock)
            except OSError as error:
                _log.warning("from the fork server: %s", error.strerror)
                return  # the rest stays readable
            if data is None:
                self._lose(_PATIENCE)
            if not data:
                return
            for message in self._decoder.feed(data):
                if message[0] == protocol.NOTE:
                    self.notes.append(message[1])
                    _log.warning("fork server: %s", message[1])
                elif message[0] == protocol.WARMED:
                    self._warmed = True
                else:
                    self._accept(protocol.read_event(message))

    def _accept(self, event: Event) -> None:
        if event.key not in self._live:
            return  # its end was reported
        match event:
            case Created():
                self._live[event.key] = int(event.instance)
            case Ended() | CreateFailed():
                del self._live[event.key]
        self._ready.append(event)

    def _lose(self, patience: float) -> None:
        """Handle the fork server's loss: from now on its orphans are this process's children."""
        if self._overdue is None:
            with contextlib.suppress(OSError):
                self._epoll.unregister(self._sock)
        if self._server:
            tree.kill_all([self._server])  # a server without its socket is useless
        self._overdue = time.monotonic() + patience

    def _mourn(self) -> None:
        """Finish a dead fork server's work, without waiting, and report the ends when it is done.

        Its children die with it by their parent death signal; their descendants become our children.
        """
        assert self._overdue is not None
        try:
            self._bury()
        except OSError as error:
            if time.monotonic() >= self._overdue + _LAST_PATIENCE:
                raise
            _log.warning("what the fork server left could not be looked at: %s", error.strerror)
            self._waker.wake()

    def _bury(self) -> None:
        assert self._overdue is not None
        orphans = self._find_orphans()
        tree.kill_all(orphans)
        for ospid in orphans:
            _try_reap(ospid)
        # The order matters: once the fork server is reaped, all its children are ours, and a new list shows them.
        if self._server and _try_reap(self._server):
            self._servers.discard(self._server)
            self._server = 0
        if not self._server:
            orphans = self._find_orphans()
        if time.monotonic() < self._overdue and (self._server or orphans or self._groups.close()):
            self._waker.wake()
            return
        self._over = True
        note = "the provider was closed" if self._closing else _DIED
        if orphans:
            note += f"; killed, but not gone: OS processes {sorted(orphans)}"
        for key in list(self._live):
            self._tell(Ended(key, None, signal.SIGKILL, note=note))

    def _find_orphans(self) -> set[int]:
        session = os.getsid(0)
        return {
            ospid
            for ospid, stat in _look_at_children()
            if stat.session != session and (ospid, stat.started) not in self._strangers and ospid not in self._servers
        }


def _look_at_children() -> list[tuple[int, linux.Stat]]:
    children = descriptors.spared(tree.list_children)
    looks = ((ospid, descriptors.spared(linux.read_stat, ospid)) for ospid in children)
    return [(ospid, stat) for ospid, stat in looks if stat is not None]


def _try_reap(ospid: int) -> bool:
    """Return whether a child of this process is reaped."""
    try:
        return os.waitpid(ospid, os.WNOHANG)[0] == ospid
    except ChildProcessError:
        return True  # something else in this process has reaped it


def _start(plan: forkserver.Plan) -> tuple[socket.socket, int]:
    """Fork the fork server; return our end of the socket to it, and its pid."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    # Held until it has its own handlers: a Ctrl-C in between must only reach the supervisor.
    mask = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    try:
        server = os.fork()
        if server == 0:
            forkserver.main(theirs, plan)
    except OSError:
        ours.close()
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()
    ours.setblocking(False)
    return ours, server
