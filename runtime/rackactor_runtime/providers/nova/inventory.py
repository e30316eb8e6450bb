"""What carries our mark in a cloud, by the cloud's own lists; and its removal, in the order in which it can go.

Nothing is removed by memory: whoever removes a group lists it, deletes what goes, and lists it again, until there is
nothing. So it does not matter who made what, how far a launch had come, or whether somebody else removes it too.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from rackactor_runtime.providers.nova import words as w
from rackactor_runtime.providers.nova.faults import fault
from rackactor_runtime.providers.nova.session import Session

#: What there is, in the order in which it goes: who holds something before what is held.
KINDS = (
    "application credential",
    "server",
    "port",
    "floating IP",
    "volume",
    "router",
    "subnet",
    "network",
    "security group",
    "key pair",
    "server group",
)
#: Seconds between two looks at what is left.
PAUSES = (0.3, 0.5, 0.7, 1.0, 1.0, 1.5, 2.0)
#: Seconds that a removal may take.
PATIENCE = 240.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """Something that carries our mark."""

    kind: str
    id: str
    name: str
    claim: w.Claim
    #: Nova's word on a server.
    status: str = ""
    #: It is the machine of its group's supervisor.
    supervisor: bool = False
    #: How its removal is asked for.
    remove: Callable[[], object] = field(default=lambda: None, compare=False, repr=False)

    def row(self) -> dict[str, str]:
        """Return it for people."""
        return {"kind": self.kind, "id": self.id, "name": self.name, "gid": self.claim.gid12}


class Inventory:
    """Lists what a cloud has of ours; of one group, or of all."""

    def __init__(self, session: Session, gid: str | None = None) -> None:
        self._session = session
        self._gid12 = gid[:12] if gid else None
        self._skipped: set[str] = set()

    def take(self) -> list[Found]:
        """Return everything, in the order in which it can go.

        Raises:
            CloudFault: a list cannot be had.
        """
        reads = [
            self._servers,
            self._credentials,
            self._keypairs,
            self._server_groups,
            self._network_things,
            *([self._volumes] if self._session.has("volume") else []),
        ]
        with ThreadPoolExecutor(len(reads)) as pool:
            parts = [pool.submit(read) for read in reads]
            try:
                found = [each for part in parts for each in part.result()]
            except Exception as error:
                raise fault(error) from error
        ours = [each for each in found if self._gid12 in (None, each.claim.gid12)]
        return sorted(ours, key=lambda each: KINDS.index(each.kind))

    def _list(self, service: str, path: str, **more: Any) -> list[dict[str, Any]]:
        return self._session.list(service, path, **more)

    def _servers(self) -> Iterable[Found]:
        prefix = f"^rack-{self._gid12}-" if self._gid12 else "^rack-"
        for row in self._list("compute", "/servers/detail", name=prefix):
            data = row["metadata"]
            named = w.claim(row["name"])
            if named is None or data.get("rack_mark") != w.MARK:
                continue
            claim = w.Claim(data.get("gid", named.gid12)[:12], _epoch(row.get("created")), w.deadline_of(data))
            remove = partial(self._session.delete, "compute", f"/servers/{row['id']}")
            first = data.get("pid") == str(w.SUPERVISOR_PID)
            yield Found("server", row["id"], row["name"], claim, row["status"], first, remove)

    def _credentials(self) -> Iterable[Found]:
        base = f"/users/{self._session.user}"
        try:
            rows = self._list("identity", f"{base}/application_credentials", key="application_credentials")
        except Exception as error:
            self._skip("application credentials", error)
            return
        for row in rows:
            claim = w.claim(row["name"], row.get("description") or "")
            if claim is not None:
                yield Found(
                    "application credential",
                    row["id"],
                    row["name"],
                    claim,
                    remove=partial(forget_credential, self._session, row),
                )

    def _keypairs(self) -> Iterable[Found]:
        for item in self._list("compute", "/os-keypairs"):
            name = item["keypair"]["name"]
            claim = w.claim(name)
            if claim is not None:
                remove = partial(self._session.delete, "compute", f"/os-keypairs/{name}")
                yield Found("key pair", name, name, claim, remove=remove)

    def _server_groups(self) -> Iterable[Found]:
        for row in self._list("compute", "/os-server-groups"):
            claim = w.claim(row["name"])
            if claim is not None:
                remove = partial(self._session.delete, "compute", f"/os-server-groups/{row['id']}")
                yield Found("server group", row["id"], row["name"], claim, remove=remove)

    def _volumes(self) -> Iterable[Found]:
        try:
            rows = self._list("volume", "/volumes/detail", key="volumes")
        except Exception as error:
            self._skip("volumes", error)
            return
        for row in rows:
            data = row.get("metadata") or {}
            if data.get("rack_mark") == w.MARK:
                claim = w.Claim(str(data.get("gid"))[:12], _epoch(row.get("created_at")), w.deadline_of(data))
                remove = partial(self._session.delete, "volume", f"/volumes/{row['id']}")
                yield Found("volume", row["id"], row.get("name") or "", claim, remove=remove)

    def _network_things(self) -> Iterable[Found]:
        project = self._session.project
        owners: dict[str, w.Claim] = {}
        for kind, path in (
            ("router", "/routers"),
            ("subnet", "/subnets"),
            ("network", "/networks"),
            ("security group", "/security-groups"),
            ("floating IP", "/floatingips"),
        ):
            for row in self._list("network", path, project_id=project):
                claim = w.claim(row.get("name") or "", row.get("description") or "")
                if claim is None:
                    continue
                owners[row["id"]] = claim
                remove: Callable[[], object] = partial(self._session.delete, "network", f"{path}/{row['id']}")
                if kind == "router":
                    remove = partial(self._unroute, row["id"])
                name = row.get("name") or row.get("floating_ip_address") or ""
                yield Found(kind, row["id"], name, claim, remove=remove)
        if owners:
            yield from self._ports(project, owners)

    def _ports(self, project: str, owners: dict[str, w.Claim]) -> Iterable[Found]:
        """Yield ports on networks of ours, or under security groups of ours; the network's own go with it."""
        for row in self._list("network", "/ports", project_id=project):
            whose = [owners[key] for key in (row["network_id"], *row["security_groups"]) if key in owners]
            if whose and not row["device_owner"].startswith("network:"):
                remove = partial(self._session.delete, "network", f"/ports/{row['id']}")
                yield Found("port", row["id"], row["name"] or row["device_id"], whose[0], remove=remove)

    def _unroute(self, router: str) -> None:
        for port in self._list("network", "/ports", device_id=router):
            if port["device_owner"] == "network:router_gateway":
                continue
            body = {"port_id": port["id"]}
            self._session.call("network", "PUT", f"/routers/{router}/remove_router_interface", json=body)
        self._session.delete("network", f"/routers/{router}")

    def _skip(self, what: str, error: Exception) -> None:
        """Go on without a list that this credential may not have, as one that is an application credential itself."""
        found = fault(error)
        if found.kind in ("unclear", "busy"):
            raise found from error
        if what not in self._skipped:
            self._skipped.add(what)
            _log.info("no list of %s: %s", what, found)


