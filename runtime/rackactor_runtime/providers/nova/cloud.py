"""Nova as a `Cloud`: create, list and delete the servers of one group.

Nova has no idempotency key, and has been seen to answer 503, or not at all, and to build the server all the same. So
our own key is in the server's metadata, and after every unclear answer the group's servers are listed before a new
request. A server of a call that was given up may still appear late, and then two have the same key. Callers that know
which one has joined decide which of them counts (`survey` shows both). For other callers, `list` keeps the one that is
known here.
"""

from __future__ import annotations

import base64
import logging
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any

from rackactor.records import dataclass
from rackactor.wire.frames import SUPERVISOR
from rackactor_runtime.providers.machines.cloud import CloudFault, Machine
from rackactor_runtime.providers.machines.console import LINES
from rackactor_runtime.providers.machines.effects import Condition, Seen, condition
from rackactor_runtime.providers.nova.access.faults import fault
from rackactor_runtime.providers.nova.lookup import Finder
from rackactor_runtime.providers.nova.marks import names as w
from rackactor_runtime.providers.nova.marks.departures import Departures
from rackactor_runtime.providers.nova.marks.rows import seen
from rackactor_runtime.providers.nova.session import Session

#: Seconds before each check for the result of an unclear answer; after the last of them the request is repeated.
LOOKS = (0.5, 2.0, 4.0)
#: The most creates of one server.
TRIES = 3
#: Seconds before a new request if the cloud says that it gets too many, and not for how long; the last value is
#: repeated. And the most seconds for all of them together.
BUSY_PAUSES = (1.0, 3.0, 8.0, 20.0)
BUSY_PATIENCE = 300.0
#: Seconds before the delete of a duplicate is asked for again, unless it is under way.
AGAIN = 3.0
#: Seconds for which ids with a mark are remembered that lists do not show.
REMEMBERED = 3600.0
#: The most user-data that Nova accepts, bytes in base64.
MAX_USER_DATA = 65535

Rows = list[dict[str, Any]]
Servers = list[Seen]  # within the class, `list` is a method

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Site:
    """Defaults for the servers of a group, by ids; a placement may override them."""

    gid: str
    network: str
    image: str = ""
    flavor: str = ""
    #: The group's own comes first; all servers have it.
    security_groups: Sequence[str] = ()
    keypair: str | None = None
    availability_zone: str | None = None
    server_group: str | None = None
    config_drive: bool | None = None
    #: The supervisor's address, RACK's `proxy_ip`.
    proxy_ip: str = ""
    #: Ids of image and flavor names that are known already.
    known: Mapping[str, str] = field(default_factory=dict)


