"""What an agent is told when it joins: who it is, what it runs, and by which bounds it lives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class Welcome:
    """See the module."""

    gid: str
    pid: int
    ppid: int
    #: Seconds between its heartbeats.
    heartbeat: float
    #: Seconds without the supervisor after which it ends itself.
    lease: float
    #: The name of the group, and of the process.
    group: str = ""
    name: str = ""
    pgid: int = 0
    incarnation: int = 1
    #: Messages may be pickled.
    pickle: bool = True
    #: Processes run where neither the script's disk nor the supervisor's directories are.
    remote: bool = False
    #: (major, minor) of the supervisor's Python: bytecode is for one only.
    python: Sequence[int] | None = None
    #: Seconds that a process may take to come up where it is a machine, else 0.
    boot_timeout: float = 0.0
    #: "actor", "function" or "command"; "" for who was not forked.
    kind: str = ""
    #: It has a standard input that others write to.
    stdin: bool = False
    #: A command's argv.
    words: Sequence[str] = ()
    #: Which pipes are its standard files, by the name of the file.
    streams: Mapping[str, Any] = field(default_factory=dict)
    #: Hashes of archives with the program's code.
    code: Sequence[str] = ()
    #: What the group's actor system can do: see `rackactor.actors.capabilities`.
    capabilities: Mapping[str, bytes] = field(default_factory=dict)
    #: For the guest program of a machine: what it is to start.
    order: Mapping[str, Any] = field(default_factory=dict)
    #: Target and arguments.
    blobs: Sequence[Any] = ()

    @classmethod
    def from_wire(cls, told: Mapping[str, Any], blobs: Sequence[Any]) -> Welcome:
        """Take what a supervisor says; what this version does not know has no consequence.

        Raises:
            TypeError: something is missing.
        """
        return cls(**{name: told[name] for name in _NAMES if told.get(name) is not None}, blobs=blobs)


_NAMES = tuple(each.name for each in fields(Welcome) if each.name != "blobs")
