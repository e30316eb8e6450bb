"""What Nova's rows say of a server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rackactor_runtime.providers.machines.effects import Seen


def seen(row: Mapping[str, Any]) -> Seen:
    """Return what counts of a row, in the words of a `Cloud`."""
    found = row.get("fault") or {}
    nets = row.get("addresses") or {}
    kinds = {each["addr"]: each.get("OS-EXT-IPS:type") for net in nets.values() for each in net}
    addresses = tuple(sorted(kinds, key=lambda address: kinds[address] == "floating"))
    mark = str((row.get("metadata") or {}).get("rack_key") or "")
    return Seen(mark, str(row["id"]), str(row["status"]), str(found.get("message") or ""), addresses)
