"""The file service of a group."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from rackactor.services import Data
from rackactor_runtime.services.hosting import Host


class Files:
    """Answer the questions of `rackactor.files`."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def strand(self, pid: int, op: str, fields: dict[str, Any]) -> Hashable:
        """Return the open file that a question is about."""
        return fields.get("handle")

    def answer(self, pid: int, op: str, fields: dict[str, Any], data: memoryview) -> tuple[dict[str, Any], Data]:
        """Answer a question."""
        return fields, data

    def gone(self, pid: int) -> None:
        """Discard what a member has left open."""

    def close(self) -> None:
        """Discard what is open."""


def make(host: Host) -> Files:
    """Return the service."""
    return Files(host)
