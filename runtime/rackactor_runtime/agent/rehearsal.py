"""What a process does next, done once for nothing while it waits.

After a fork, whatever is used for the first time costs a copy of the memory page it lies in. A warm process has time:
it goes through the words of the wire, the codec and the loading of a target before anybody waits for it. All of
this is pure; nothing of it is left but the pages.
"""

from __future__ import annotations

import logging
import pickle

from thespian.actors import Actor

from rackactor import capabilities, codec, stream, wire
from rackactor.peers import Peers
from rackactor.target import pack_arguments, pack_target, unpack_target
from rackactor.wire import Header, Kind


def rehearse() -> None:
    """Go through a join, the loading of a target, a message and its reply."""
    wire.parse_map(wire.pack_body({"token": b"", "name": "", "heartbeat": 1.0, "pickle": True, "words": None}))
    wire.parse_header(Header(Kind.WELCOME, 1, 1, 1, 1).pack())
    unpack_target(pack_target(Actor).blob)
    pickle.loads(pack_arguments((), {}))
    logging.Formatter("%(levelname)s %(name)s: %(message)s")
    capabilities.apply({}, capabilities.pack(capabilities.standard()))
    peers = Peers()
    body = stream.pack_entries([stream.Entry(stream.EntryKind.ASK, 1, codec.encode(b""))])
    for delivery in peers.arrived(2, 1, (1, 1, 0, stream.WINDOW), stream.parse_entries(1, body)):
        peers.consumed(2, delivery.entry.cost)
        peers.offer(2, stream.Entry(stream.EntryKind.REPLY, 1, codec.encode(codec.decode(delivery.entry.payload))))
    for sending in peers.send():
        wire.parse_header(Header(sending.kind, 1, 2, 1, 1, sending.extra).pack())
