"""Virtual machines as Unix processes: fork, wait, kill, signal, and talk, by PID.

The same program runs on a laptop, where OS processes stand in for virtual machines.
"""

from rackactor.system import platform_check as _platforms  # noqa: F401 - it refuses systems without what the rest needs

# isort: split
from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from rackactor._version import __version__
from rackactor.actors.actor import Actor
from rackactor.actors.system_base import SystemBase
from rackactor.errors import (
    ActorNotMade,
    AuthenticationError,
    CannotOpen,
    ConflictError,
    ForkError,
    ForkFailed,
    GroupEnded,
    HandlerFailed,
    InvalidCall,
    LockError,
    MailboxFull,
    MemoryFull,
    NoChild,
    NoGroup,
    NoReader,
    NoSuchProcess,
    NotAllowed,
    OutputLost,
    PipeBroken,
    PipeClosed,
    PipeEnded,
    ProcessDied,
    ProtocolError,
    RackError,
    RackTimeout,
    RemoteTraceback,
    RevisionGone,
    ServiceFailed,
    SpawnIntensityExceeded,
    StartError,
)
from rackactor.ipc.memory.watch import Changed
from rackactor.status import Cause, ExitStatus, State
from rackactor.syscalls.fork_call import Forked
from rackactor.syscalls.functions import (
    exit,
    fork,
    getgid,
    getpgid,
    getpid,
    getppid,
    kill,
    listdir,
    lock,
    on_exit,
    open,
    pipe,
    pipes,
    process,
    ps,
    receive,
    run,
    signal,
    wait,
)
from rackactor.syscalls.group import Group, group, groups
from rackactor.syscalls.message import Message
from rackactor.syscalls.process import Process
from rackactor.syscalls.shm import shm
from rackactor.system.executable import freeze_support, set_executable

if _TYPE_CHECKING:
    from rackactor.ipc.files.filesystem import RackFileSystem
    from rackactor.ipc.pipes.ends import PipeReader, PipeWriter
    from rackactor.ipc.pipes.fifo import Pipe
    from rackactor.syscalls.pipeline import Pipeline

    #: The files of the group that this program is in, as an fsspec file system; made, with fsspec, at its first use.
    fs: RackFileSystem

#: What is imported at its first use: most programs start faster without it.
_LATER = {
    "Pipe": "rackactor.ipc.pipes.fifo",
    "PipeReader": "rackactor.ipc.pipes.ends",
    "PipeWriter": "rackactor.ipc.pipes.ends",
    "Pipeline": "rackactor.syscalls.pipeline",
}


__all__ = [
    "Actor",
    "ActorNotMade",
    "AuthenticationError",
    "CannotOpen",
    "Cause",
    "Changed",
    "ConflictError",
    "ExitStatus",
    "ForkError",
    "ForkFailed",
    "Forked",
    "Group",
    "GroupEnded",
    "HandlerFailed",
    "InvalidCall",
    "LockError",
    "MailboxFull",
    "MemoryFull",
    "Message",
    "NoChild",
    "NoGroup",
    "NoReader",
    "NoSuchProcess",
    "NotAllowed",
    "OutputLost",
    "Pipe",
    "PipeBroken",
    "PipeClosed",
    "PipeEnded",
    "PipeReader",
    "PipeWriter",
    "Pipeline",
    "Process",
    "ProcessDied",
    "ProtocolError",
    "RackError",
    "RackTimeout",
    "RemoteTraceback",
    "RevisionGone",
    "ServiceFailed",
    "SpawnIntensityExceeded",
    "StartError",
    "State",
    "SystemBase",
    "__version__",
    "exit",
    "fork",
    "freeze_support",
    "getgid",
    "getpgid",
    "getpid",
    "getppid",
    "group",
    "groups",
    "kill",
    "listdir",
    "lock",
    "on_exit",
    "open",
    "pipe",
    "pipes",
    "process",
    "ps",
    "receive",
    "run",
    "set_executable",
    "shm",
    "signal",
    "wait",
]


def __getattr__(name: str) -> _Any:
    """Return a name whose import is expensive and that most programs do not use; `fs` imports fsspec."""
    if name == "fs":
        from rackactor.ipc.files.filesystem import RackFileSystem

        globals()["fs"] = made = RackFileSystem()
        return made
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(_import_module(_LATER[name]), name)
    return found
