"""What a cloud has, and what its services answer: Keystone's, Nova's and Neutron's, as far as ours ask them. Pure.

Two projects of one user see what they see in a real cloud: application credentials and key pairs are the user's, in
whichever project they were made; the rest is the project's, in one region. A server can be there and not be listed.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from rackactor_runtime.providers.nova.marks import names as w

#: What an answer is: a status, and its JSON.
Answer = tuple[int, Any]

#: Neutron's kinds of things, by their path, and what their names are in singular.
NETWORK = {
    "networks": "network",
    "subnets": "subnet",
    "routers": "router",
    "security-groups": "security_group",
    "floatingips": "floatingip",
    "ports": "port",
}


def fault(text: str) -> dict[str, Any]:
    """Return the body of a refusal."""
    return {"computeFault": {"code": 0, "message": text}}


class CloudModel:
    """What there is. Each row says in `project_id` and `region` where it is; missing, it is in `p` and `R`."""

    def __init__(self) -> None:
        self._made = 0
        self.servers: dict[str, dict[str, Any]] = {}
        self.ports: dict[str, dict[str, Any]] = {}
        self.keypairs: dict[str, dict[str, Any]] = {}
        self.server_groups: dict[str, dict[str, Any]] = {}
        self.credentials: dict[str, dict[str, Any]] = {}
        self.network: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in NETWORK if kind != "ports"}
        self.network["ports"] = self.ports
        #: Servers that lists leave out: just made, or in a cell that lists skip.
        self.unlisted: set[str] = set()
        #: Servers of a cell that does not answer: lists leave them out, and a look at one fails.
        self.down: set[str] = set()
        #: Rules of security groups that were made.
        self.rules: list[dict[str, Any]] = []

    def _id(self) -> str:
        """Return a new id: another cloud has the same ones, so that a seed repeats."""
        self._made += 1
        return str(uuid.uuid5(uuid.NAMESPACE_OID, str(self._made)))

    # -- making ----------------------------------------------------------------------------------------------

    def add(self, body: Mapping[str, Any]) -> str:
        """Have a server, with a port of its own."""
        name = self._id()
        row = {"id": name, "name": body["name"], "metadata": body["metadata"], "status": "BUILD", "addresses": {}}
        where = {key: body[key] for key in ("project_id", "region") if key in body}
        self.servers[name] = {**row, **where, "created": f"2026-01-01T00:00:{len(self.servers):02}Z", "asked": body}
        groups = [each["name"] for each in body.get("security_groups", ())]
        nets = [each["uuid"] for each in body.get("networks", ())]
        port = {"id": f"port-{name}", "device_id": name, "device_owner": "compute:nova", "name": "", "status": "DOWN"}
        self.ports[name] = {**port, **where, "network_id": "".join(nets[:1]), "security_groups": groups}
        return name

    def have(self, kind: str, name: str, **more: Any) -> str:
        """Have something of Neutron's, a key pair, a server group or an application credential; return its id."""
        row = {"id": self._id(), "name": name, "description": "", **more}
        if kind == "keypairs":
            row["id"] = name
        if kind == "ports":
            row = {"device_id": "", "device_owner": "", "status": "DOWN", "security_groups": [], "network_id": ""} | row
        rows = getattr(self, kind) if kind not in NETWORK else self.network[kind]
        rows[row["id"]] = row
        return str(row["id"])

    def everything(self) -> set[str]:
        """Return the ids of all that there is."""
        rows = [self.servers, self.keypairs, self.server_groups, self.credentials, *self.network.values()]
        return {each["id"] for those in rows for each in those.values()}

    # -- answering -------------------------------------------------------------------------------------------

    def answer(self, method: str, url: str, body: Any = None, project: str = "p") -> Answer:
        """Answer a call with a token of a project; the first word of the path may name a region."""
        split = urlsplit(url)
        query = {name: values[0] for name, values in parse_qs(split.query).items()}
        words = split.path.strip("/").split("/")
        region = "R"
        if words[0] not in ("v3", "compute", "network", "image"):
            region, *words = words
        where = (project, region)
        match words:
            case ["compute", "v2.1", *rest]:
                return self._nova(method, rest, query, body, where)
            case ["network", "v2.0", *rest]:
                return self._neutron(method, rest, query, body, where)
            case ["image", "images" | "v2", *_]:
                return 200, {"images": []}
            case ["v3", "users", _, *rest]:
                return self._keystone(method, rest, body, where)
        return 404, fault(url)

    def _nova(
        self, method: str, words: list[str], query: Mapping[str, str], body: Any, where: tuple[str, str]
    ) -> Answer:
        match (method, *words):
            case ("GET", "servers", "detail") | ("GET", "servers"):
                rows = [
                    {name: value for name, value in row.items() if name != "fault"}  # as Nova does of cell0's servers
                    for row in _in(where, self.servers)
                    if re.search(query.get("name", ""), row["name"])
                    and row["id"] not in self.unlisted | self.down
                    and row["status"] not in ("DELETED", "SOFT_DELETED")
                ]
                return 200, {"servers": rows}
            case ("POST", "servers"):
                asked = {**body["server"], **_place(where)}
                return 202, {"server": {"id": self.add(asked)}}
            case ("GET", "servers", name):
                if name in self.down:
                    return 500, fault("its cell is not responding")
                row = self._server(name, where)
                return (200, {"server": row}) if row else (404, fault("not found"))
            case ("DELETE", "servers", name) | ("POST", "servers", name, "action"):
                if name in self.down:
                    return 500, fault("its cell is not responding")
                if self._server(name, where) is None:
                    return 404, fault("not found")
                if method == "DELETE" and self.servers[name]["status"] == "SOFT_DELETED":
                    return 409, fault("Cannot 'delete' instance while it is in vm_state soft-delete")
                del self.servers[name]
                if name in self.ports:
                    self.ports[name]["status"] = "DOWN"  # it goes, too, but not at the same moment
                return 204, None
            case ("GET", "os-keypairs"):
                rows = [row for row in self.keypairs.values() if row.get("region", "R") == where[1]]
                return 200, {"keypairs": [{"keypair": row} for row in rows]}
            case ("POST", "os-keypairs"):
                self.have("keypairs", body["keypair"]["name"], region=where[1])
                return 200, {"keypair": {"name": body["keypair"]["name"]}}
            case ("DELETE", "os-keypairs", name):
                return _drop(self.keypairs, name)
            case ("GET", "os-server-groups"):
                return 200, {"server_groups": list(_in(where, self.server_groups))}
            case ("POST", "os-server-groups"):
                name = self.have("server_groups", body["server_group"]["name"], **_place(where))
                return 200, {"server_group": self.server_groups[name]}
            case ("DELETE", "os-server-groups", name):
                return _drop(self.server_groups, name)
        return 404, fault("/".join(words))

    def _server(self, name: str, where: tuple[str, str]) -> dict[str, Any] | None:
        return next((row for row in _in(where, self.servers) if row["id"] == name), None)

    def _neutron(
        self, method: str, words: list[str], query: Mapping[str, str], body: Any, where: tuple[str, str]
    ) -> Answer:
        match (method, *words):
            case ("POST", "security-group-rules"):
                self.rules += body["security_group_rules"]
                return 201, body
            case ("GET", kind) if kind in NETWORK:
                rows = [row for row in _in(where, self.network[kind]) if _matches(row, query)]
                return 200, {kind.replace("-", "_"): rows}
            case ("POST", kind) if kind in NETWORK:
                name = self.have(kind, **{"name": "", **body[NETWORK[kind]], **_place(where)})
                return 201, {NETWORK[kind]: self.network[kind][name]}
            case ("GET" | "PUT", "ports", name):
                row = next((row for row in _in(where, self.ports) if row["id"] == name), None)
                if row is None:
                    return 404, fault("not found")
                row |= (body or {}).get("port", {})
                return 200, {"port": row}
            case ("PUT", "routers", name, "remove_router_interface"):
                for key, row in list(self.ports.items()):
                    if row["id"] == body["port_id"]:
                        del self.ports[key]
                return 200, {"id": name}
            case ("DELETE", kind, name) if kind in NETWORK:
                held = self._held(kind, name)
                return (409, {"NeutronError": {"message": held}}) if held else _drop(self.network[kind], name)
        return 404, fault("/".join(words))

    def _held(self, kind: str, name: str) -> str:
        """Return why something of Neutron's cannot go, "" if it can."""
        for port in self.ports.values():
            if kind == "security-groups" and name in port.get("security_groups", ()):
                return f"Security Group {name} in use"
            if kind == "networks" and name == port.get("network_id"):
                return f"Network {name} in use"
        return ""

    def _keystone(self, method: str, words: list[str], body: Any, where: tuple[str, str]) -> Answer:
        match (method, *words):
            case ("GET", "application_credentials"):
                return 200, {"application_credentials": list(self.credentials.values())}
            case ("POST", "application_credentials"):
                asked = {"secret": "s", **body["application_credential"], "project_id": where[0]}
                made = self.have("credentials", **asked)
                return 201, {"application_credential": self.credentials[made]}
            case ("DELETE", "application_credentials", name):
                return _drop(self.credentials, name)
            case ("DELETE", "access_rules", _):
                return 204, None
        return 404, fault("/".join(words))