class NovaCloud:
    """The servers of one group. Thread-safe.

    Args:
        session: for the cloud.
        site: defaults for the servers.
        sleep, clock: functions to wait, and to get the time (monotonic), seconds.
        own: id of the server that this runs on, if it is one of the group's: it is never deleted from here.
    """

    def __init__(
        self,
        session: Session,
        site: Site,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        own: str | None = None,
    ) -> None:
        self._session = session
        self._site = site
        self._sleep = sleep
        self._clock = clock
        self._own = own
        self._finder = Finder(session)
        self._first = f"{site.gid}.{SUPERVISOR}.1"
        #: mark -> id of the one that counts
        self._ours: dict[str, str] = {} if own is None else {self._first: own}
        self._ids: dict[str, set[str]] = {}  # mark -> ids of all servers that have been seen with it
        self._listed: dict[str, float] = {}  # mark -> when it was listed last
        self._asked: dict[str, float] = {}  # ids whose deletion was requested, and when last
        self._departures = Departures()
        self._lost: dict[str, int] = {}  # mark -> number of creates with an unknown result

    @property
    def owing(self) -> bool:
        """Tell whether there is a create that was given up and that the cloud may still carry out."""
        return bool(self._lost)

    # -- create ----------------------------------------------------------------------------------------------

    def ask(self, machine: Machine) -> str:
        """Request a server, once; return its id.

        Raises:
            CloudFault: see the interface.
        """
        body, mark = self._body(machine), machine.mark
        if not machine.wanted():
            raise CloudFault("called-off", "nobody wants it any more")
        self._lost[mark] = self._lost.get(mark, 0) + 1  # until there is an answer, whatever interrupts this
        try:
            made = str(self._session.call("compute", "POST", "/servers", json=body)["server"]["id"])
        except Exception as error:
            found = fault(error)
            if found.kind != "unclear":
                self._answered(mark)
            raise found from error
        self._answered(mark)
        self._ours[mark] = made
        return made

    def _answered(self, mark: str, count: int = 1) -> None:
        """Note that the result of creates is known."""
        self._lost[mark] = self._lost.get(mark, 0) - count
        if self._lost[mark] <= 0:
            del self._lost[mark]

    def create(self, machine: Machine) -> str:
        """Request a server until there is a clear answer, a limited number of times; return its id.

        For callers without `Machines`: one server, and nobody else who requests it.

        Raises:
            CloudFault: see the interface.
        """
        tries, waited, busy = 0, 0.0, 0
        while True:
            try:
                return self.ask(machine)
            except CloudFault as error:
                if error.kind == "busy":
                    pause = BUSY_PAUSES[min(busy, len(BUSY_PAUSES) - 1)]
                    pause = pause if error.retry_after is None else error.retry_after
                    busy, waited = busy + 1, waited + pause
                    if waited > BUSY_PATIENCE:
                        raise
                    self._sleep(pause)
                    continue
                if error.kind != "unclear":
                    raise
                tries += 1
                _log.warning("create of %s: no clear answer (%s); looking for it", machine.mark, error)
                adopted = self._look_for(machine.mark)
                if adopted is not None:
                    _log.warning("create of %s: found as %s", machine.mark, adopted)
                    return adopted
                if tries == TRIES:
                    raise CloudFault("unclear", f"asked {TRIES} times, without a clear answer: {error}") from error
                self._sleep(error.retry_after or 0.0)

    def _look_for(self, mark: str) -> str | None:
        """Find the result of an unclear answer, if it appears in time.

        Raises:
            CloudFault: the last lists failed, so the request must not be repeated.
        """
        problem: CloudFault | None = None
        for pause in LOOKS:
            self._sleep(pause)
            try:
                found = self._rows(mark)
                problem = None
            except CloudFault as error:
                problem = error
                continue
            if found:
                self._answered(mark, len(found))
                alive = [row for row in found if condition(row["status"]) in (Condition.COMING, Condition.RUNNING)]
                self._ours[mark] = str((alive or found)[0]["id"])
                return self._ours[mark]
        if problem is not None:
            raise CloudFault("unclear", f"neither an answer nor a list could be had: {problem}")
        return None

    def _body(self, machine: Machine) -> dict[str, Any]:
        """Return the body of the request to Nova."""
        site, place = self._site, machine.placement
        text = base64.b64encode(machine.user_data.encode()).decode()
        if len(text) > MAX_USER_DATA:
            raise CloudFault("refused", f"user-data of {len(text)} bytes; Nova takes {MAX_USER_DATA}")
        groups = [*site.security_groups, *_texts(place.get("security_groups"))]
        server: dict[str, Any] = {
            "name": w.server(site.gid, machine.pid, machine.name),
            "imageRef": self._named("image", place.get("image"), site.image),
            "flavorRef": self._named("flavor", place.get("flavor"), site.flavor),
            "networks": [{"uuid": place.get("network") or site.network}],
            "metadata": w.metadata(
                site.gid,
                machine.pid,
                machine.ppid,
                machine.mark,
                args=machine.args,
                proxy_ip=site.proxy_ip,
                deadline=machine.deadline,
            ),
            "user_data": text,
        }
        optional = {
            "security_groups": [{"name": name} for name in dict.fromkeys(groups)],
            "key_name": place.get("keypair") or site.keypair,
            "availability_zone": place.get("availability_zone") or site.availability_zone,
            "config_drive": place.get("config_drive", site.config_drive),
        }
        server |= {name: value for name, value in optional.items() if value not in (None, [], "")}
        body = {"server": server}
        if site.server_group:
            body["os:scheduler_hints"] = {"group": site.server_group}
        return body

    def _named(self, kind: str, wanted: str | None, default: str) -> str:
        if not wanted or wanted == default:
            return default
        return self._site.known.get(wanted) or self._finder.find(kind, wanted)

    # -- list ------------------------------------------------------------------------------------------------

    def survey(self) -> Servers:
        """Return the group's servers, by one call for all of them."""
        found = [seen(row) for row in self._rows()]
        now = self._clock()
        for each in found:
            self._ids.setdefault(each.mark, set()).add(each.instance)
            self._listed[each.mark] = now
        for mark, when in list(self._listed.items()):
            if now - when > REMEMBERED and mark not in self._ours:  # a stray's, or of a list that was late itself
                del self._listed[mark]
                self._ids.pop(mark, None)
        return found

    def find(self, instance: str) -> Seen | None:
        """Return Nova's record of a server by its id, whatever its lists say."""
        row = self._server(instance)
        return None if row is None else seen(row)

    def list(self) -> dict[str, Seen]:
        """Return the group's servers by mark, only the one that counts of each; the others are deleted."""
        by_mark: dict[str, list[dict[str, Any]]] = {}
        for row in self._rows():
            by_mark.setdefault(row["metadata"]["rack_key"], []).append(row)
        return {mark: seen(self._one_of(mark, rows)) for mark, rows in by_mark.items()}

    def _rows(self, mark: str | None = None) -> Rows:
        """Return the servers of the group, or with one mark, oldest first."""
        name = f"^{re.escape(w.prefix(self._site.gid)) if mark is None else self._name_of(mark)}-"
        try:
            rows = self._session.list("compute", "/servers/detail", name=name)
        except Exception as error:
            raise fault(error) from error
        ours = [row for row in rows if row["metadata"].get("gid") == self._site.gid and "rack_key" in row["metadata"]]
        if mark is not None:
            ours = [row for row in ours if row["metadata"]["rack_key"] == mark]
        return sorted(ours, key=lambda row: (str(row.get("created")), str(row["id"])))

    def _name_of(self, mark: str) -> str:
        return f"{w.prefix(self._site.gid)}-{mark.split('.')[-2]}"

    def _one_of(self, mark: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return the server that counts of those with one mark; the others are deleted, if they are known."""
        mine = self._ours.get(mark)
        if len(rows) == 1 or (mine is None and mark != self._first):
            return rows[0]
        # Without knowledge of the supervisor's server the last one counts: only its create was answered.
        kept = next((row for row in rows if row["id"] == mine), rows[-1])
        for row in rows:
            if row is not kept and self._clock() - self._asked.get(row["id"], -math.inf) >= AGAIN:
                _log.warning("two servers of %s: %s stays, %s is deleted", mark, kept["id"], row["id"])
                try:
                    self._end(str(row["id"]), row)
                except CloudFault as error:
                    _log.warning("%s: %s", row["id"], error)
        return kept

    # -- delete ----------------------------------------------------------------------------------------------

    def delete(self, mark: str, instance: str | None) -> bool:
        """Request a server's deletion; tells whether nothing is left of it, ports included.

        The first call only requests it, since no server goes at once. The next ones check. If two checks in a row, some
        time apart, find the server neither by id nor in a list, it is gone: Nova also answers "404 Not Found" once for
        a server that is being built.
        """
        began = self._clock()
        if instance is not None and instance not in self._asked:
            self._delete_server(instance)
            return False
        there = {str(row["id"]): row for row in self._rows(mark)}
        ids = self._ids.setdefault(mark, set())
        ids.update(there, (each for each in (instance, self._ours.get(mark)) if each is not None))
        known = set(ids)  # another thread may list meanwhile
        there |= {name: row for name in known - set(there) if (row := self._server(name)) is not None}
        for name, row in there.items():
            self._departures.there(mark)
            self._end(name, row)
        if there:
            return False
        gone = self._departures.nothing(mark, began)
        ports = sum(self._clear_ports(each) for each in known)
        if ports or not gone:
            return False
        self._ours.pop(mark, None)
        self._ids.pop(mark, None)
        self._listed.pop(mark, None)
        self._lost.pop(mark, None)
        self._departures.forget(mark)
        for name in known:
            self._asked.pop(name, None)
        return True

    def discard(self, instance: str) -> None:
        """Request the deletion of one server, and of no other one with its mark."""
        row = self._server(instance)
        if row is None:
            self._asked.pop(instance, None)
        else:
            self._end(instance, row)

    def _end(self, instance: str, row: Mapping[str, Any]) -> None:
        """Request a deletion, unless it is under way."""
        if row.get("OS-EXT-STS:task_state") == "deleting":
            return
        if row["status"] == "SOFT_DELETED":  # a cloud that keeps deleted servers for a while keeps their resources, too
            try:
                self._session.call("compute", "POST", f"/servers/{instance}/action", json={"forceDelete": None})
            except Exception as error:
                raise fault(error) from error
            return
        self._delete_server(instance)

    def _delete_server(self, instance: str) -> None:
        """Request a deletion. The answer that there is no such server proves nothing: see `delete`."""
        if instance == self._own:
            raise CloudFault("refused", f"{instance} is the supervisor's own machine, which goes last of all")
        try:
            self._session.delete("compute", f"/servers/{instance}")
        except Exception as error:
            raise fault(error) from error
        self._asked[instance] = self._clock()

    def _server(self, instance: str) -> dict[str, Any] | None:
        try:
            answer = self._session.get("compute", f"/servers/{instance}")
        except Exception as error:
            raise fault(error) from error
        return None if answer is None else dict(answer["server"])

    def _clear_ports(self, instance: str) -> bool:
        """Delete a server's ports; tells whether there were any. Nova nearly always does it itself."""
        try:
            ports = self._session.list("network", "/ports", device_id=instance, fields="id")
            for port in ports:
                self._session.delete("network", f"/ports/{port['id']}")
        except Exception as error:
            raise fault(error) from error
        return bool(ports)

    # -- the rest --------------------------------------------------------------------------------------------

    def console(self, instance: str) -> str:
        """See `Cloud.console`."""
        body = {"os-getConsoleOutput": {"length": LINES}}
        try:
            answer = self._session.call("compute", "POST", f"/servers/{instance}/action", json=body)
        except Exception as error:
            _log.info("no console of %s: %s", instance, error)
            return ""
        return str((answer or {}).get("output") or "")

    def close(self) -> None:
        """Close the connections."""
        self._session.close()


def _texts(value: Any) -> Sequence[str]:
    """Return names, which may be given as one string, separated by commas."""
    parts = value.split(",") if isinstance(value, str) else value or []
    return [str(each).strip() for each in parts if str(each).strip()]
