"""The port to a cloud: what a provider of machines needs of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import field
from typing import Any, Protocol, runtime_checkable

from rackactor.records import dataclass
from rackactor_runtime.providers.machines.effects import Seen


@dataclass(frozen=True)
class Machine:
    """A machine to be made."""

    #: Identifies it after an unclear answer: "gid.pid.incarnation", in the server's metadata as `rack_key`.
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
    #: Tells whether it is still wanted; called right before the cloud is asked, from any thread.
    wanted: Callable[[], bool] = field(default=lambda: True, compare=False, repr=False)


class CloudFault(Exception):
    """An error of the cloud; its message is the provider's own.

    Attributes:
        kind: "quota", "no-valid-host", "image", "flavor", "refused": nothing was made, and it is useless to ask again.
            "busy": nothing was done, because there are too many requests. "called-off": nothing was done, because the
            machine is not wanted any more. "unclear": the result is unknown.
        retry_after: seconds for which the cloud asks for no more requests; None: it does not say.
    """

    def __init__(self, kind: str, words: str, retry_after: float | None = None) -> None:
        super().__init__(words)
        self.kind = kind
        self.retry_after = retry_after


class Cloud(Protocol):
    """The operations of a cloud. Called from several threads; each call blocks, for a bounded time.

    An exception other than a `CloudFault` counts as one of the kind "unclear".
    """

    def create(self, machine: Machine) -> str:
        """Ask for a machine; return the cloud's own name for it as soon as it has one.

        After an unclear answer the caller decides whether to ask again; it lists first.

        Raises:
            CloudFault: there will be no machine; of the kind "unclear": there may be one.
        """

    def list(self) -> dict[str, Seen]:
        """Return all machines of the group, by mark.

        Raises:
            CloudFault: the machines are unknown.
        """

    def delete(self, mark: str, instance: str | None) -> bool:
        """Request a machine's deletion, by name or by mark; repeating it does no harm.

        Returns: whether the cloud's lists have nothing of it any more, ports included.

        Raises:
            CloudFault: it cannot be asked, or refuses.
        """

    def console(self, instance: str) -> str:
        """Return the last `console.LINES` lines of a machine's console, "" where there is none."""

    def close(self) -> None:
        """Close everything; no more calls follow."""


@runtime_checkable
class LaggingCloud(Cloud, Protocol):
    """A cloud whose lists may lag, may lack existing machines, or may show two machines with one mark.

    All clouds of many programs are like this. For a cloud that is not, `list` and `delete` are used in place of
    these methods.
    """

    def ask(self, machine: Machine) -> str:
        """Request a machine once, whatever the answer; return the cloud's own name for it.

        Raises:
            CloudFault: see `Cloud.create`.
        """

    def survey(self) -> Iterable[Seen]:
        """Return all machines of the group, including several with one mark; changes nothing.

        Raises:
            CloudFault: the machines are unknown.
        """

    def find(self, instance: str) -> Seen | None:
        """Return the cloud's record of a machine by the cloud's own name for it, None if there is none.

        Raises:
            CloudFault: the machine's state is unknown.
        """

    def discard(self, instance: str) -> None:
        """Request the deletion of one machine by its name, and of no other one with its mark.

        Raises:
            CloudFault: it cannot be asked, or refuses.
        """
