"""Addresses of processes, as Thespian programs use them."""

from __future__ import annotations

from typing import Any

from thespian.actors import ActorAddress

#: Bits of a mailbox number; the number of a TELL carries two mailbox numbers.
_BOX_BITS = 31
_BOX = (1 << _BOX_BITS) - 1


class RackAddress(ActorAddress):  # type: ignore[misc]
    """The address of a process: its group and pid. It does not name a machine.

    A program may have further mailboxes (such as Thespian's `private()` contexts): `box` is a mailbox's number, and
    distinguishes addresses. The sender that a handler gets also carries the number (`rid`) of the ask, if there was
    one: a message sent to this address is the reply to that very ask. `rid` does not distinguish addresses.
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
    """Return the number of a TELL between two mailboxes; 0 between first mailboxes, the usual case."""
    return sender << _BOX_BITS | to


def unpack_boxes(number: int) -> tuple[int, int]:
    """Return the mailboxes (to, sender) of a TELL."""
    return number & _BOX, number >> _BOX_BITS
