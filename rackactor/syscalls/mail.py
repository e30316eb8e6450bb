"""Messages between addresses, and dead letters: messages that cannot be received."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thespian.actors import ActorAddress, InvalidActorAddress

from rackactor.address import RackAddress, pack_boxes, unpack_boxes
from rackactor.errors import NoSuchProcess
from rackactor.kernel.kernel import Kernel
from rackactor.kernel.news import Undelivered
from rackactor.kernel.peers import Delivery
from rackactor.wire.calls.actor_system import DeadLetter
from rackactor.wire.codec import encode
from rackactor.wire.stream import EntryKind

if TYPE_CHECKING:
    from collections.abc import Sequence


def send(kernel: Kernel, address: ActorAddress, message: Any, box: int = 0) -> None:
    """Send a message to an address of this group; if the address came with an ask, the message is the reply.

    Args:
        kernel: this process's half of the wire.
        address: where to.
        message: any value that can be sent.
        box: the mailbox of this process that is the sender.

    Raises:
        InvalidActorAddress: it is no address of this group.
        InvalidCall: the message cannot be sent.
        MailboxFull: the receiver takes its messages too slowly.
    """
    if not isinstance(address, RackAddress) or address.gid != kernel.gid:
        raise InvalidActorAddress(address, "not the address of a process of this group")
    if address.rid:
        post(kernel, address.pid, EntryKind.REPLY, message, address.rid)
    else:
        post(kernel, address.pid, EntryKind.TELL, message, pack_boxes(address.box, box), address.box)


def post(kernel: Kernel, pid: int, kind: EntryKind, message: Any, rid: int, box: int = 0) -> None:
    """Send a message or a reply; if the receiver is known to be gone, it becomes a dead letter.

    Args:
        kernel: this process's half of the wire.
        pid: the receiver.
        kind: TELL or REPLY.
        message: any value that can be sent.
        rid: of a reply, the number of the ask; of a message, its mailboxes (`pack_boxes`).
        box: the receiver's mailbox.

    Raises:
        InvalidCall: the message cannot be sent.
        MailboxFull: the receiver takes its messages too slowly.
    """
    payload = encode(message, allow_pickle=kernel.allow_pickle)
    try:
        kernel.post(pid, kind, payload, rid)
    except NoSuchProcess:
        dead_letter(kernel, pid, payload, box)


def sender_of(kernel: Kernel, item: Delivery) -> RackAddress:
    """Return the address that a message came from; with the number of the ask if it is one."""
    entry = item.entry
    if entry.kind is EntryKind.ASK:
        return RackAddress(kernel.gid, item.pid, entry.rid)
    return RackAddress(kernel.gid, item.pid, 0, unpack_boxes(entry.rid)[1])


def dead_letter(kernel: Kernel, pid: int, payload: Any, box: int = 0) -> None:
    """Pass an undeliverable message to the group's handler of dead letters, if there is one."""
    kernel.cast(DeadLetter(pid, box), payload)


def return_letters(kernel: Kernel) -> None:
    """Treat the messages left in this process's mailbox, which nobody will handle, as dead letters."""
    while kernel.mailbox:
        item = kernel.take(0)
        if type(item) is Delivery and item.entry.kind is EntryKind.TELL:
            dead_letter(kernel, kernel.pid, item.entry.payload)


def collect_dead_letters(kernel: Kernel) -> None:
    """From now on, treat this process's messages without a receiver as dead letters."""

    def undelivered(message: Undelivered, blobs: Sequence[Any]) -> None:
        dead_letter(kernel, message.pid, blobs[0], message.box)

    kernel.on(Undelivered, undelivered)