def _place(where: tuple[str, str]) -> dict[str, str]:
    return {"project_id": where[0], "region": where[1]}


def _in(where: tuple[str, str], rows: Mapping[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for row in list(rows.values()):
        if (row.get("project_id", "p"), row.get("region", "R")) == where:
            yield row


def _matches(row: Mapping[str, Any], query: Mapping[str, str]) -> bool:
    return all(row.get(name, value) == value for name, value in query.items() if name in ("device_id", "id", "name"))


def _drop(rows: dict[str, dict[str, Any]], name: str) -> Answer:
    for key, row in list(rows.items()):
        if row["id"] == name:
            del rows[key]
            return 204, None
    return 404, fault("not found")


def made_group(
    cloud: CloudModel,
    gid: str,
    made: float,
    *,
    project: str = "p",
    region: str = "R",
    deadline: float | None = None,
    status: str = "ACTIVE",
    workers: int = 1,
    network: bool = False,
    old: bool = False,
) -> set[str]:
    """Have a group as a launch makes it; return the ids of all that it has, that of its supervisor's machine included.

    Args:
        cloud: that it is on.
        gid, made, deadline: whose, since when and until when, seconds since the epoch.
        project, region: where.
        status: of its supervisor's machine; "": it has none any more.
        workers: machines beside that.
        network: it has one of its own.
        old: its things do not say where they were made, as those of earlier versions do not.
    """
    before = cloud.everything()
    where = {"project_id": project, "region": region}
    scope = "" if old else w.scope(project, region)
    about = {"description": w.description(gid, made, deadline, scope), **where}

    def name(kind: str) -> str:
        return w.resource(gid, kind, made, scope)

    net = "provider"
    if network:
        net = cloud.have("networks", name("net"), **about)
        cloud.have("subnets", name("subnet"), network_id=net, **about)
        router = cloud.have("routers", name("router"), **about)
        more = {"device_id": router, "device_owner": "network:router_interface", "network_id": net}
        cloud.have("ports", "", **more, **where)
    group = cloud.have("security-groups", name("sg"), **about)
    cloud.have("keypairs", name("key"), region=region)
    cloud.have("server_groups", name("apart"), **where)
    cloud.have("credentials", name("cred"), **about)
    for pid in range(1, 2 + workers):
        if pid == 1 and not status:
            continue
        data = w.metadata(gid, pid, 0, f"{gid}.{pid}.1", deadline=deadline)
        body = {"name": w.server(gid, pid, "x"), "metadata": data, "networks": [{"uuid": net}], **where}
        number = cloud.add({**body, "security_groups": [{"name": group}]})
        cloud.servers[number] |= {"status": status if pid == 1 else "ACTIVE", "created": _iso(made)}
        cloud.servers[number]["updated"] = _iso(made)
        cloud.ports[number]["status"] = "ACTIVE"
    return cloud.everything() - before


def supervisor_of(cloud: CloudModel, gid: str) -> dict[str, Any]:
    """Return the row of a group's supervisor's machine."""
    return next(
        row for row in cloud.servers.values() if row["metadata"].get("gid") == gid and row["metadata"]["pid"] == "1"
    )


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
