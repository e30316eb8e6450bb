"""The fork server: a process that makes a group's processes, and leaves none of them behind.

It is single-threaded, and forked from the supervisor before that has a thread or a socket, so a fork of
it is always safe and takes a millisecond. It ends with the supervisor: when the socket between
them closes, everything ends, and the supervisor's state directory is removed.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import os
import selectors
import signal
import socket
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn, TypeVar

from rackactor.launch import directories, process_context
from rackactor.records import dataclass
from rackactor_runtime import descriptors
from rackactor_runtime.providers.base import Event, Key
from rackactor_runtime.providers.local import child, linux, protocol
from rackactor_runtime.providers.local.cgroup import MemoryGroups
from rackactor_runtime.providers.local.children import PATIENCE, Children, Request
from rackactor_runtime.providers.local.warm_pool import Pool

#: Seconds from the order to end until the server goes, even if something does not die.
ENDING = PATIENCE + 2.0
#: Errors of the operating system that are noted; seconds until the failed action is tried again.
_FAULTS, _PAUSE = 100, 0.01

R = TypeVar("R")
_NOTHING: list[Callable[[], None]] = []


@dataclass(frozen=True)
class Plan:
    """What the supervisor tells its fork server at the start."""

    #: Removed when the supervisor dies; "" for none.
    state_dir: str
    preload: Sequence[str]
    #: What children run, or why that is impossible.
    program: child.Program | str
    #: How many children wait, at most and at first.
    warm: int
    first_warm: int
    #: The supervisor's OS pid.
    supervisor: int
    #: The soft limit on open files for children.
    descriptors: int
    groups: MemoryGroups
    #: Paths of the network namespaces for processes, used in turns; none: they stay in the supervisor's.
    networks: Sequence[str] = ()


def main(sock: socket.socket, plan: Plan) -> NoReturn:
    """Run the fork server, in a newly forked process with all signals held."""
    code = child.EXIT_EXCEPTION
    try:
        _settle(sock)
        ForkServer(sock, plan).serve()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        child.flush()
        os._exit(code)


def _settle(sock: socket.socket) -> None:
    """Release the supervisor's terminal, descriptors and handlers."""
    os.setsid()
    linux.become_subreaper()
    linux.set_name("rack-forkserver")
    child.reset_signals(child.list_changed_signals())
    faulthandler.disable()  # it would write to whatever file has its descriptor's number by then
    child.disinherit_hooks()
    descriptors.lead_nowhere(0, 1)
    gc.collect()  # garbage that owns a descriptor must not close the new one of that number later
    linux.close_from(3, keep=sock.fileno())
    child.replace_streams()
    descriptors.keep_reserve()


def load_agent() -> child.Program | str:
    """Import the agent, or return why that is impossible."""
    try:
        boot: Any = importlib.import_module("rackactor_runtime.agent.main")
        rehearsal: Any = importlib.import_module("rackactor_runtime.agent.warmup")
        return child.Program(boot.main, (boot.prepare,), rehearsal.warm_up, boot.expect, rehearsal.rehearse)
    except Exception as error:
        return f"cannot import the agent: {error!r}"


