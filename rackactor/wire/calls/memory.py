"""The system calls of shared memory."""

from __future__ import annotations

from typing import Annotated, Any

from rackactor.wire.checks import Bytes, Check, Count, Flag, Text
from rackactor.wire.schema import Call


def _are_operations(value: Any) -> bool:
    return type(value) is list and all(type(each) is list and each for each in value)


class Shm(Call, op="shm"):
    """Carry out operations; answers with the result of each, and the revision. Large values go with it."""

    #: See `rackactor.ipc.memory.operations`.
    ops: Annotated[list[Any], Check("a list of lists: operations, none of them empty", _are_operations)]


class ShmOpen(Call, op="shm_open"):
    """Tell where the memory is, and how large."""


class ShmSync(Call, op="shm_sync"):
    """Tell the revision."""


class ShmWatch(Call, op="shm_watch"):
    """Begin or stop to tell the caller of changes of keys with a prefix."""

    prefix: Bytes
    on: Flag = True


class ShmReplica(Call, op="shm_replica"):
    """Begin to send the caller all changes."""


class ShmAck(Call, op="shm_ack"):
    """Say how far a replica is."""

    #: Bytes of changes that it has got.
    got: Count
    #: Tell how far it could be; or that something is missing.
    ask: Flag = False


class ShmLock(Call, op="shm_lock"):
    """Acquire a lock; answers with a token, 0: somebody else has it."""

    name: Text
    #: False: answer at once.
    wait: Flag = True


class ShmUnlock(Call, op="shm_unlock"):
    """Give a lock back."""

    name: Text
    token: Count


class ShmHolder(Call, op="shm_holder"):
    """Tell who holds a lock; pid 0: nobody."""

    name: Text


class ShmRestore(Call, op="shm_restore"):
    """Take a part of a snapshot, which goes with it; or (`last`) put the whole in the place of all there is."""

    #: Bytes that came before it.
    offset: Count = 0
    last: Flag = False
