"""Nova as a `Cloud`: create, list and delete the servers of one group.

Nova has no idempotency key of its own, and has been seen to answer 503, or not at all, and to build the server all the
same. So ours travels in the server's metadata, and after every answer that is not clear the group's servers are
listed before anything is asked for again. A server of a call that was given up may still appear late; `list` sees that
two have the same key, keeps the one that is known, or older, and deletes the other.
"""

from __future__ import annotations

import base64
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rackactor_runtime.providers import consoles
from rackactor_runtime.providers.machines import CloudFault, Machine, Seen
from rackactor_runtime.providers.nova import words as w
from rackactor_runtime.providers.nova.faults import fault
from rackactor_runtime.providers.nova.finding import Finder
from rackactor_runtime.providers.nova.session import Session

#: Seconds before each look for what an unclear answer has made; after the last of them it is asked for again.
LOOKS = (0.5, 2.0, 4.0)
#: Creates of one server at the most.
TRIES = 3
#: Seconds before it is asked again when the cloud says that it is asked too much.
BUSY_PAUSES = (1.0, 3.0, 8.0, 20.0)
#: Seconds before each look for the reason of a server in ERROR.
FAULT_PAUSES = (0.3, 0.5, 1.0, 2.0)
#: Bytes of user-data that Nova takes, in base64.
MAX_USER_DATA = 65535

Rows = list[dict[str, Any]]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Site:
    """Where and as what the servers of a group are made, by ids; each may be told otherwise in its placement."""

    gid: str
    network: str
    image: str = ""
    flavor: str = ""
    #: The group's own first, which all of them have.
    security_groups: Sequence[str] = ()
    keypair: str | None = None
    availability_zone: str | None = None
    server_group: str | None = None
    config_drive: bool | None = None
    #: The supervisor's address, RACK's `proxy_ip`.
    proxy_ip: str = ""
    #: Image and flavor names that are known already.
    known: Mapping[str, str] = field(default_factory=dict)