class ForkServer:
    """The server's event loop, over the supervisor's socket, its children's pipes, and their deaths."""

    def __init__(self, sock: socket.socket, plan: Plan) -> None:
        self._sock = sock
        self._plan = plan
        self._state_dir = plan.state_dir
        self._selector = selectors.DefaultSelector()
        self._decoder = protocol.Decoder()
        self._outbox = protocol.Outbox()
        # The same socket once more: its readability is watched for ever, and this as long as something waits. To change
        # what is watched of one may fail half-way.
        self._outlet = os.dup(sock.fileno())
        self._waiting = False
        self._overdue: float | None = None  # when it ends, whatever is left; None: not ending
        self._lost = False  # the supervisor is gone
        self._warmed = False  # the supervisor was told that the warm processes are ready
        self._faults = 0
        self._waker = self._hang_bell()
        self._preload()
        self._practise()
        process_context.note_base(plan.descriptors)
        child.flush()  # otherwise each child would repeat what a module printed while it was imported
        gc.collect()
        gc.freeze()  # a collection in a child would otherwise copy every shared page
        self._nursery = self._make_nursery()
        sock.setblocking(False)
        self._selector.register(sock, selectors.EVENT_READ, self._listen)
        self._selector.register(self._waker, selectors.EVENT_READ, self._wake)

    def serve(self) -> None:
        """Work until there is nothing left to do."""
        # In addition to the socket's end: a copy of it in another child of the supervisor would keep it open.
        linux.set_parent_death_signal(signal.SIGCHLD)
        self._wake()
        while not self._finished():
            for act in self._guarded(self._await, _NOTHING):
                self._guarded(act, None)
            self._guarded(self._nursery.reap, None)
            # Not all in one turn, so that many of them do not delay ends and output.
            self._guarded(self._nursery.step if self._nursery.has_pending else self._nursery.rest, None)
            if not self._warmed and self._nursery.warmed:
                self._warmed = True
                self._outbox.put(protocol.frame(protocol.WARMED))
            self._flush()
        self._leave()

    def _await(self) -> list[Callable[[], None]]:
        """Wait until there is something to do, and return it."""
        return [key.data for key, _ in self._selector.select(self._patience())]

    def _guarded(self, act: Callable[[], R], otherwise: R) -> R:
        """Do one thing; if the operating system gives an error, only this is affected, and tried in the next turn."""
        try:
            return act()
        except (OSError, MemoryError) as error:
            self._faults += 1
            if self._faults <= _FAULTS:
                self._note(f"an error of the operating system: {error or type(error).__name__}")
            time.sleep(_PAUSE)
            return otherwise

    def _hang_bell(self) -> int:
        """Make signals wake the loop; return the descriptor to watch."""
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        signal.pthread_sigmask(signal.SIG_SETMASK, child.HELD)
        return reading

    def _preload(self) -> None:
        for name in self._plan.preload:
            try:
                importlib.import_module(name)
            except (Exception, SystemExit) as error:
                self._note(f"cannot preload {name!r}: {error!r}")
        if len(os.listdir("/proc/self/task")) > 1:
            self._note(f"preloading {list(self._plan.preload)} started threads, which children will not have")

    def _practise(self) -> None:
        program = self._plan.program
        if isinstance(program, str) or program.warm_up is None:
            return
        try:
            program.warm_up()
        except Exception as error:
            self._note(f"processes will be slow to come up: {error!r}")

    def _make_nursery(self) -> Children:
        plan = self._plan
        if isinstance(plan.program, str):
            return Children(self._emit, self._selector, plan.groups, plan.program)
        origin = child.ForkContext(plan.program, os.getpid(), child.list_changed_signals(), plan.descriptors)
        warm = Pool(origin, plan.warm, plan.first_warm, self._selector, self._note)
        # The directory of all groups, which contains this one's.
        hidden = [os.path.dirname(plan.state_dir)] if plan.state_dir else []
        return Children(self._emit, self._selector, plan.groups, origin, warm, plan.networks, hidden)

    def _patience(self) -> float | None:
        if self._nursery.has_pending:
            return 0
        waits = [self._nursery.patience()]
        if self._outbox and not self._waiting:
            waits.append(_PAUSE)
        if self._overdue is not None:
            waits.append(max(0.0, self._overdue - time.monotonic()))
        return min((wait for wait in waits if wait is not None), default=None)

    def _finished(self) -> bool:
        if self._overdue is None:
            return False
        return (self._nursery.empty and (self._lost or not self._outbox)) or time.monotonic() >= self._overdue

    def _wake(self) -> None:
        """Handle a signal: the dead are reaped in each turn, a lost supervisor is only noticed here."""
        try:
            while os.read(self._waker, 4096):
                pass
        except BlockingIOError:
            pass
        if os.getppid() != self._plan.supervisor:
            self._lose()

    def _listen(self) -> None:
        data = protocol.receive(self._sock)
        if data is None:
            self._lose()
            return
        for message in self._decoder.feed(data):
            self._guarded(partial(self._obey, message), None)

    def _obey(self, message: list[Any]) -> None:
        match message:
            case [protocol.EXPECT, common]:
                self._nursery.expect(common)
            case [protocol.MOVED, state_dir]:
                self._state_dir = state_dir
                self._nursery.hide(os.path.dirname(state_dir))
            case [protocol.SETTLED]:
                self._nursery.settled()
            case [protocol.CREATE, pid, incarnation, birth, env, cwd, memory, inherited]:
                self._nursery.add(Request(Key(pid, incarnation), birth, env, cwd, memory, inherited))
            case [protocol.DELETE, pid, incarnation]:
                self._nursery.delete(Key(pid, incarnation))
            case [protocol.GRANT, pid, incarnation, count]:
                self._nursery.grant(Key(pid, incarnation), count)
            case [protocol.CLOSE]:
                self._end()
            case _:
                raise ValueError(f"not a request: {message!r:.200}")

    def _end(self) -> None:
        if self._overdue is None:
            self._overdue = time.monotonic() + ENDING
        self._nursery.end_all()

    def _lose(self) -> None:
        """Handle the supervisor's loss: nobody is left to report to."""
        if not self._lost:
            self._lost = True
            self._selector.unregister(self._sock)
            if self._waiting:
                self._selector.unregister(self._outlet)
            self._end()

    def _emit(self, event: Event) -> None:
        if not self._lost:
            self._outbox.put(protocol.event_frame(event))

    def _note(self, text: str) -> None:
        self._outbox.put(protocol.frame(protocol.NOTE, text))

    def _flush(self) -> None:
        if self._lost:
            return
        try:
            self._outbox.flush(self._sock.send)
        except ConnectionError:
            self._lose()
            return
        except OSError:
            pass  # the kernel has no memory for it: it waits, as when the socket is full
        if bool(self._outbox) == self._waiting:
            return
        if self._waiting:
            self._selector.unregister(self._outlet)
            self._waiting = False
        else:
            with contextlib.suppress(OSError):  # no room to watch one more: see `_patience`
                self._selector.register(self._outlet, selectors.EVENT_WRITE, lambda: None)
                self._waiting = True

    def _groups_left(self) -> bool:
        return self._plan.groups.tidy() | self._plan.groups.close()

    def _leave(self) -> None:
        """Release everything that is not a process."""
        until = time.monotonic() + 1.0
        while self._guarded(self._groups_left, True) and time.monotonic() < until:
            time.sleep(0.01)  # the kernel empties a control group a moment after its last process
        if self._lost and self._state_dir:
            directories.remove(self._state_dir)
