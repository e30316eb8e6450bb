"""Addresses of processes, as Thespian programs use them."""

from __future__ import annotations

from typing import Any

from thespian.actors import ActorAddress

#: Bits of a mailbox number; two of them travel in the number of a TELL.
_BOX_BITS = 31
_BOX = (1 << _BOX_BITS) - 1


class RackAddress(ActorAddress):  # type: ignore[misc]
    """The address of a process: its group and pid, and nothing that names a machine.

    A program may have more mailboxes than its first one (Thespian's `private()` contexts are such): `box` is the
    number of one, and makes a different address. The sender that a handler is given also carries the number of the
    ask it came with (`rid`), if any: a message sent to that address is the reply to that very ask. It is the same
    address with and without.
    """

    # An address is made for each message: Thespian's own attribute, a string, is put together only when it is read.

    def __init__(self, gid: str, pid: int, rid: int = 0, box: int = 0) -> None:
        self.gid = gid
        self.pid = pid
        self.rid = rid
        self.box = box

    @property
    def _aaddr(self) -> str:
        return f"rack:{self.gid[:8]}:{self.pid}" + (f".{self.box}" if self.box else "")

    def __reduce__(self) -> Any:
        return RackAddress, (self.gid, self.pid, self.rid, self.box)

    def __repr__(self) -> str:
        return f"<{self}>"

    def __eq__(self, other: object) -> bool:
        if type(other) is RackAddress:
            return self.pid == other.pid and self.box == other.box and self.gid == other.gid
        return bool(super().__eq__(other))

    def __hash__(self) -> int:
        return hash((self.gid, self.pid, self.box))


def pack_boxes(to: int, sender: int) -> int:
    """Return the number of a TELL between two mailboxes; 0 between first ones, as nearly all are."""
    return sender << _BOX_BITS | to


def unpack_boxes(number: int) -> tuple[int, int]:
    """Return the mailboxes (to, sender) of a TELL."""
    return number & _BOX, number >> _BOX_BITS
