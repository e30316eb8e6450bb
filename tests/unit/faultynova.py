"""A fault injector: a real HTTP server that speaks just enough of Keystone, Nova and Neutron to misbehave on demand."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any

from cloudmodel import Answer, CloudModel, fault

#: What a call comes to: done or not, then an answer (a status), or none ("drop": the connection is reset; "hang"), and
#: perhaps headers of the answer.
Fault = tuple[bool, int | str] | tuple[bool, int | str, dict[str, str]]


class FaultyNova(CloudModel):
    """A cloud in memory, and a plan of what goes wrong with the next calls of a kind.

    Whoever logs in with the application credential "i" is in project `p`, with "i@q" in project `q`. It has the regions
    `R` and `S`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.plans: dict[str, list[Fault]] = {}
        self.calls: list[str] = []
        #: Each call, with its headers in small letters.
        self.heard: list[tuple[str, str, dict[str, str]]] = []
        #: Seconds by which its clock is ahead of ours; None: its answers have no date.
        self.skew: float | None = 0.0
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

    def login(self, project: str = "p", region: str = "R") -> dict[str, str]:
        """Return what lets into a project."""
        pair = {"application_credential_id": f"i@{project}", "application_credential_secret": "s"}
        return {"auth_url": f"{self.url}/v3", **pair, "region_name": region}

    def close(self) -> None:
        self.release.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()


class _Handler(BaseHTTPRequestHandler):
    nova: FaultyNova
    protocol_version = "HTTP/1.0"  # a connection for each call: none is left idle for a thread here to wait at

    def do_GET(self) -> None:
        base = self.nova.url
        match self.path.partition("?")[0].strip("/").split("/"):
            case ["v3"]:
                self._answer(200, {"version": self._version("v3.14", f"{base}/v3/")})
            case [*region, "compute", "v2.1"]:
                self._answer(200, {"version": self._version("v2.1", "/".join([base, *region, "compute/v2.1/"]))})
            case [*region, "network"]:
                self._answer(200, {"versions": [self._version("v2.0", "/".join([base, *region, "network/v2.0/"]))]})
            case [*region, "image"]:
                self._answer(200, {"versions": [self._version("v2.0", "/".join([base, *region, "image/v2/"]))]})
            case _:
                self._call()

    def do_POST(self) -> None:
        if self.path.strip("/") == "v3/auth/tokens":
            self._token(self._body())
        else:
            self._call()

    def do_PUT(self) -> None:
        self._call()

    def do_DELETE(self) -> None:
        self._call()

    def _call(self) -> None:
        body = self._body()
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.nova.heard.append((self.command, self.path, headers))
        project = self.headers.get("X-Auth-Token", "t-p").removeprefix("t-")
        self._do(_kind(self.command, self.path), lambda: self.nova.answer(self.command, self.path, body, project))

    def _body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "{}")

    def _do(self, kind: str, action: Callable[[], Answer], token: str | None = None) -> None:
        nova = self.nova
        nova.calls.append(kind)
        done, how, *more = nova.plans[kind].pop(0) if nova.plans.get(kind) else (True, "")
        status, body = action() if done else (200, None)
        if how == "hang":
            nova.release.wait()
            self.close_connection = True
        elif how == "drop":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            self.connection.close()
            self.close_connection = True
        elif isinstance(how, int):
            self._answer(how, fault(f"planned {how}"), headers=more[0] if more else {})
        else:
            self._answer(status, body, token)

    def _token(self, asked: dict[str, Any]) -> None:
        url = self.nova.url
        given = asked["auth"]["identity"].get("application_credential", {}).get("id", "i")
        project = given.partition("@")[2] or "p"
        ends = {"compute": "compute/v2.1", "network": "network", "image": "image"}
        regions = {"R": url, "S": f"{url}/S"}
        endpoints = {
            kind: {region: f"{base}/{path}" for region, base in regions.items()} for kind, path in ends.items()
        }
        endpoints["identity"] = dict.fromkeys(regions, f"{url}/v3")
        catalog = [
            {"type": kind, "name": kind, "id": kind}
            | {
                "endpoints": [
                    {"interface": "public", "region_id": name, "region": name, "url": where, "id": f"{kind}-{name}"}
                    for name, where in places.items()
                ]
            }
            for kind, places in endpoints.items()
        ]
        token = {"catalog": catalog, "methods": ["password"], "expires_at": "2099-01-01T00:00:00.000000Z"}
        token |= {"issued_at": "2020-01-01T00:00:00.000000Z", "roles": [{"id": "m", "name": "member"}]}
        domain = {"id": "default", "name": "Default"}
        token |= {"user": {"id": "u", "name": "u", "domain": domain}}
        body = {"token": {**token, "project": {"id": project, "name": project, "domain": domain}}}
        self._do("login", lambda: (201, body), token=f"t-{project}")

    def _version(self, name: str, url: str) -> dict[str, Any]:
        return {"id": name, "status": "CURRENT", "links": [{"rel": "self", "href": url}]}

    def _answer(
        self, status: int, body: Any, token: str | None = None, headers: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response_only(status)
        if self.nova.skew is not None:
            self.send_header("Date", self.date_time_string(time.time() + self.nova.skew))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name, value)
        if token is not None:
            self.send_header("X-Subject-Token", token)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _kind(method: str, path: str) -> str:
    """Return what a call is called in plans."""
    words = path.partition("?")[0].strip("/").split("/")
    match (method, words[-2:]):
        case ("GET", ["servers", "detail"]):
            return "list"
        case ("GET", ["servers", _]):
            return "get"
        case ("DELETE", ["servers", _]):
            return "delete"
        case ("POST", [_, "servers"]):
            return "create"
        case ("GET", [_, "ports"]):
            return "ports"
    return f"{method} {'/'.join(words[-2:])}"
