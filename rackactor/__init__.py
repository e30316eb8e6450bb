"""Virtual machines as Unix processes: fork, wait, kill, signal, and talk, by PID.

The same program runs on a laptop, where OS processes stand in for virtual machines.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from rackactor._version import __version__
from rackactor.actor import Actor
from rackactor.calls import (
    exit,
    fork,
    getgid,
    getpgid,
    getpid,
    getppid,
    kill,
    on_exit,
    pipe,
    pipes,
    process,
    ps,
    receive,
    run,
    signal,
    wait,
)
from rackactor.errors import (
    ActorNotMade,
    AuthenticationError,
    ForkError,
    ForkFailed,
    GroupEnded,
    HandlerFailed,
    InvalidCall,
    MailboxFull,
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
    SpawnIntensityExceeded,
    StartError,
)
from rackactor.grouping import Group, group, groups
from rackactor.processes import Process
from rackactor.session import Forked, Message
from rackactor.status import Cause, ExitStatus, State
from rackactor.systembase import SystemBase

if _TYPE_CHECKING:
    from rackactor.pipelines import Pipeline
    from rackactor.pipes.ends import Pipe, PipeReader, PipeWriter

#: What is imported when somebody asks for it: most programs start faster without.
_LATER = {
    "Pipe": "rackactor.pipes.ends",
    "PipeReader": "rackactor.pipes.ends",
    "PipeWriter": "rackactor.pipes.ends",
    "Pipeline": "rackactor.pipelines",
}


def __getattr__(name: str) -> _Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(_import_module(_LATER[name]), name)
    return found


__all__ = [
    "Actor",
    "ActorNotMade",
    "AuthenticationError",
    "Cause",
    "ExitStatus",
    "ForkError",
    "ForkFailed",
    "Forked",
    "Group",
    "GroupEnded",
    "HandlerFailed",
    "InvalidCall",
    "MailboxFull",
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
    "SpawnIntensityExceeded",
    "StartError",
    "State",
    "SystemBase",
    "__version__",
    "exit",
    "fork",
    "getgid",
    "getpgid",
    "getpid",
    "getppid",
    "group",
    "groups",
    "kill",
    "on_exit",
    "pipe",
    "pipes",
    "process",
    "ps",
    "receive",
    "run",
    "signal",
    "wait",
]
