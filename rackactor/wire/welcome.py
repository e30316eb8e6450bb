"""What an agent is told when it joins: its identity, its program, and its limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, fields
from typing import Any

from rackactor.records import dataclass


@dataclass(frozen=True)
class Welcome:
    """See the module."""

    gid: str
    pid: int
    ppid: int
    #: Seconds between its heartbeats.
    heartbeat: float
    #: Seconds without contact to the supervisor after which the process ends itself.
    lease: float
    #: The name of the group, and of the process.
    group: str = ""
    name: str = ""
    pgid: int = 0
    incarnation: int = 1
    #: Messages may be pickled.
    pickle: bool = True
    #: Processes run where neither the script's disk nor the supervisor's directories can be seen.
    remote: bool = False
    #: (major, minor) of the supervisor's Python: bytecode fits only one version.
    python: Sequence[int] | None = None
    #: Seconds that a process may take to come up where it is a machine, else 0.
    boot_timeout: float = 0.0
    #: "actor", "function" or "command"; "" if it was not forked.
    kind: str = ""
    #: It has a standard input that other processes write to.
    stdin: bool = False
    #: A command's argv.
    words: Sequence[str] = ()
    #: The pipes that are its standard files, by the name of the file.
    streams: Mapping[str, Any] = field(default_factory=dict)
    #: Hashes of archives with the program's code.
    code: Sequence[str] = ()
    #: The capabilities of the group's actor system: see `rackactor.actors.capabilities`.
    capabilities: Mapping[str, bytes] = field(default_factory=dict)
    #: For the guest program of a machine: what to start.
    order: Mapping[str, Any] = field(default_factory=dict)
    #: Target and arguments.
    blobs: Sequence[Any] = ()

    @classmethod
    def from_wire(cls, told: Mapping[str, Any], blobs: Sequence[Any]) -> Welcome:
        """Build a welcome from a supervisor's message; unknown fields are ignored.

        Raises:
            TypeError: a field is missing.
        """
        return cls(**{name: told[name] for name in _NAMES if told.get(name) is not None}, blobs=blobs)


_NAMES = tuple(each.name for each in fields(Welcome) if each.name != "blobs")
