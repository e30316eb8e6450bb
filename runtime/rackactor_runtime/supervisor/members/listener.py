"""What the members' connections tell the supervisor's loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class Listener(Protocol):
    """Carries out what members ask for."""

    def entered(self) -> int:
        """Note that a command line has come; return the pid that it gets."""

    def joined(self, pid: int, os_pid: int, key: bytes | None) -> None:
        """Note that a member has presented its token."""

    def heard(self, pids: Sequence[int]) -> None:
        """Note that these members have sent something."""

    def corresponded(self, pid: int, other: int) -> None:
        """Note that two members have exchanged their first message."""

    def severed(self, pid: int, why: str) -> None:
        """Note that a member's connection broke, and cannot be resumed."""

    def malformed(self, pid: int, why: str) -> None:
        """Note that a member has sent something that breaks the protocol."""

    def called(self, pid: int, rid: int, op: str, args: dict[str, Any], blobs: tuple[Any, ...]) -> None:
        """Carry out a member's call."""
