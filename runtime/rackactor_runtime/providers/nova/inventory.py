"""What carries our mark in a cloud, by the cloud's own lists, and by other ways where these may lack something.

Nova's lists leave out the servers of a cell that does not answer, those that were made a moment ago on another node,
and, where they are filtered by name, those that were renamed. So every known server of a group is asked for by its id
before it counts as gone, and Neutron's ports lead to servers that Nova's list lacks.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from rackactor.records import dataclass
from rackactor.wire.frames import SUPERVISOR
from rackactor_runtime.providers.machines.cloud import CloudFault
from rackactor_runtime.providers.nova import deletes
from rackactor_runtime.providers.nova.access.faults import fault
from rackactor_runtime.providers.nova.marks import names as w
from rackactor_runtime.providers.nova.marks import ports
from rackactor_runtime.providers.nova.marks.found import KINDS, Found
from rackactor_runtime.providers.nova.marks.ports import Port, Whose
from rackactor_runtime.providers.nova.marks.removal import CONFIRM
from rackactor_runtime.providers.nova.session import Session

#: Nova's number for a machine that its hypervisor says is running.
_RUNNING = 1
#: Seconds for which Nova must have lacked a server of unknown owner before its port is removed.
_LACKING = 10.0
#: Servers that are asked for by their ids at the same time.
_LOOKS = 8

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Look:
    """What Nova says of one server."""

    #: None: it is not ours, or is not there.
    server: Found | None
    #: There is no such server.
    gone: bool = False
    #: Why nothing is known, "" if it is.
    unknown: str = ""


class Inventory:
    """Lists what a cloud has of ours; of one group, or of all.

    Args:
        session: into the cloud.
        gid: of the group; None: of all.
        known: ids of servers of that group.
        clock: seconds, for how long something was not seen.
    """

    def __init__(
        self,
        session: Session,
        gid: str | None = None,
        known: Iterable[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._gid12 = gid[:12] if gid else None
        self._clock = clock
        self._skipped: set[str] = set()
        claim = w.Claim(self._gid12 or "")
        #: Servers of ours that were seen, or are known otherwise, until Nova has lacked them for some time.
        self._known = {each: Found("server", each, each, claim) for each in known}
        self._ours = set(self._known)  # ids of all that ever were
        self._lacking: dict[str, float] = {}  # id -> since when Nova says that there is none
        self._foreign: set[str] = set()  # ids of servers that are not ours

    def take(self) -> list[Found]:
        """Return everything, in the order in which it can go.

        Raises:
            CloudFault: a list cannot be had.
        """
        reads: list[Callable[[], Iterable[Found]]] = [
            self._servers,
            self._credentials,
            self._keypairs,
            self._server_groups,
            *([self._volumes] if self._session.has("volume") else []),
        ]
        with ThreadPoolExecutor(len(reads) + 1) as pool:
            network = pool.submit(self._network_things)
            parts = [pool.submit(lambda read=read: list(read())) for read in reads]  # type: ignore[misc]
            try:
                found = [each for part in parts for each in part.result()]
                things, there = network.result()
                found += self._with_ports(found, things, there)
            except Exception as error:
                raise fault(error) from error
        return sorted(filter(self._counts, found), key=lambda each: KINDS.index(each.kind))

    def _counts(self, each: Found) -> bool:
        """Tell whether it is to be listed: not what says that it is of another project or region."""
        return self._gid12 in (None, each.claim.gid12) and (each.here or each.claim.scope is None)

    def _list(self, service: str, path: str, **more: Any) -> list[dict[str, Any]]:
        return self._session.list(service, path, **more)

    def _here(self, claim: w.Claim) -> bool:
        return claim.scope == self._session.scope

    # -- servers ---------------------------------------------------------------------------------------------

    def _servers(self) -> list[Found]:
        """Return servers by their names, and where there are none by these, by what their metadata say."""
        named = self._marked(name=f"^rack-{self._gid12}-") if self._gid12 else []
        return named or self._marked()

    def _marked(self, **more: Any) -> list[Found]:
        made = [(row, self._server(row)) for row in self._list("compute", "/servers/detail", **more)]
        self._foreign |= {str(row["id"]) for row, found in made if found is None}
        return [self._remember(found) for _, found in made if found is not None]

    def _remember(self, found: Found) -> Found:
        """Know a server from now on, whatever becomes of this look."""
        self._lacking.pop(found.id, None)
        if self._counts(found):
            self._known[found.id] = found
            self._ours.add(found.id)
        return found

    def _server(self, row: Mapping[str, Any]) -> Found | None:
        """Return a server by its row; None: it is not ours."""
        data = row["metadata"]
        if data.get("rack_mark") != w.MARK or w.claim(f"rack-{str(data.get('gid'))[:12]}-") is None:
            return None
        claim = w.Claim(data["gid"][:12], _epoch(row.get("created")), w.deadline_of(data))
        return Found(
            "server",
            str(row["id"]),
            row["name"],
            claim,
            status=row["status"],
            supervisor=data.get("pid") == str(SUPERVISOR),
            since=_epoch(row.get("updated")),
            powered=row.get("OS-EXT-STS:power_state") == _RUNNING,
            remove=partial(deletes.server, self._session, str(row["id"]), row["status"]),
        )

    def _look(self, number: str) -> _Look:
        """Ask for a server by its id."""
        if number in self._foreign:
            return _Look(None)
        try:
            answer = self._session.get("compute", f"/servers/{number}")
        except Exception as error:
            return _Look(None, unknown=str(fault(error)))
        row = (answer or {}).get("server")
        if row is None or row["status"] == "DELETED":
            return _Look(None, gone=True)
        found = self._server(row)
        if found is None:
            self._foreign.add(number)
            return _Look(None)
        return _Look(self._remember(found))

    # -- the user's ------------------------------------------------------------------------------------------

    def _credentials(self) -> Iterator[Found]:
        base = f"/users/{self._session.user}"
        try:
            rows = self._list("identity", f"{base}/application_credentials", key="application_credentials")
        except Exception as error:
            self._skip("application credentials", error)
            return
        for row in rows:
            claim = w.claim(row["name"], row.get("description") or "")
            if claim is None or row.get("project_id", self._session.project) != self._session.project:
                continue
            yield Found(
                "application credential",
                row["id"],
                row["name"],
                claim,
                here=self._here(claim),
                remove=partial(deletes.credential, self._session, row),
            )

    def _keypairs(self) -> Iterator[Found]:
        for item in self._list("compute", "/os-keypairs"):
            name = item["keypair"]["name"]
            claim = w.claim(name)
            if claim is not None:
                remove = partial(self._session.delete, "compute", f"/os-keypairs/{name}")
                yield Found("key pair", name, name, claim, here=self._here(claim), remove=remove)

    # -- the project's ---------------------------------------------------------------------------------------

    def _server_groups(self) -> Iterator[Found]:
        for row in self._list("compute", "/os-server-groups"):
            claim = w.claim(row["name"])
            if claim is not None:
                remove = partial(self._session.delete, "compute", f"/os-server-groups/{row['id']}")
                yield Found("server group", row["id"], row["name"], claim, here=self._here(claim), remove=remove)

    def _volumes(self) -> Iterator[Found]:
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

    def _network_things(self) -> tuple[list[Found], list[Port]]:
        """Return what Neutron has of ours but for ports, and the ports with something of ours."""
        project = self._session.project
        owners: dict[str, w.Claim] = {}
        addresses: dict[str, str] = {}
        found = []
        for kind, path in (
            ("router", "/routers"),
            ("subnet", "/subnets"),
            ("network", "/networks"),
            ("security group", "/security-groups"),
            ("floating IP", "/floatingips"),
        ):
            for row in self._list("network", path, project_id=project):
                claim = w.claim(row.get("name") or "", row.get("description") or "")
                if claim is None or claim.scope not in (None, self._session.scope):
                    continue
                owners[row["id"]] = claim
                if row.get("port_id"):
                    addresses[row["port_id"]] = row["id"]
                remove: Callable[[], object] = partial(self._session.delete, "network", f"{path}/{row['id']}")
                if kind == "router":
                    remove = partial(deletes.router, self._session, row["id"])
                name = row.get("name") or row.get("floating_ip_address") or ""
                found.append(Found(kind, row["id"], name, claim, here=self._here(claim), remove=remove))
        rows = self._list("network", "/ports", project_id=project) if owners else []
        return found, [port for row in rows if (port := ports.read(row, owners, addresses)) is not None]

    def _skip(self, what: str, error: Exception) -> None:
        """Go on without a list that this credential may not have, as one that is an application credential itself."""
        found = fault(error)
        if found.kind in ("unclear", "busy"):
            raise found from error
        if what not in self._skipped:
            self._skipped.add(what)
            _log.info("no list of %s: %s", what, found)

    # -- what lists lack -------------------------------------------------------------------------------------

    def _with_ports(self, found: list[Found], things: list[Found], there: list[Port]) -> list[Found]:
        """Return what is there beside the first list: what Neutron has, and servers that Nova's lists lack."""
        listed = {each.id: each for each in found if each.kind == "server"}
        there = [port for port in there if self._gid12 is None or self._gid12 in port.gids]
        asked = dict.fromkeys([*self._known, *(port.server for port in there if port.server)])
        looks = self._look_at([each for each in asked if each not in listed])
        servers = listed | {key: look.server for key, look in looks.items() if look.server is not None}
        more = [each for key, each in servers.items() if key not in listed]
        for key, look in looks.items():
            if look.gone:
                more += self._fading(key)
            elif look.unknown:
                more += [self._unknown(key, claim, look.unknown) for claim in self._claims_on(key, there)]
        held: dict[str, str] = {}
        for port in there:

            def whose(claim: w.Claim, port: Port = port) -> Whose:
                return port.whose(_whose(claim, servers.get(port.server), looks.get(port.server)))

            for claim in port.claims:
                more += self._port(port, claim, whose(claim))
            held |= {key: _held(port) for key, claim in port.holds() if whose(claim) is Whose.FOREIGN}
        return more + [
            replace(each, held=held.get(each.id) or held.get(f"{each.claim.gid12} {each.kind}", "")) for each in things
        ]

    def _look_at(self, numbers: list[str]) -> dict[str, _Look]:
        if not numbers:
            return {}
        with ThreadPoolExecutor(_LOOKS) as pool:
            return dict(zip(numbers, pool.map(self._look, numbers), strict=True))

    def _fading(self, number: str) -> Iterator[Found]:
        """Learn that Nova lacks a server; yield it as long as that may not be believed of one that is ours."""
        now = self._clock()
        sure = now >= self._lacking.setdefault(number, now) + CONFIRM
        known = self._known.pop(number, None) if sure else self._known.get(number)
        if known is not None and not sure:
            yield replace(known, status="MISSING", fading=True)

    def _claims_on(self, number: str, there: list[Port]) -> list[w.Claim]:
        """Return which group has a server of which Nova says nothing; else which ones its ports have something of."""
        if number in self._known:
            return [self._known[number].claim]
        claims = [claim for port in there if port.server == number for claim in port.claims]
        return list({claim.gid12: claim for claim in claims}.values())

    def _unknown(self, number: str, claim: w.Claim, words: str) -> Found:
        """Return a server of which Nova says nothing now: deleted if it is known to be ours, and else left alone."""
        known = self._known.get(number)
        remove = partial(deletes.server, self._session, number, "") if known else partial(_refuse, words)
        base = known or Found("server", number, number, w.Claim(claim.gid12))
        doubt = f"Nova gives no answer on its server {number} ({words})"
        return replace(base, status="UNKNOWN", doubt=doubt, remove=remove)

    def _port(self, port: Port, claim: w.Claim, whose: Whose) -> Iterator[Found]:
        """Yield a port as far as one group is concerned."""
        made = Found("port", port.id, port.name or port.device, claim, here=self._here(claim))
        if whose is Whose.FOREIGN:
            groups = [each for each, owner in port.groups.items() if owner.gid12 == claim.gid12]
            if groups:
                yield replace(made, remove=partial(deletes.security_groups_of, self._session, port.id, groups))
            return
        delete: Callable[[], object] = partial(self._session.delete, "network", f"/ports/{port.id}")
        doubt = ""
        if whose is Whose.GONE and port.server:
            words = f"port {port.id} is ACTIVE, and Nova does not show the server {port.server}"
            doubt = f"its {words}" if port.active else ""
            if port.server in self._ours:
                pass
            elif port.active:  # it may be anybody's
                delete = partial(_refuse, f"the {words}")
            elif self._clock() < self._lacking.get(port.server, math.inf) + _LACKING:
                delete = partial(_refuse, f"Nova has not lacked its server {port.server} for long")
        yield replace(made, status="ACTIVE" if port.active else "", doubt=doubt, remove=delete)


def _whose(claim: w.Claim, server: Found | None, look: _Look | None) -> Whose:
    """Return whose a server is, for the group of a claim."""
    if server is not None:
        return Whose.OURS if server.claim.gid12 == claim.gid12 else Whose.FOREIGN
    if look is None or look.gone:
        return Whose.GONE
    return Whose.UNKNOWN if look.unknown else Whose.FOREIGN


def _held(port: Port) -> str:
    return f"{port.words()} uses it, which is not this group's"


def _refuse(words: str) -> None:
    """Leave something for now.

    Raises:
        CloudFault: why.
    """
    raise CloudFault("unclear", words)


def _epoch(text: Any) -> float | None:
    """Return a time of the cloud's (ISO 8601, UTC) in seconds since the epoch."""
    try:
        found = datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
