"""Looking up the names that users give, before anything is made; an error lists the existing names."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from rackactor_runtime.providers.machines.cloud import CloudFault
from rackactor_runtime.providers.nova.access.faults import fault
from rackactor_runtime.providers.nova.session import Session

#: How many existing names an error lists.
_SHOWN = 12


class Finder:
    """Finds images, flavors, networks and the like by name or id. Thread-safe; results are remembered."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._found: dict[tuple[str, str], dict[str, Any]] = {}
        self._lock = threading.Lock()
        self._lists: dict[str, Callable[[], list[dict[str, Any]]]] = {
            "image": self._images,
            "flavor": lambda: session.list("compute", "/flavors/detail"),
            "network": lambda: session.list("network", "/networks"),
            "security group": lambda: session.list("network", "/security-groups", project_id=session.project),
            "availability zone": self._zones,
            "key pair": self._keypairs,
        }

    def find(self, kind: str, wanted: str) -> str:
        """Return the id of the wanted object, by name or id.

        Raises:
            CloudFault: of that kind: there is none, or several have that name.
        """
        return str(self.record(kind, wanted)["id"])

    def record(self, kind: str, wanted: str) -> dict[str, Any]:
        """Return the cloud's record of the wanted object.

        Raises:
            CloudFault: see `find`.
        """
        with self._lock:
            known = self._found.get((kind, wanted))
        if known is not None:
            return known
        try:
            there = self._lists[kind]()
        except Exception as error:
            raise fault(error) from error
        chosen = choose(kind, wanted, there)
        with self._lock:
            self._found[kind, wanted] = chosen
        return chosen

    def networks(self) -> list[dict[str, Any]]:
        """Return every network that we can see."""
        return self._session.list("network", "/networks")

    def _images(self) -> list[dict[str, Any]]:
        return [
            {"id": image.id, "name": image.name, "status": image.status, "min_disk": image.min_disk or 0}
            | {"min_ram": image.min_ram or 0, "size": image.size or 0}
            for image in self._session.connection.image.images()
        ]

    def _zones(self) -> list[dict[str, Any]]:
        rows = self._session.call("compute", "GET", "/os-availability-zone")["availabilityZoneInfo"]
        return [{"id": row["zoneName"], "name": row["zoneName"]} for row in rows if row["zoneState"]["available"]]

    def _keypairs(self) -> list[dict[str, Any]]:
        rows = self._session.call("compute", "GET", "/os-keypairs")["keypairs"]
        return [{"id": row["keypair"]["name"], "name": row["keypair"]["name"]} for row in rows]


def choose(kind: str, wanted: str, there: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the wanted one.

    Raises:
        CloudFault: there is none, or several have that name.
    """
    by_id = [each for each in there if each["id"] == wanted]
    found = by_id or [each for each in there if each["name"] == wanted]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(str(each["id"]) for each in found)
        raise CloudFault(kind.replace(" ", "-"), f"several have the name of the {kind} {wanted!r}: give an id of {ids}")
    names = sorted({str(each["name"]) for each in there})
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    raise CloudFault(kind.replace(" ", "-"), f"the cloud has no {kind} {wanted!r}; it has: {shown or 'none'}")
