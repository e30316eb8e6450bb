"""The system calls as module functions, for the group this program is in.

Each is the method of the same name of a group (`rackactor.syscalls.session.Session`), and has its docstring.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import IO, TYPE_CHECKING, Any, NoReturn, cast

from rackactor import current
from rackactor.status import ExitStatus
from rackactor.syscalls.describing import says
from rackactor.syscalls.fork_call import typed
from rackactor.syscalls.group import current_or_ephemeral
from rackactor.syscalls.message import Message
from rackactor.syscalls.pipe_call import typed_pipe
from rackactor.syscalls.process import Process
from rackactor.syscalls.session import Session
from rackactor.units import DEFAULT_TIMEOUT, Timeout

if TYPE_CHECKING:
    from rackactor.ipc.memory.locks import Lock
    from rackactor.syscalls.pipeline import Pipeline

_MAKES_ONE = "Outside any group this makes one, which ends with the program."


def session() -> Session:
    """Return the membership of this program in its group.

    Raises:
        NoGroup: it is in none, or cannot join it.
    """
    return cast(Session, current.current())


def _join() -> Session:
    from rackactor.syscalls import joining

    return joining.join()


current.join = _join


@typed
@says(Session.fork, _MAKES_ONE)
def fork(target: Any, *args: Any, **options: Any) -> Any:
    return current_or_ephemeral().fork(target, *args, **options)


@says(Session.wait)
def wait(pid: int | Sequence[int] = -1, timeout: float | None = None) -> tuple[int, ExitStatus]:
    return session().wait(pid, timeout)


@says(Session.kill)
def kill(pid: int | Sequence[int], sig: int | str = "TERM") -> None:
    session().kill(pid, sig)


@says(Session.signal)
def signal(sig: int | str, handler: Any) -> Any:
    return session().signal(sig, handler)


@says(Session.ps)
def ps() -> list[dict[str, Any]]:
    return session().ps()


@says(Session.getpid)
def getpid() -> int:
    return session().getpid()


@says(Session.getppid)
def getppid() -> int:
    return session().getppid()


@says(Session.getpgid)
def getpgid(pid: int = 0) -> int:
    return session().getpgid(pid)


def getgid() -> str:
    """Return the UUID of the group that this program is in."""
    return session().gid


@says(Session.process)
def process(pid: int) -> Process[Any]:
    return session().process(pid)


@typed_pipe
@says(Session.pipe, _MAKES_ONE)
def pipe(name: str | None = None, mode: str | None = None, **options: Any) -> Any:
    opened: Any = current_or_ephemeral().pipe
    return opened(name, mode, **options)


@says(Session.pipes)
def pipes() -> list[dict[str, Any]]:
    return session().pipes()


@says(Session.run, _MAKES_ONE)
def run(target: Any, *args: Any, n: int = 1, **options: Any) -> Pipeline:
    return current_or_ephemeral().run(target, *args, n=n, **options)


@says(Session.receive)
def receive(timeout: Timeout = DEFAULT_TIMEOUT) -> Message:
    return session().receive(timeout)


@says(Session.lock, _MAKES_ONE)
def lock(name: str, timeout: Timeout = DEFAULT_TIMEOUT) -> Lock:
    return current_or_ephemeral().lock(name, timeout)


@says(Session.open)
def open(
    path: str | os.PathLike[str],
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> IO[Any]:
    return session().open(path, mode, buffering, encoding, errors, newline)


@says(Session.listdir)
def listdir(path: str | os.PathLike[str] = "/") -> list[str]:
    return session().listdir(path)


def exit(code: int = 0) -> NoReturn:
    """End this process with an exit code, 0-255; `on_exit` hooks run."""
    sys.exit(code)


@says(Session.on_exit)
def on_exit(hook: Callable[[], Any]) -> None:
    session().on_exit(hook)
