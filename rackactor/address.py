"""Addresses of processes, as Thespian programs use them."""

from __future__ import annotations

from typing import Any

from thespian.actors import ActorAddress


class RackAddress(ActorAddress):  # type: ignore[misc]
    """The address of a process: its group and pid, and nothing that names a machine.

    The sender that a handler is given also carries the number of the ask it came with, if any: a message sent to
    that address is the reply to that very ask. Two addresses of one process are equal either way.
    """

    def __init__(self, gid: str, pid: int, rid: int = 0) -> None:
        super().__init__(f"rack:{gid[:8]}:{pid}")
        self.gid = gid
        self.pid = pid
        self.rid = rid

    def __reduce__(self) -> Any:
        return RackAddress, (self.gid, self.pid, self.rid)

    def __hash__(self) -> int:
        return hash((self.gid, self.pid))
