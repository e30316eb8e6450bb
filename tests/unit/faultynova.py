"""A fault injector: a real HTTP server that speaks just enough of Keystone, Nova and Neutron to misbehave on demand."""

from __future__ import annotations

import json
import re
import socket
import threading
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

#: What a call comes to: done or not, then an answer (a status), or none ("drop": the connection is reset; "hang").
Fault = tuple[bool, int | str]


class FaultyNova:
    """Servers in memory, and a plan of what goes wrong with the next calls of a kind."""

    def __init__(self) -> None:
        self.servers: dict[str, dict[str, Any]] = {}
        self.ports: dict[str, dict[str, Any]] = {}
        self.plans: dict[str, list[Fault]] = {}
        self.calls: list[str] = []
        self.release = threading.Event()
        outer = self

        class Handler(_Handler):
            nova = outer

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = False
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def plan(self, kind: str, *faults: Fault) -> None:
        """Have the next calls of a kind ("login", "create", "list", "delete", "get", "ports") go wrong, in turn."""
        self.plans.setdefault(kind, []).extend(faults)

    def add(self, body: dict[str, Any]) -> str:
        name = str(uuid.uuid4())
        row = {"id": name, "name": body["name"], "metadata": body["metadata"], "status": "BUILD", "addresses": {}}
        self.servers[name] = {**row, "created": f"2026-01-01T00:00:{len(self.servers):02}Z", "asked": body}
        self.ports[name] = {"id": f"port-{name}", "device_id": name}
        return name

    def close(self) -> None:
        self.release.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


class _Handler(BaseHTTPRequestHandler):
    nova: FaultyNova
    protocol_version = "HTTP/1.0"  # a connection for each call: none is left idle for a thread here to wait at

    def do_GET(self) -> None:
        path = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(path.query).items()}
        nova = self.nova
        match path.path.strip("/").split("/"):
            case ["v3"]:
                self._answer(200, {"version": self._version("v3.14", "/v3/")})
            case ["compute", "v2.1"]:
                self._answer(200, {"version": self._version("v2.1", "/compute/v2.1/")})
            case ["network"]:
                self._answer(200, {"versions": [self._version("v2.0", "/network/v2.0/")]})
            case ["compute", "v2.1", "servers", "detail"]:
                found = [s for s in nova.servers.values() if re.search(query.get("name", ""), s["name"])]
                self._do("list", lambda: (200, {"servers": found}))
            case ["compute", "v2.1", "servers", name]:
                there = nova.servers.get(name)
                self._do("get", lambda: (200, {"server": there}) if there else (404, _fault("not found")))
            case ["network", "v2.0", "ports"]:
                ports = [p for p in nova.ports.values() if p["device_id"] == query.get("device_id")]
                self._do("ports", lambda: (200, {"ports": ports}))
            case _:
                self._answer(404, _fault(self.path))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")
        match self.path.strip("/").split("/"):
            case ["v3", "auth", "tokens"]:
                self._token()
            case ["compute", "v2.1", "servers"]:
                self._do("create", lambda: (202, {"server": {"id": self.nova.add(body["server"])}}))
            case _:
                self._answer(404, _fault(self.path))

    def do_DELETE(self) -> None:
        match self.path.strip("/").split("/"):
            case ["compute", "v2.1", "servers", name]:
                self._do("delete", lambda: self._delete(name))
            case ["network", "v2.0", "ports", name]:
                for key, port in list(self.nova.ports.items()):
                    if port["id"] == name:
                        del self.nova.ports[key]
                self._answer(204, None)

    def _delete(self, name: str) -> tuple[int, Any]:
        if self.nova.servers.pop(name, None) is None:
            return 404, _fault("not found")
        return 204, None

    def _do(self, kind: str, action: Callable[[], tuple[int, Any]], token: str | None = None) -> None:
        nova = self.nova
        nova.calls.append(kind)
        done, how = nova.plans[kind].pop(0) if nova.plans.get(kind) else (True, "")
        status, body = action() if done else (200, None)
        if how == "hang":
            nova.release.wait()
            self.close_connection = True
        elif how == "drop":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            self.connection.close()
            self.close_connection = True
        elif isinstance(how, int):
            self._answer(how, _fault(f"planned {how}"))
        else:
            self._answer(status, body, token)

    def _token(self) -> None:
        url = self.nova.url
        ends = {"identity": "/v3", "compute": "/compute/v2.1", "network": "/network", "image": "/image"}
        catalog = [
            {"type": kind, "name": kind, "id": kind}
            | {"endpoints": [{"interface": "public", "region_id": "R", "region": "R", "url": url + path, "id": kind}]}
            for kind, path in ends.items()
        ]
        token = {"catalog": catalog, "methods": ["password"], "expires_at": "2099-01-01T00:00:00.000000Z"}
        token |= {"issued_at": "2020-01-01T00:00:00.000000Z", "roles": [{"id": "m", "name": "member"}]}
        domain = {"id": "default", "name": "Default"}
        token |= {"user": {"id": "u", "name": "u", "domain": domain}}
        body = {"token": {**token, "project": {"id": "p", "name": "p", "domain": domain}}}
        self._do("login", lambda: (201, body), token="t")

    def _version(self, name: str, path: str) -> dict[str, Any]:
        return {"id": name, "status": "CURRENT", "links": [{"rel": "self", "href": self.nova.url + path}]}

    def _answer(self, status: int, body: Any, token: str | None = None) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if token is not None:
            self.send_header("X-Subject-Token", token)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _fault(text: str) -> dict[str, Any]:
    return {"computeFault": {"code": 0, "message": text}}
