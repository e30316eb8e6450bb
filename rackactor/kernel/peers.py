"""What an agent keeps of each process it talks to: a stream each way, and the path they take.

Pure bookkeeping: `Peers` takes what arrived and what the application wants, and yields the messages to
send as (path, header fields, bodies). The path None is the supervisor, who relays; another value is the
token of a direct connection, which only the caller understands.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from rackactor.wire.frames import Kind
from rackactor.wire.stream import WINDOW, Entry, EntryKind, Incoming, Outgoing, Packet, Standing, pack_entries

#: Messages to one peer after which a direct connection is worth its price; 16 KiB count as one more.
DIRECT_AFTER = 24
#: The same between processes of one host, where it costs no handshake and no round trip over a network.
DIRECT_NEARBY = 8


class Delivery(NamedTuple):
    """A message for the application."""

    pid: int
    incarnation: int
    entry: Entry
    #: What it takes of its sender's credit, bytes.
    cost: int = 0


class Sending(NamedTuple):
    """A message to send to a peer."""

    pid: int
    path: Any
    kind: Kind
    extra: tuple[int, ...]
    entries: Sequence[Entry] = ()

    @property
    def bodies(self) -> list[bytes | memoryview]:
        """The body frames."""
        return pack_entries(self.entries) if self.entries else []


class Peer:
    """One process at the other end."""

    __slots__ = ("direct", "incarnation", "incoming", "offered", "outgoing", "path", "pid")

    def __init__(self, pid: int, incarnation: int) -> None:
        self.pid = pid
        self.incarnation = incarnation
        self.outgoing = Outgoing(WINDOW)
        self.incoming = Incoming(WINDOW)
        self.path: Any = None
        self.offered = 0
        #: A direct connection has been asked for (or cannot be had).
        self.direct = False


class Peers:
    """Every process an agent talks to."""

    def __init__(self) -> None:
        #: See `DIRECT_AFTER`.
        self.direct_after = DIRECT_AFTER
        self._peers: dict[int, Peer] = {}
        self._dirty: dict[int, Peer] = {}  # peers with something to send
        self._owed: dict[int, Peer] = {}  # peers that do not know yet how far we are
        self._starved: dict[int, Peer] = {}  # those of them that should hear at once

    def get(self, pid: int) -> Peer:
        """Return the peer of that pid, made at first use."""
        peer = self._peers.get(pid)
        if peer is None:
            peer = self._peers[pid] = Peer(pid, 0)
        return peer

    def known(self, pid: int) -> Peer | None:
        """Return the peer of that pid if there is one."""
        return self._peers.get(pid)

    def offer(self, pid: int, entry: Entry) -> Peer:
        """Take a message for a process."""
        peer = self.get(pid)
        peer.offered += 1 + (peer.outgoing.offer(entry) >> 14)
        self._dirty[pid] = peer
        return peer

    def pass_on(self, pid: int, entry: Entry) -> tuple[int, int, int, int] | None:
        """Take a message that the caller sends at once; return its numbers. None: nothing has happened, see `offer`."""
        peer = self._peers.get(pid)
        if peer is None or (number := peer.outgoing.pass_on(entry)) == 0:
            return None
        self._settled(pid)
        ack, limit = peer.incoming.state()
        return number, 1, ack, limit

    def over_limit(self, pid: int) -> bool:
        """Tell whether a sender to this process should wait."""
        peer = self._peers.get(pid)
        return peer is not None and peer.outgoing.over_limit

    def arrived(
        self, pid: int, incarnation: int, extra: tuple[int, int, int, int], entries: list[Entry]
    ) -> list[Delivery]:
        """Take a packet of a peer; return what the application may have now."""
        first, _, ack, limit = extra
        peer = self._peers.get(pid) or self.get(pid)
        peer.incarnation = incarnation
        self._acknowledge(peer, ack, limit)
        ready = peer.incoming.accept(Packet(first, entries))
        self._owed[pid] = peer
        if not ready:
            return []
        deliveries = [Delivery(pid, incarnation, entry, entry.cost) for entry in ready]
        peer.incoming.charge(sum([each.cost for each in deliveries]), deliveries[-1].cost)
        return deliveries

    def follows(self, pid: int, incarnation: int, numbers: tuple[int, int, int, int], entry: Entry) -> Delivery | None:
        """Take the only message of a packet if it is the next one; None: nothing has happened, see `arrived`."""
        number, _, ack, limit = numbers
        peer = self._peers.get(pid)
        cost = entry.cost
        if peer is None or not peer.incoming.follows(number, cost):
            return None
        peer.incarnation = incarnation
        self._acknowledge(peer, ack, limit)
        self._owed[pid] = peer
        return Delivery(pid, incarnation, entry, cost)

    def acknowledged(self, pid: int, ack: int, limit: int) -> None:
        """Take a bare acknowledgement of a peer."""
        peer = self._peers.get(pid)
        if peer is not None:
            self._acknowledge(peer, ack, limit)

    def _acknowledge(self, peer: Peer, ack: int, limit: int) -> None:
        peer.outgoing.acknowledge(ack, limit)
        if peer.outgoing.waiting_cost and peer.outgoing.sendable:
            self._dirty[peer.pid] = peer

    def consumed(self, pid: int, cost: int) -> None:
        """Learn that the application has taken a message of this peer."""
        peer = self._peers.get(pid)
        if peer is not None:
            peer.incoming.consume(cost)
            self._owed[pid] = peer
            if peer.incoming.credit_due:
                self._starved[pid] = peer

    @property
    def owes(self) -> bool:
        """Tell whether some peer waits for an acknowledgement, without hurry."""
        return bool(self._owed)

    @property
    def waiting(self) -> bool:
        """Tell whether something is to be sent."""
        return bool(self._dirty or self._starved)

    def send(self, everything: bool = False) -> Iterator[Sending]:
        """Yield what is to be sent now.

        Args:
            everything: also the acknowledgements that are in no hurry.
        """
        while self._dirty:
            pid, peer = self._dirty.popitem()
            while (packet := peer.outgoing.packet()) is not None:
                self._settled(pid)
                first, entries = packet
                ack, limit = peer.incoming.state()
                yield Sending(pid, peer.path, Kind.DATA, (first, len(entries), ack, limit), entries)
        late = self._owed if everything else self._starved
        while late:
            pid, peer = late.popitem()
            self._settled(pid)
            if peer.incoming.ack_due:
                yield Sending(pid, peer.path, Kind.ACK, peer.incoming.state())

    def _settled(self, pid: int) -> None:
        """Take note that a peer is about to learn how far we are."""
        self._owed.pop(pid, None)
        self._starved.pop(pid, None)

    def undrained(self) -> Iterator[tuple[int, Any]]:
        """Yield (pid, path) of the direct peers that have not acknowledged everything."""
        for peer in self._peers.values():
            if peer.path is not None and peer.outgoing.pending:
                yield peer.pid, peer.path

    def tell_state(self, pid: int) -> Iterator[Sending]:
        """Yield an acknowledgement for a peer that asks how far we are."""
        peer = self._peers.get(pid)
        if peer is not None:
            yield Sending(pid, peer.path, Kind.ACK, peer.incoming.state())

    def standing(self, pid: int) -> Standing:
        """Tell how far the stream to a peer is."""
        peer = self._peers.get(pid)
        return Standing(0, 0, False, 0) if peer is None else peer.outgoing.standing

    def switch(self, pid: int, path: Any, *, again: bool) -> None:
        """Take another path to a peer; `again`: the old one broke, so send what is not acknowledged again."""
        peer = self.get(pid)
        peer.path = path
        if again:
            peer.outgoing.rewind()
            peer.incoming.forget_told()  # the acknowledgement may be what the broken path lost: credit with it
            self._dirty[pid] = self._owed[pid] = self._starved[pid] = peer

    def gone(self, pid: int) -> list[Entry]:
        """Stop sending to a process that is gone; return what it may not have had, in order.

        What it sent on a direct path may still be under way: that half of a peer stays.
        """
        peer = self._peers.get(pid)
        self._dirty.pop(pid, None)
        self._settled(pid)
        if peer is None:
            return []
        if peer.path is None:
            del self._peers[pid]
        return peer.outgoing.undelivered()

    def drained(self) -> bool:
        """Tell whether everything has left: to the supervisor, or acknowledged by a direct peer."""
        return not any(
            peer.outgoing.waiting_cost or (peer.path is not None and peer.outgoing.pending)
            for peer in list(self._peers.values())  # a signal handler may interrupt this, and meet another one
        )

    def wants_direct(self, pid: int) -> bool:
        """Tell once whether a direct connection to this peer is worth asking for."""
        peer = self._peers[pid]
        if peer.direct or peer.offered < self.direct_after:
            return False
        peer.direct = True
        return True

    def introduced(self, pid: int) -> None:
        """Take note that this peer has asked for a direct connection itself: one is enough."""
        self.get(pid).direct = True

    def reconsider(self, pid: int) -> None:
        """Let `wants_direct` say yes once more: what failed before may work by now."""
        peer = self._peers.get(pid)
        if peer is not None and peer.path is None:
            peer.direct = False


__all__ = ["Delivery", "EntryKind", "Peer", "Peers", "Sending"]
