"""The system calls as module functions, for the group this program is in.

Each is the method of the same name of a group (`rackactor.syscalls.session.Session`), and has its docstring.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Sequence
from typing import IO, TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from rackactor import current
from rackactor.status import ExitStatus
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

_F = TypeVar("_F", bound=Callable[..., Any])
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


def _says(method: Callable[..., Any], more: str = "") -> Callable[[_F], _F]:
    """Decorate a function with the docstring and the signature of a method."""

    def describe(function: _F) -> _F:
        text = inspect.getdoc(method) or ""
        function.__doc__ = f"{text}\n\n{more}" if more else text
        signature = inspect.signature(method)
        _, *rest = signature.parameters.values()
        function.__signature__ = signature.replace(parameters=rest)  # type: ignore[attr-defined]
        return function

    return describe


@typed
@_says(Session.fork, _MAKES_ONE)
def fork(target: Any, *args: Any, **options: Any) -> Any:
    return current_or_ephemeral().fork(target, *args, **options)


@_says(Session.wait)
def wait(pid: int | Sequence[int] = -1, timeout: float | None = None) -> tuple[int, ExitStatus]:
    return session().wait(pid, timeout)


@_says(Session.kill)
def kill(pid: int | Sequence[int], sig: int | str = "TERM") -> None:
    session().kill(pid, sig)


@_says(Session.signal)
def signal(sig: int | str, handler: Any) -> Any:
    return session().signal(sig, handler)


@_says(Session.ps)
def ps() -> list[dict[str, Any]]:
    return session().ps()


@_says(Session.getpid)
def getpid() -> int:
    return session().getpid()


@_says(Session.getppid)
def getppid() -> int:
    return session().getppid()


@_says(Session.getpgid)
def getpgid(pid: int = 0) -> int:
    return session().getpgid(pid)


def getgid() -> str:
    """Return the UUID of the group that this program is in."""
    return session().gid


@_says(Session.process)
def process(pid: int) -> Process[Any]:
    return session().process(pid)


@typed_pipe
@_says(Session.pipe, _MAKES_ONE)
def pipe(name: str | None = None, mode: str | None = None, **options: Any) -> Any:
    opened: Any = current_or_ephemeral().pipe
    return opened(name, mode, **options)


@_says(Session.pipes)
def pipes() -> list[dict[str, Any]]:
    return session().pipes()


@_says(Session.run, _MAKES_ONE)
def run(target: Any, *args: Any, n: int = 1, **options: Any) -> Pipeline:
    return current_or_ephemeral().run(target, *args, n=n, **options)


@_says(Session.receive)
def receive(timeout: Timeout = DEFAULT_TIMEOUT) -> Message:
    return session().receive(timeout)


def lock(name: str, timeout: Timeout = DEFAULT_TIMEOUT) -> Lock:
    """Return a lock of the group: `with rack.lock("name") as token:`.

    First come, first served; released when its process ends; not re-entrant. The token grows with each grant.

    Args:
        name: the same name is the same lock.
        timeout: seconds to wait for it; None: no bound.
    """
    return current_or_ephemeral().lock(name, timeout)


@_says(Session.open)
def open(
    path: str | os.PathLike[str],
    mode: str = "r",
    buffering: int = -1,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> IO[Any]:
    return session().open(path, mode, buffering, encoding, errors, newline)


@_says(Session.listdir)
def listdir(path: str | os.PathLike[str] = "/") -> list[str]:
    return session().listdir(path)


def exit(code: int = 0) -> NoReturn:
    """End this process with an exit code, 0-255; `on_exit` hooks run."""
    sys.exit(code)


@_says(Session.on_exit)
def on_exit(hook: Callable[[], Any]) -> None:
    session().on_exit(hook)
