"""Things in a cloud that carry our mark, with what must be known before their removal. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field

from rackactor.records import dataclass
from rackactor_runtime.providers.nova.marks import names as w

#: The kinds, in the order of removal: holders before what they hold, and last of all the credential by
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
#: These belong to a user, and are listed in each of the user's projects.
OF_THE_USER = frozenset({"key pair", "application credential"})


@dataclass(frozen=True)
class Found:
    """Something that carries our mark."""

    kind: str
    id: str
    name: str
    claim: w.Claim
    #: Nova's status of a server, Neutron's of a port.
    status: str = ""
    #: It is the machine of its group's supervisor.
    supervisor: bool = False
    #: Its own name or description says that it is of this project and region.
    here: bool = False
    #: Of a server: since when it has its status, seconds since the epoch; and whether its hypervisor says that it runs.
    since: float | None = None
    powered: bool = False
    #: Of a server: the last checks did not show it, but not for long enough to trust that.
    fading: bool = False
    #: Why its group may be alive although no list shows the group's supervisor; "" for no such doubt.
    doubt: str = ""
    #: Why it cannot be removed, "" if that can be tried.
    held: str = ""
    #: How its removal is requested.
    remove: Callable[[], object] = field(default=lambda: None, compare=False, repr=False)

    @property
    def tied(self) -> bool:
        """Tell whether it is known to be of this project and region."""
        return self.here or self.kind not in OF_THE_USER

    def row(self) -> dict[str, str]:
        """Return a row for people."""
        return {"kind": self.kind, "id": self.id, "name": self.name, "gid": self.claim.gid12}