def forget_credential(session: Session, row: dict[str, Any]) -> None:
    """Delete an application credential, and the access rules that it alone has used: they outlive it otherwise."""
    base = f"/users/{session.user}"
    session.delete("identity", f"{base}/application_credentials/{row['id']}")

    def drop(rule: dict[str, Any]) -> None:
        try:
            session.delete("identity", f"{base}/access_rules/{rule['id']}")
        except Exception as error:
            _log.debug("access rule %s: %s", rule.get("id"), error)  # another group's uses it, too

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(drop, row.get("access_rules") or []))


def remove(
    take: Callable[[], Sequence[Found]],
    patience: float = PATIENCE,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[list[Found], dict[str, str]]:
    """Delete what a list has until it has nothing any more.

    Args:
        take: lists what is to go, in the order in which it goes.
        patience: seconds that it may take.
        sleep, clock: how to wait, and how to know how long.

    Returns: what is left, and by id the provider's words on why. Also when the last list could not be had: then what
        was there before.
    """
    until, turn = clock() + patience, 0
    left: list[Found] = []
    words: dict[str, str] = {}
    while True:
        try:
            left = list(take())
            words.pop("", None)
            if not left:
                return [], {}
        except Exception as error:
            words[""] = f"the cloud's lists could not be had: {fault(error)}"
        for each in _ready(left):
            try:
                each.remove()
            except Exception as error:
                words[each.id] = str(fault(error))
        if clock() >= until:
            return left, words
        sleep(PAUSES[min(turn, len(PAUSES) - 1)])
        turn += 1


def _ready(left: Sequence[Found]) -> list[Found]:
    """Return what can go now: what servers hold waits for them, and Nova removes their ports itself."""
    if any(each.kind == "server" for each in left):
        return [each for each in left if each.kind in ("application credential", "server", "key pair", "volume")]
    return list(left)


def _epoch(text: Any) -> float | None:
    """Return a time of the cloud's (ISO 8601, UTC) in seconds since the epoch."""
    from datetime import UTC, datetime

    try:
        found = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
