"""The removal of each kind of thing from a cloud, where it takes more than one DELETE."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rackactor_runtime.providers.nova.session import Session

_log = logging.getLogger(__name__)


def server(session: Session, number: str, status: str) -> None:
    """Have a server deleted; one that a cloud keeps for a while although it is deleted, with all that it holds, too."""
    if status == "SOFT_DELETED":
        session.call("compute", "POST", f"/servers/{number}/action", json={"forceDelete": None})
    else:
        session.delete("compute", f"/servers/{number}")


def router(session: Session, number: str) -> None:
    """Delete a router, after detaching it from its subnets."""
    for port in session.list("network", "/ports", device_id=number):
        if port["device_owner"] == "network:router_gateway":
            continue
        body = {"port_id": port["id"]}
        session.call("network", "PUT", f"/routers/{number}/remove_router_interface", json=body)
    session.delete("network", f"/routers/{number}")


def security_groups_of(session: Session, port: str, groups: Sequence[str]) -> None:
    """Take security groups off a port that is not ours. It keeps its others, or gets the project's default one.

    Without any it would be cut off: its server must not suffer because our group has ended.
    """
    answer = session.get("network", f"/ports/{port}")
    if answer is None:
        return
    kept = [each for each in answer["port"]["security_groups"] if each not in groups]
    if not kept:
        rows = session.list("network", "/security-groups", name="default", project_id=session.project)
        kept = [row["id"] for row in rows[:1]]
    session.call("network", "PUT", f"/ports/{port}", json={"port": {"security_groups": kept}})


def credential(session: Session, row: dict[str, Any]) -> None:
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
