"""Virtual machines as Unix processes: fork, wait, kill, signal, and talk, by PID.

The same program runs on a laptop, where OS processes stand in for virtual machines.
"""

from typing import TYPE_CHECKING, Any

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
    listdir,
    on_exit,
    open,
    process,
    ps,
    receive,
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
    NoSuchProcess,
    NotAllowed,
    OutputLost,
    ProcessDied,
    ProtocolError,
    RackError,
    RackTimeout,
    RemoteTraceback,
    ServiceFailed,
    SpawnIntensityExceeded,
    StartError,
)
from rackactor.grouping import Group, group, groups
from rackactor.processes import Process
from rackactor.session import Forked, Message
from rackactor.status import Cause, ExitStatus, State
from rackactor.systembase import SystemBase

if TYPE_CHECKING:
    from rackactor.files.filesystem import RackFileSystem

    #: The files of the group that this program is in, as an fsspec file system; made, with fsspec, at its first use.
    fs: RackFileSystem

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
    "NoSuchProcess",
    "NotAllowed",
    "OutputLost",
    "Process",
    "ProcessDied",
    "ProtocolError",
    "RackError",
    "RackTimeout",
    "RemoteTraceback",
    "ServiceFailed",
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
    "listdir",
    "on_exit",
    "open",
    "process",
    "ps",
    "receive",
    "signal",
    "wait",
]


def __getattr__(name: str) -> Any:
    """Return `fs`, which costs the import of fsspec: only who uses it pays."""
    if name != "fs":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from rackactor.files.filesystem import RackFileSystem

    globals()["fs"] = made = RackFileSystem()
    return made
