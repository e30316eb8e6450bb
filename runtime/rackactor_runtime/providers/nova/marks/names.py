"""How what a group has in a cloud is named and marked, so that it is found again: by us, by `gc`, and by people.

Everything that can have a name is called `rack-<gid12>-...`. The name of what is made once for a group also says when
and in which project and region (`scope`) it was made, because some things (key pairs, server groups) have no other
place for that. Descriptions say the same, and the deadline. A user's key pairs and application credentials are listed
in all of the user's projects: without the scope nobody could tell whether their group is alive in another project.
Servers carry the rest in their metadata, by RACK's convention: `gid`, `pid`, `ppid`, `proxy_ip` and the process's
arguments that are strings.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from typing import NamedTuple

#: The value of `rack_mark` in the metadata of every server.
MARK = "rackactor"
#: The longest value and key that Nova accepts, and their number unless a quota says less.
MAX_VALUE, MAX_ITEMS = 255, 128
#: Longest name of a server.
MAX_NAME = 255

_NAME = re.compile(r"rack-([0-9a-f]{8}-[0-9a-f]{3})-([a-z]+)-([0-9a-f]{8})(?:-([0-9a-f]{12}))?")
_SERVER = re.compile(r"rack-([0-9a-f]{8}-[0-9a-f]{3})-")
_KEY = re.compile(r"[a-zA-Z0-9_:. -]{1,255}")
_DESCRIPTION = re.compile(
    r"rackactor gid=([0-9a-f-]{36}) made=([0-9]+)(?: deadline=([0-9]+))?(?: scope=([0-9a-f]{12}))?"
)


class Claim(NamedTuple):
    """The content of a name or a description: the group, since when, until when."""

    gid12: str
    made: float | None = None
    deadline: float | None = None
    #: The project and region in which it was made, see `scope`; None: it does not say.
    scope: str | None = None


def scope(project: str, region: str) -> str:
    """Return twelve letters that identify a project (by its id) in a region."""
    return hashlib.sha256(f"{project}\n{region}".encode()).hexdigest()[:12]


def prefix(gid: str) -> str:
    """Return the prefix of the names of a group's things."""
    return f"rack-{gid[:12]}"


def resource(gid: str, kind: str, made: float, where: str = "") -> str:
    """Return the name of what is made once for a group (`kind`: a lower-case word; `where`: a scope)."""
    return f"{prefix(gid)}-{kind}-{int(made):08x}" + (f"-{where}" if where else "")


def server(gid: str, pid: int, name: str) -> str:
    """Return a server's name, made from the process's name by replacing what a host name cannot contain."""
    fit = re.sub(r"[^a-zA-Z0-9]+", "-", name).strip("-")
    return f"{prefix(gid)}-{pid}-{fit}"[:MAX_NAME].rstrip("-")


def description(gid: str, made: float, deadline: float | None, where: str = "") -> str:
    """Return what the description of something says of its group (`where`: a scope)."""
    until = "" if deadline is None else f" deadline={math.ceil(deadline)}"
    return f"rackactor gid={gid} made={int(made)}{until}" + (f" scope={where}" if where else "")


def claim(name: str, text: str = "") -> Claim | None:
    """Read a name and a description; None: neither is ours."""
    found = _DESCRIPTION.fullmatch(text or "")
    if found is not None:
        return Claim(found[1][:12], float(found[2]), float(found[3]) if found[3] else None, found[4])
    found = _NAME.fullmatch(name or "")
    if found is not None:
        return Claim(found[1], float(int(found[3], 16)), None, found[4])
    found = _SERVER.match(name or "")
    return Claim(found[1]) if found is not None else None


def metadata(
    gid: str,
    pid: int,
    ppid: int,
    key: str,
    *,
    args: Mapping[str, str] | None = None,
    proxy_ip: str = "",
    deadline: float | None = None,
) -> dict[str, str]:
    """Return a server's metadata.

    An argument that metadata cannot hold (too long, a name or a character that Nova refuses, one too many) is left out
    and not cut: half a value would be wrong. The process itself gets all of them in its birth data.
    """
    ours = {"gid": gid, "pid": str(pid), "rack_mark": MARK, "rack_key": key}
    if ppid:
        ours["ppid"] = str(ppid)
    if proxy_ip:
        ours["proxy_ip"] = proxy_ip
    if deadline is not None:
        ours["rack_deadline"] = str(math.ceil(deadline))
    room = MAX_ITEMS - len(ours)
    fit = [(name, value) for name, value in (args or {}).items() if name not in ours and _fits(name, value)]
    return dict(fit[:room]) | ours


def _fits(name: str, value: str) -> bool:
    # Characters beyond the basic plane: a MySQL database with the usual three bytes for each answers with a failure.
    plain = all(ord(each) <= 0xFFFF and not 0xD800 <= ord(each) <= 0xDFFF for each in value)
    return _KEY.fullmatch(name) is not None and plain and len(value.encode("utf-8", "replace")) <= MAX_VALUE


def deadline_of(server_metadata: Mapping[str, str]) -> float | None:
    """Return the time by which a server should have ended, by its metadata."""
    text = server_metadata.get("rack_deadline", "")
    return float(text) if text.isdecimal() else None
