"""What carries our mark in a cloud, each with what is to be known before it may go. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from rackactor_runtime.providers.nova import names as w

#: What there is, in the order in which it goes: who holds something before what is held, and last of all the right by
#: which a supervisor that still runs deletes its machines.
KINDS = (
    "server",
    "port",
    "floating IP",
    "volume",
    "router",
    "subnet",
    "network",
    "security group",
    "server group",
    "key pair",
    "application credential",
)
#: These are a user's, and listed in each of his projects.
OF_THE_USER = frozenset({"key pair", "application credential"})


@dataclass(frozen=True)
class Found:
    """Something that carries our mark."""

    kind: str
    id: str
    name: str
    claim: w.Claim
    #: Nova's word on a server, Neutron's on a port.
    status: str = ""
    #: It is the machine of its group's supervisor.
    supervisor: bool = False
    #: Its own name or description says that it is of this project and region.
    here: bool = False
    #: Of a server: when it became what `status` says, seconds since the epoch; and whether its hypervisor says it runs.
    since: float | None = None
    powered: bool = False
    #: Of a server: the last looks did not show it, but not for long enough to believe it.
    fading: bool = False
    #: Why it can be that its group lives, though no list shows the group's supervisor; "" for no such doubt.
    doubt: str = ""
    #: Why it cannot be removed, "" if it may be tried.
    held: str = ""
    #: How its removal is asked for.
    remove: Callable[[], object] = field(default=lambda: None, compare=False, repr=False)

    @property
    def tied(self) -> bool:
        """Tell whether it is known to be of this project and region."""
        return self.here or self.kind not in OF_THE_USER

    def row(self) -> dict[str, str]:
        """Return it for people."""
        return {"kind": self.kind, "id": self.id, "name": self.name, "gid": self.claim.gid12}
