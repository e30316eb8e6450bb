"""Actors: Thespian's, with the system calls as methods."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from thespian.actors import ActorTypeDispatcher

from rackactor import calls, membership
from rackactor.address import RackAddress
from rackactor.arguments import ForkOptions
from rackactor.errors import InvalidCall
from rackactor.processes import Process
from rackactor.session import Forked
from rackactor.status import ExitStatus

if TYPE_CHECKING:
    from rackactor.files.filesystem import RackFileSystem
    from rackactor.memory.face import Memory
    from rackactor.memory.locks import Lock
    from rackactor.pipes.ends import PipeReader, PipeWriter
    from rackactor.pipes.fifo import Pipe


class Actor(ActorTypeDispatcher):  # type: ignore[misc]
    """An actor that is a process of a group.

    Write handlers as Thespian's `ActorTypeDispatcher` has them: `receiveMsg_int(self, message, sender)` for an int,
    `receiveMsg_MyClass` for a MyClass, `receiveUnrecognizedMessage` for the rest. `self.send(sender, reply)`
    answers. The system calls are methods too.
    """

    def receiveSignal(self, sig: str, sender: int) -> None:
        """Take a free-string signal; override it. POSIX signals are real ones: see `rack.signal`.

        Args:
            sig: the string.
            sender: pid of the process that sent it.
        """

    #: `rack.open`, with its types.
    open = staticmethod(calls.open)

    @overload
    def fork(
        self, target: Any, *args: Any, n: None = None, each: None = None, **options: Unpack[ForkOptions]
    ) -> Process: ...
    @overload
    def fork(self, target: Any, *args: Any, n: int, each: None = None, **options: Unpack[ForkOptions]) -> Forked: ...
    @overload
    def fork(
        self, target: Any, *args: Any, n: None = None, each: Iterable[Any], **options: Unpack[ForkOptions]
    ) -> Forked: ...
    def fork(self, target: Any, *args: Any, **options: Any) -> Any:
        """Start processes as children of this one: see `rack.fork`."""
        return calls.fork(target, *args, **options)

    @overload
    def pipe(self, name: None = None, mode: None = None, **options: Any) -> tuple[PipeReader, PipeWriter]: ...
    @overload
    def pipe(self, name: str, mode: None = None, **options: Any) -> Pipe: ...
    @overload
    def pipe(self, name: str, mode: Literal["r"], **options: Any) -> PipeReader: ...
    @overload
    def pipe(self, name: str, mode: Literal["w"], **options: Any) -> PipeWriter: ...
    def pipe(self, name: str | None = None, mode: str | None = None, **options: Any) -> Any:
        """Open a pipe: see `rack.pipe`."""
        opened: Any = calls.pipe
        return opened(name, mode, **options)

    def wait(self, pid: int | Sequence[int] = -1, timeout: float | None = None) -> tuple[int, ExitStatus]:
        """Wait for the end of a process: see `rack.wait`."""
        return calls.wait(pid, timeout)

    def kill(self, pid: int | Sequence[int], sig: int | str = "TERM") -> None:
        """Send a signal: see `rack.kill`."""
        calls.kill(pid, sig)

    def signal(self, sig: int | str, handler: Any) -> Any:
        """Set what happens when this process gets a signal: see `rack.signal`."""
        return calls.signal(sig, handler)

    def ps(self) -> list[dict[str, Any]]:
        """Return the process table of the group."""
        return calls.ps()

    def getpid(self) -> int:
        """Return this process's pid."""
        return calls.getpid()

    def getppid(self) -> int:
        """Return its parent's pid."""
        return calls.getppid()

    def getgid(self) -> str:
        """Return the UUID of its group."""
        return calls.getgid()

    def process(self, who: int | RackAddress) -> Process:
        """Return a handle on a process, by pid or by address."""
        return calls.process(pid_of(who))

    @property
    def shm(self) -> Memory:
        """The group's shared memory: see `rack.shm`."""
        return membership.current().shm

    def lock(self, name: str, timeout: float | None = 60.0) -> Lock:
        """Return a lock of the group: see `rack.lock`."""
        return calls.lock(name, timeout)

    def listdir(self, path: str | os.PathLike[str] = "/") -> list[str]:
        """Return the names in a directory of the group's files."""
        return calls.listdir(path)

    @cached_property
    def fs(self) -> RackFileSystem:
        """The group's files as an fsspec file system."""
        return membership.current().fs

    def exit(self, code: int = 0) -> None:
        """End this process with an exit code, 0-255."""
        calls.exit(code)

    def on_exit(self, hook: Callable[[], Any]) -> None:
        """Run a function when this process exits by itself."""
        calls.on_exit(hook)


def pid_of(who: int | RackAddress) -> int:
    """Return the pid behind an address, or the pid itself."""
    if isinstance(who, RackAddress):
        return who.pid
    if isinstance(who, int):
        return who
    raise InvalidCall(f"a process is named by its pid or its address, not by {who!r}")
