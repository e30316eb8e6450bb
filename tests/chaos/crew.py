"""The processes that a load is made of: forked, hit by faults, replaced, ended."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from support import eventually

import rackactor as rack

from .faults import Fault

#: Seconds in which a process that was killed must be known to be dead, and one that is told to end must end.
PATIENCE = 60.0


@dataclass
class Member:
    """One life of a process of the load."""

    label: int
    role: str
    process: rack.Process
    killed: bool = False
    #: What it has returned.
    result: Any = None
    _os_pid: int = 0

    @property
    def os_pid(self) -> int:
        """Its OS pid, once the provider has told of it."""
        if not self._os_pid:
            assert eventually(lambda: self.process.info()["instance"], PATIENCE), (
                f"{self.role} {self.label} has not started"
            )
            self._os_pid = int(self.process.info()["instance"])
        return self._os_pid


@dataclass
class Crew:
    """All processes of a load, those that have ended too."""

    members: list[Member] = field(default_factory=list)
    hits: dict[str, int] = field(default_factory=dict)

    def add(self, role: str, start: Callable[[int], rack.Process]) -> Member:
        """Start a process; `start` is called with its label, which no other has."""
        label = len(self.members) + 1
        member = Member(label, role, start(label))
        self.members.append(member)
        return member

    def alive(self, role: str) -> list[Member]:
        """Return those of a role that were not killed and have not ended."""
        return [m for m in self.members if m.role == role and not m.killed and m.process.is_alive()]

    def all(self, role: str) -> list[Member]:
        """Return all that ever had a role."""
        return [m for m in self.members if m.role == role]

    def kill(self, member: Member) -> None:
        """Kill -9, and wait until the group knows."""
        with suppress(ProcessLookupError):
            os.kill(member.os_pid, signal.SIGKILL)
        if member.process.wait(timeout=PATIENCE).signal == signal.SIGKILL:  # it may have ended meanwhile
            member.killed = True
            self.count(f"{member.role}s killed")

    def pause(self, member: Member, fault: Fault) -> None:
        """Stop a process for a while: it neither works nor answers, and is not dead."""
        with suppress(ProcessLookupError):
            os.kill(member.os_pid, signal.SIGSTOP)
            self.count(f"{member.role}s stopped for a while")
        time.sleep(fault.lasts)
        with suppress(ProcessLookupError):
            os.kill(member.os_pid, signal.SIGCONT)

    def count(self, what: str) -> None:
        """Count a fault."""
        self.hits[what] = self.hits.get(what, 0) + 1

    def finish(self, role: str, seconds: float) -> list[str]:
        """Wait until all of a role have returned; return what is wrong with those that have not been killed."""
        until = time.monotonic() + max(1.0, min(seconds, 2 * PATIENCE))
        wrong = []
        for member in self.all(role):
            if not member.killed:
                try:
                    member.result = member.process.result(timeout=max(0.0, until - time.monotonic()))
                except Exception as error:
                    wrong.append(f"{role} {member.label}: {type(error).__name__}: {error}")
        return wrong


def strike(lab: Any, fault: Fault, crew: Crew) -> None:
    """Cut paths of the network for a while: direct ones, or all of one namespace."""
    if fault.kind == "cut":
        crew.count("direct paths cut for a while")
        lab.cut_between()
        time.sleep(fault.lasts)
        lab.mend_between()
    else:
        crew.count("namespaces cut off for a while")
        number = int(fault.whom * len(lab.names))
        lab.cut(number)
        time.sleep(fault.lasts)
        lab.mend(number)
