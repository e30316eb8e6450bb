"""A provider whose instances are virtual machines, on any cloud that can do five things (`Cloud`).

It knows what a cloud has, and what the program on each machine says (`rackactor_runtime.guest`); what follows from
that is decided in `machinelife`. A cloud's calls block, so they are made in a few threads; what comes of them is told
through one descriptor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from rackactor_runtime.providers.base import Event, Key, Order, Say, Vital


@dataclass(frozen=True)
class Machine:
    """What is to be made."""

    #: Finds it again after an unclear answer: "gid.pid.incarnation", in the server's metadata as `rack_key`.
    mark: str
    pid: int
    ppid: int
    name: str
    #: A "#!/bin/sh" script that starts the guest program with its birth data.
    user_data: str
    placement: dict[str, Any] = field(default_factory=dict)
    args: dict[str, str] = field(default_factory=dict)
    #: When it ends itself, seconds since the epoch.
    deadline: float | None = None


@dataclass(frozen=True)
class Seen:
    """A machine in the cloud's list."""

    mark: str
    #: The cloud's own name for it.
    instance: str
    #: Nova's words: BUILD, ACTIVE, SHUTOFF, ERROR, DELETED, ...
    status: str
    fault: str = ""
    addresses: tuple[str, ...] = ()


class CloudFault(Exception):
    """A cloud that refuses, or fails; its text is the provider's own words.

    Attributes:
        kind: "quota", "no-valid-host", "image", "flavor", "refused": nothing was made, and asking again is of no use.
            "unclear": nobody knows what came of it.
    """

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.kind = kind


class Cloud(Protocol):
    """What a cloud can do. Called from several threads; each call blocks, for a bounded time.

    What else is raised than a `CloudFault` counts as one of the kind "unclear".
    """

    def create(self, machine: Machine) -> str:
        """Ask for a machine; return the cloud's own name for it as soon as it has one.

        After an unclear answer it lists by mark before it asks again, a bounded number of times.

        Raises:
            CloudFault: there will be none; of the kind "unclear": there may be one.
        """

    def list(self) -> dict[str, Seen]:
        """Return all machines of the group, by mark.

        Raises:
            CloudFault: nobody knows.
        """

    def delete(self, mark: str, instance: str | None) -> bool:
        """Ask for a machine's deletion, by name or by mark; again for one that goes already, which does no harm.

        Returns: whether nothing of it is left in the cloud's lists, ports included.

        Raises:
            CloudFault: it cannot be asked, or refuses.
        """

    def console(self, instance: str) -> str:
        """Return the tail of a machine's console, "" where there is none."""

    def close(self) -> None:
        """Give everything back; nothing is called any more."""


class MachineProvider:
    """Start, watch and destroy virtual machines.

    Args:
        settings: `gid` of the group (the supervisor's to say), `boot_concurrency`: how many machines come up at
            once at the most. A subclass takes what is its own out of them, makes its cloud, and passes on the rest.
        state_dir: the group's directory.
        cloud: where the machines are.

    Raises:
        InvalidCall: a setting that cannot be.
    """

    name = "machines"
    #: Its processes share neither directories nor loopback with the supervisor.
    remote = True
    machines = True
    defaults: Mapping[str, Any] = MappingProxyType({"lost_after": 5.0, "lease": 30.0, "boot_timeout": 300.0})
    closing = 60.0

    def __init__(self, settings: Mapping[str, Any], state_dir: str, cloud: Cloud) -> None:
        raise NotImplementedError

    def fds(self) -> Sequence[int]:
        """Return the descriptors whose readability means that `events()` has something."""
        raise NotImplementedError

    def create(self, order: Order) -> None:
        """Begin to make a machine."""

    def delete(self, key: Key) -> None:
        """Begin to destroy a machine. Idempotent."""

    def examine(self, key: Key) -> Vital:
        """Tell what the last list said; a fresh one is under way when that is old."""
        raise NotImplementedError

    def grant_output(self, key: Key, count: int) -> None:
        """Allow `count` more bytes of a process's output to be sent."""

    def events(self) -> list[Event]:
        """Return what happened since the last call, in order; never blocks."""
        raise NotImplementedError

    def close(self, timeout: float) -> None:
        """Destroy whatever is left, within `timeout` seconds."""

    def connect(self, say: Say) -> None:
        """Learn how to say something to the guest program of a machine."""

    def joined(self, key: Key, os_pid: int) -> None:
        """Learn that a guest program has joined."""

    def left(self, key: Key) -> None:
        """Learn that a guest program is no member any more."""

    def heard(self, key: Key, fields: dict[str, Any], blobs: Sequence[bytes]) -> None:
        """Learn what a guest program has said."""

    def last_act(self, kept: bool) -> None:
        """Do what has to come after everything else; nothing here."""
