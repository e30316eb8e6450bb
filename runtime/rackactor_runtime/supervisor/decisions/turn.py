"""One decision under way: the state that it changes, its time, and its effects."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from rackactor.errors import RackError
from rackactor.records import dataclass
from rackactor.wire.errors import pack_error
from rackactor.wire.schema import Event
from rackactor_runtime.supervisor.decisions.messages import Called, Effect, Notify, Reply
from rackactor_runtime.supervisor.decisions.state import GroupState
from rackactor_runtime.supervisor.decisions.table import Process

#: Size of a token, bytes.
TOKEN = 24


@dataclass(frozen=True)
class Hooks:
    """What else follows when a process joins or ends, by rules of modules that `lifecycle` does not know."""

    joined: Sequence[Callable[[Turn, Process], None]] = ()
    #: Called before anybody is told of its end.
    gone: Sequence[Callable[[Turn, Process], None]] = ()
    #: Called when everybody has been told.
    told: Sequence[Callable[[Turn, Process], None]] = ()


class Turn:
    """See the module.

    Args:
        state: of the group.
        now: seconds of the group's own clock, which never goes back.
        wall: seconds since the epoch.
        entropy: random bytes, from which all tokens of this decision are derived.
        hooks: see there.

    Attributes:
        effects: what is to be done, in order.
    """

    def __init__(self, state: GroupState, now: float, wall: float, entropy: bytes, hooks: Hooks) -> None:
        self.state = state
        self.now = now
        self.wall = wall
        self.hooks = hooks
        self.effects: list[Effect] = []
        self._entropy = entropy
        self._tokens = 0

    def token(self) -> bytes:
        """Return a token that nobody can guess."""
        self._tokens += 1
        number = self._tokens.to_bytes(8, "big")
        return hashlib.blake2b(number, digest_size=TOKEN, key=self._entropy).digest()

    def emit(self, *effects: Effect) -> None:
        """Add effects."""
        self.effects += effects

    def reply(self, call: Called, fields: dict[str, Any] | None = None, blobs: Sequence[Any] = ()) -> None:
        """Answer a call, if the caller waits for an answer."""
        if call.rid:
            self.emit(Reply(call.pid, call.rid, True, fields or {}, blobs))

    def refuse(self, pid: int, rid: int, error: RackError) -> None:
        """Answer a call with an error."""
        self.emit(Reply(pid, rid, False, pack_error(error)))

    def notify(self, pid: int, event: Event, blobs: Sequence[Any] = ()) -> None:
        """Tell a member something that it has not asked for."""
        self.emit(Notify(pid, event, blobs))