class NovaCloud:
    """The servers of one group. Thread-safe."""

    def __init__(self, session: Session, site: Site, sleep: Callable[[float], None] = time.sleep) -> None:
        self._session = session
        self._site = site
        self._sleep = sleep
        self._finder = Finder(session)
        self._ours: dict[str, str] = {}  # mark -> id of the one that counts
        self._doubtful: set[str] = set()  # marks of which there may be more than one
        self._faultless: set[str] = set()  # ids in whose rows no fault is to be waited for
        self._asked: set[str] = set()  # ids whose deletion was asked for

    # -- create ----------------------------------------------------------------------------------------------

    def create(self, machine: Machine) -> str:
        """Ask for a server; return its id.

        Raises:
            CloudFault: see the port.
        """
        body = self._body(machine)
        problem = CloudFault("unclear", "it was never asked")
        for _ in range(TRIES):
            try:
                made = self._post(body)
            except CloudFault as error:
                if error.kind != "unclear":
                    raise
                problem = error
                self._doubtful.add(machine.mark)
                _log.warning("create of %s: no clear answer (%s); looking for it", machine.mark, error)
                adopted = self._look_for(machine.mark)
                if adopted is None:
                    continue
                made = adopted
                _log.warning("create of %s: found as %s", machine.mark, made)
            self._ours[machine.mark] = made
            return made
        raise CloudFault("unclear", f"asked {TRIES} times, without a clear answer: {problem}")

    def _post(self, body: dict[str, Any]) -> str:
        for pause in (*BUSY_PAUSES, None):
            try:
                return str(self._session.call("compute", "POST", "/servers", json=body)["server"]["id"])
            except Exception as error:
                found = fault(error)
                if found.kind != "busy" or pause is None:
                    raise found from error
                self._sleep(pause)
        raise AssertionError("not reached")

    def _look_for(self, mark: str) -> str | None:
        """Find what an unclear answer has made, if it shows within some time.

        Raises:
            CloudFault: the list could not be had to the last, so that it must not be asked for again.
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
                return str(found[0]["id"])
        if problem is not None:
            raise CloudFault("unclear", f"neither an answer nor a list could be had: {problem}")
        return None

    def _body(self, machine: Machine) -> dict[str, Any]:
        """Return what Nova is asked for."""
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

    def list(self) -> dict[str, Seen]:
        """Return the group's servers by mark, by one call for all of them."""
        by_mark: dict[str, list[dict[str, Any]]] = {}
        for row in self._rows():
            by_mark.setdefault(row["metadata"]["rack_key"], []).append(row)
        return {mark: self._seen(mark, self._one_of(mark, rows)) for mark, rows in by_mark.items()}

    def _seen(self, mark: str, row: dict[str, Any]) -> Seen:
        """Return what a row says; of one in ERROR also why, which Nova writes down a moment later."""
        name = str(row["id"])
        if row["status"] == "ERROR" and name not in self._faultless:
            for pause in FAULT_PAUSES:
                if row.get("fault"):
                    break
                self._sleep(pause)
                row = self._server(name) or row
            self._faultless.add(name)
        return _seen(mark, row)

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
        """Return the one that counts of servers with the same mark; the others must go."""
        mine = self._ours.get(mark)
        kept = next((row for row in rows if row["id"] == mine), rows[0])
        for row in rows:
            if row is not kept and row["id"] not in self._asked:
                _log.warning("two servers of %s: %s stays, %s is deleted", mark, kept["id"], row["id"])
                try:
                    self._delete_server(str(row["id"]))
                except CloudFault as error:
                    _log.warning("%s: %s", row["id"], error)
        return kept

    # -- delete ----------------------------------------------------------------------------------------------

    def delete(self, mark: str, instance: str | None) -> bool:
        """Ask for a server's deletion; tells whether nothing is left of it, ports included.

        The first call only asks, since no server goes at once; the next ones look.
        """
        if instance is not None:
            row = {"status": ""} if instance not in self._asked else self._server(instance)
            if row is not None and not self._end(instance, row):
                return False
        others = self._rows(mark) if instance is None or mark in self._doubtful else []
        for each in others:
            self._end(str(each["id"]), each)
        if others:
            return False
        known = [each for each in (instance, self._ours.get(mark)) if each is not None]
        if any(self._clear_ports(each) for each in dict.fromkeys(known)):
            return False
        self._ours.pop(mark, None)
        self._doubtful.discard(mark)
        self._asked.difference_update(known)
        return True

    def _end(self, instance: str, row: Mapping[str, Any]) -> bool:
        """Ask for a deletion, unless it is under way; tells whether the server was gone already."""
        if row.get("OS-EXT-STS:task_state") == "deleting":
            return False
        if row["status"] == "SOFT_DELETED":  # a cloud that keeps the dead for a while keeps what they hold, too
            self._session.call("compute", "POST", f"/servers/{instance}/action", json={"forceDelete": None})
            return False
        return self._delete_server(instance)

    def _delete_server(self, instance: str) -> bool:
        """Ask for a deletion; tells whether it was gone already."""
        try:
            gone = self._session.delete("compute", f"/servers/{instance}")
        except Exception as error:
            raise fault(error) from error
        self._asked.add(instance)
        return gone

    def _server(self, instance: str) -> dict[str, Any] | None:
        try:
            answer = self._session.get("compute", f"/servers/{instance}")
        except Exception as error:
            raise fault(error) from error
        return None if answer is None else dict(answer["server"])

    def _clear_ports(self, instance: str) -> bool:
        """Have a server's ports deleted; tells whether there were any. Nova does it itself, nearly always."""
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
        body = {"os-getConsoleOutput": {"length": consoles.LINES}}
        try:
            answer = self._session.call("compute", "POST", f"/servers/{instance}/action", json=body)
        except Exception as error:
            _log.info("no console of %s: %s", instance, error)
            return ""
        return str((answer or {}).get("output") or "")

    def close(self) -> None:
        """Give the connections back."""
        self._session.close()


def _texts(value: Any) -> Sequence[str]:
    """Return names, which may be given as one text with commas."""
    parts = value.split(",") if isinstance(value, str) else value or []
    return [str(each).strip() for each in parts if str(each).strip()]


def _seen(mark: str, row: Mapping[str, Any]) -> Seen:
    found = row.get("fault") or {}
    nets = row.get("addresses") or {}
    kinds = {each["addr"]: each.get("OS-EXT-IPS:type") for net in nets.values() for each in net}
    addresses = tuple(sorted(kinds, key=lambda address: kinds[address] == "floating"))
    return Seen(mark, str(row["id"]), str(row["status"]), str(found.get("message") or ""), addresses)
