"""The system calls as module functions, for the group this program is in."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import IO, TYPE_CHECKING, Any, NoReturn

from rackactor import membership
from rackactor.grouping import current_or_ephemeral
from rackactor.kernel import CALL_TIMEOUT
from rackactor.processes import Process
from rackactor.session import Message
from rackactor.status import ExitStatus

if TYPE_CHECKING:
    from rackactor.memory.locks import Lock
    from rackactor.pipelines import Pipeline


def fork(target: Any, *args: Any, **options: Any) -> Any:
    """Start processes as children of this one: see `Session.fork`.

    Outside any group it makes one of its own, which ends with the program.
    """
    return current_or_ephemeral().fork(target, *args, **options)


def wait(pid: int | Sequence[int] = -1, timeout: float | None = None) -> tuple[int, ExitStatus]:
    """Wait for the end of a process: see `Session.wait`."""
    return membership.current().wait(pid, timeout)


def kill(pid: int | Sequence[int], sig: int | str = "TERM") -> None:
    """Send a signal: see `Session.kill`."""
    membership.current().kill(pid, sig)


def signal(sig: int | str, handler: Any) -> Any:
    """Set what happens when this process gets a signal: see `Session.signal`."""
    return membership.current().signal(sig, handler)


def ps() -> list[dict[str, Any]]:
    """Return the process table of the group."""
    return membership.current().ps()


def getpid() -> int:
    """Return this process's pid in its group."""
    return membership.current().getpid()


def getppid() -> int:
    """Return its parent's pid."""
    return membership.current().getppid()


def getpgid(pid: int = 0) -> int:
    """Return the process group of a process (0: of this one)."""
    return membership.current().getpgid(pid)


def getgid() -> str:
    """Return the UUID of the group that this program is in."""
    return membership.current().gid


def process(pid: int) -> Process:
    """Return a handle on any process of the group."""
    return membership.current().process(pid)


def pipe(name: str | None = None, mode: str | None = None, **options: Any) -> Any:
    """Open a pipe: see `Session.pipe`. Outside any group it makes one, as `fork` does."""
    opened: Any = current_or_ephemeral().pipe
    return opened(name, mode, **options)


def pipes() -> list[dict[str, Any]]:
    """Return the pipes of the group: see `Session.pipes`."""
    return membership.current().pipes()


def run(target: Any, *args: Any, n: int = 1, **options: Any) -> Pipeline:
    """Describe a command of a pipeline: see `Session.run`. Outside any group it makes one, as `fork` does."""
    return current_or_ephemeral().run(target, *args, n=n, **options)


def receive(timeout: float | None = CALL_TIMEOUT) -> Message:
    """Take the next message from this process's mailbox: see `Session.receive`."""
    return membership.current().receive(timeout)


def lock(name: str, timeout: float | None = 60.0) -> Lock:
    """Return a lock of the group: `with rack.lock("name") as token:`.

    First come, first served; released when its process ends; not re-entrant. The token grows with each grant.

    Args:
        name: the same name is the same lock.
        timeout: seconds to wait for it; None: no bound.
    """
    return current_or_ephemeral().lock(name, timeout)


def open(
    path: str | os.PathLike[str],
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> IO[Any]:
    """Open a file of the group: see `Session.open`."""
    return membership.current().open(path, mode, buffering, encoding, errors, newline)


def listdir(path: str | os.PathLike[str] = "/") -> list[str]:
    """Return the names in a directory of the group's files."""
    return membership.current().listdir(path)


def exit(code: int = 0) -> NoReturn:
    """End this process with an exit code, 0-255; `on_exit` hooks run."""
    sys.exit(code)


def on_exit(hook: Callable[[], Any]) -> None:
    """Run a function when this process exits by itself."""
    membership.current().on_exit(hook)
