"""What the supervisor tells members that have not asked, for both ends of the wire. `docs/wire.md` lists it."""

from __future__ import annotations

from typing import Annotated

from rackactor.wire.checks import (
    Bytes,
    BytesMap,
    Count,
    Flag,
    Items,
    Map,
    Number,
    Numbers,
    Pid,
    Seconds,
    Signal,
    Text,
    one_of,
)
from rackactor.wire.schema import Event

# -- processes ------------------------------------------------------------------------------------------------


class SignalEvent(Event, op="signal"):
    """A signal has come."""

    signal: Signal
    sender: Pid


class ChildEvent(Event, op="child"):
    """A child has ended."""

    pid: Pid
    incarnation: Count
    #: See `rackactor.status.ExitStatus`.
    status: Map


class LeavingEvent(Event, op="leaving"):
    """The actor of a child has ended, its process not quite yet."""

    pid: Pid


class GoneEvent(Event, op="gone"):
    """A process that one has been in touch with is no more."""

    pid: Pid
    why: Text


class HeartbeatEvent(Event, op="heartbeat"):
    """The supervisor has not heard of the member for long: it is to say something."""


class EndEvent(Event, op="end"):
    """The group has ended."""

    reason: Text = "the group has ended"
    #: For so long something may still come to be in the cloud that nobody waits for.
    owed: Seconds | None = None


# -- connections ----------------------------------------------------------------------------------------------


class ListenEvent(Event, op="listen"):
    """Listen for a process that wants to connect."""

    pid: Pid
    incarnation: Count
    #: Of the introduction.
    number: Number
    #: What it will show.
    ticket: Bytes
    #: Its public key, over a network.
    key: Bytes | None = None
    #: Where; empty: where the supervisor is reached from.
    bind: Text = ""


class MeetEvent(Event, op="meet"):
    """Connect to a process that listens."""

    pid: Pid
    incarnation: Count
    number: Number
    ticket: Bytes
    endpoint: Text
    key: Bytes | None = None


class PartEvent(Event, op="part"):
    """The other one has given introductions up."""

    pid: Pid
    numbers: Numbers


# -- the actor system -----------------------------------------------------------------------------------------


class CapabilitiesEvent(Event, op="capabilities"):
    """Capabilities have changed."""

    set: BytesMap


class DeadLetterEvent(Event, op="dead_letter"):
    """A message that nobody can receive."""

    #: Whom it was for.
    pid: Count
    box: Count
    sender: Pid
    payload: Bytes


class SourceEvent(Event, op="source"):
    """A source has been loaded, or unloaded."""

    hash: Text
    info: Text
    loaded: Flag


class ValidateSourceEvent(Event, op="validate_source"):
    """The source authority is to judge a source."""

    hash: Text
    data: Bytes


# -- pipes, memory, machines ----------------------------------------------------------------------------------


class PipeEvent(Event, op="pipe"):
    """Something of the other ends of a pipe; `what` says which of the fields are there."""

    what: Annotated[str, one_of("reader", "readers", "writer", "left", "ended", "piece", "data")]
    #: The end that is told.
    seat: Number
    #: The other end: `reader` and `writer` have come, or `left`.
    reader: Count = 0
    writer: Count = 0
    pid: Count = 0
    #: Of `readers`.
    count: Count = 0
    #: Of `left`: what a reader had taken, None: nobody knows; whether a writer has lost nothing.
    taken: Count | None = None
    clean: Flag = False
    #: Of `ended`; and the writers that died, [pid, how] each.
    ended: Flag = False
    broken: Items = ()
    #: Of `data`, which goes with it, or has come as `piece`: the number of the first message, how they lie, and
    #: whether it was the last.
    first: Count = 0
    shape: Items = ()
    closing: Flag = False


class ShmEvent(Event, op="shm"):
    """Shared memory has changed; with a replica's events go the changes."""

    revision: Count = 0
    #: Something is missing: a replica begins anew.
    gap: Flag = False
    #: How far a replica could be.
    at: Count | None = None


class MachineEvent(Event, op="machine"):
    """What the guest program on a machine is to do."""

    do: Annotated[str, one_of("grant", "delete", "end")]
    #: Of `grant`: bytes of output.
    count: Count = 0
    #: Of `end`.
    why: Text = ""
