"""Processes that are machines: the program on each is a member of its own, beside the agent that it starts.

It is hidden, as a service is, and its word counts for what happens to the agent. That it falls silent, or goes, is no
verdict: what has become of its machine is for the provider to say.
"""

from __future__ import annotations

import secrets
import signal
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rackactor.errors import InvalidCall, NotAllowed
from rackactor.status import Cause, State
from rackactor_runtime.providers.base import Key, Order
from rackactor_runtime.supervisor.decisions.exit_status import Ending
from rackactor_runtime.supervisor.decisions.messages import Called, Effect, Examine, Reply
from rackactor_runtime.supervisor.decisions.table import INIT, Process

if TYPE_CHECKING:
    from rackactor_runtime.supervisor.decisions.lifecycle import Core

#: Seconds after the time at which the supervisor ends a process that its machine ends itself, if nobody has.
MARGIN = 30.0
#: Seconds for which a machine may still come that was asked for, and of which nothing is known when the group ends.
UNKNOWN = 900.0
#: What a placement may say. The provider knows what of it it can do.
PLACEMENT = ("availability_zone", "flavor", "image", "keypair", "network", "security_groups")


class Machinery:
    """The machines of a group, if its provider makes any."""

    def __init__(self, core: Core, *, made: bool) -> None:
        self._core = core
        #: Whether processes are machines here.
        self.made = made
        #: Until when something may come to be in the cloud that nobody waits for any more (monotonic).
        self.owed_until = 0.0

    def order(self, record: Process, order: dict[str, Any]) -> Order:
        """Return what to ask the provider for: an instance whose birth is the agent's, or a machine."""
        birth = {"pid": record.pid, "incarnation": record.incarnation, "token": record.token}
        surroundings: dict[str, Any] = {
            "env": order.get("env") or {},
            "cwd": order.get("cwd"),
            "memory": order.get("memory"),
        }
        about: dict[str, Any] = {
            "name": record.name,
            "ppid": record.ppid,
            "placement": record.placement,
            "args": order.get("args") or {},
            "fork": order.get("fork") or 0,
            "boot_timeout": self._core.settings.boot_timeout,
        }
        if not self.made:
            return Order(record.life, birth, **surroundings, inherited=order.get("inherited") or {}, **about)
        member = self._core.external("machine", secrets.token_bytes(24))
        member.name, member.machine, record.machine = f"machine of {record.name}", record.pid, member.pid
        member.birth["order"] = {"pid": record.pid, "incarnation": record.incarnation, "birth": birth, **surroundings}
        deadline = self._deadline(record)
        settings = self._core.settings
        machine = {
            "role": "machine",
            "pid": member.pid,
            "incarnation": member.incarnation,
            "token": member.token.hex(),
            "deadline": deadline,
            "lease": settings.lease,
            "boot_timeout": settings.boot_timeout,
        }
        return Order(record.life, machine, **about, deadline=deadline)

    def _deadline(self, record: Process) -> float | None:
        """Return when the machine ends itself: later than the supervisor ends the process, or the group."""
        core, ends = self._core, []
        if record.deadline is not None:
            ends.append(record.deadline + core.settings.grace)
        if core.deadline_at is not None:
            ends.append(core.deadline_at + core.settings.end_grace)
        return core.wall + min(ends) - core.now + MARGIN if ends else None

    # -- what is heard of a machine ----------------------------------------------------------------------

    def located(self, key: Key, address: str) -> None:
        """Learn where it is."""
        record = self._of(key)
        if record is not None:
            record.address = address

    def over(self, key: Key) -> None:
        """Learn that its process has ended: what is done from now on is done to a machine that nobody needs."""
        record = self._of(key)
        if record is not None and record.alive:
            record.kill_at = record.deadline = record.boot_by = None
            if record.state is not State.UNKILLABLE:
                record.state = State.STOPPING

    def unanswered(self, key: Key, seconds: float, words: str) -> None:
        """Learn that the cloud gives no clear answer to whoever asks for it."""
        record = self._of(key)
        if record is not None and record.alive and not record.instance and record.state is not State.UNKILLABLE:
            since = datetime.fromtimestamp(self._core.wall - seconds, UTC)
            record.note = f"the cloud gives no clear answer since {since:%H:%M:%S} UTC: {words}"

    def owed(self, seconds: float) -> None:
        """Learn that something may come to be in the cloud that nobody waits for any more, for how long."""
        self.owed_until = max(self.owed_until, self._core.now + seconds)

    def owes(self, left: Sequence[Process]) -> float:
        """Return for how many seconds something may still come, when these processes are left at the group's end."""
        unknown = self.made and any(not record.instance for record in left)
        return max(self.owed_until - self._core.now, UNKNOWN if unknown else 0.0)

    def unconfirmed(self, key: Key, words: str) -> None:
        """Learn that its delete is not confirmed."""
        record = self._of(key)
        if record is not None and record.alive:
            record.state, record.note = State.UNKILLABLE, words

    def gone(self, record: Process) -> None:
        """Learn that a process is no more: its machine is no member either."""
        member = self._core.table.get(record.machine) if record.machine and not record.external else None
        if member is not None and member.alive:
            self._core.gone(member, Ending(None, None))

    def silent(self, member: Process) -> list[Effect]:
        """Have a machine looked at that has not been heard for a while; one that says nothing for very long is lost."""
        core, record = self._core, self._core.table.get(member.machine)
        if record is None or not record.alive or record.state in (State.STOPPING, State.UNKILLABLE):
            return []
        silent = core.now - member.heard
        if silent > core.settings.silence_limit:
            self.lost(member, f"the guest program on its machine has not answered for {silent:.1f} s")
        elif core.now - member.examined >= core.settings.heartbeat:
            member.examined = core.now
            return [Examine(record.life)]
        return []

    def lost(self, member: Process, words: str) -> None:
        """Give up a process whose machine is none that could be relied on."""
        record = self._core.table.get(member.machine)
        if record is not None and record.alive:
            self._core.signal(record, int(signal.SIGKILL), INIT, Cause.LOST, words)

    def _of(self, key: Key) -> Process | None:
        record = self._core.table.get(key.pid)
        return record if record is not None and record.incarnation == key.incarnation else None


def place(parent: Process, given: object) -> dict[str, Any]:
    """Return a process's placement: its parent's, except for what it was told (RACK's rule).

    Raises:
        InvalidCall: it was told what is no placement.
    """
    if given is None:
        return dict(parent.placement)
    if not isinstance(given, dict):
        raise InvalidCall(f"placement is a map, not {given!r}")
    for name, value in given.items():
        if name not in PLACEMENT:
            raise InvalidCall(f"a placement has no {name!r}; it has: {', '.join(PLACEMENT)}")
        texts = value if isinstance(value, (list, tuple)) and name == "security_groups" else [value]
        if value is not None and not all(isinstance(text, str) and text for text in texts):
            raise InvalidCall(f"the placement's {name!r} is a name or an id, not {value!r}")
    return {**parent.placement, **{name: value for name, value in given.items() if value is not None}}


class KeeperCalls:
    """The system call of whoever watches over a group from outside, and removes what it leaves in a cloud."""

    _core: Core

    def op_keep(self, caller: Process, call: Called) -> None:
        """Be the group's keeper: its presence neither holds a group up, nor is it given up for a short silence."""
        if caller.kind != "operator":
            raise NotAllowed("a keeper comes from outside, as a command line does")
        caller.keeper = True
        self._core.effects.append(Reply(call.pid, call.rid, True))
