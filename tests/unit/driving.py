"""Drive the supervisor actor without a socket: events in, effects out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from rackactor_runtime.providers.base import InstanceExit, Key, Liveness
from rackactor_runtime.services import SERVICES
from rackactor_runtime.supervisor.actor import WORLD, NullStore, Supervisor, Timed
from rackactor_runtime.supervisor.decisions import messages as m
from rackactor_runtime.supervisor.decisions.settings import Settings
from rackactor_runtime.supervisor.decisions.state import GroupState
from rackactor_runtime.supervisor.decisions.table import Process
from rackactor_runtime.supervisor.members.authentication import Door, Speaker

E = TypeVar("E")


class _Reference:
    """Stands where the agent's reference object stands: what the actor sends is noted down."""

    def __init__(self, sent: list[m.Effect]) -> None:
        self.address = WORLD
        self._sent = sent

    def actor_send(self, address: Any, effect: m.Effect) -> None:
        assert address == WORLD
        self._sent.append(effect)


class House:
    """A supervisor, its clock, and everything it wanted done.

    Attributes:
        effects: all of them, in order.
        last: those of the last event.
    """

    def __init__(self, *, machines: bool = False, nearby: bool = False, **settings: Any) -> None:
        self.state = GroupState(
            "gid",
            "house",
            Settings.parse(settings),
            services=SERVICES,
            machines=machines,
            nearby=nearby,
            python=(3, 11),
        )
        self.effects: list[m.Effect] = []
        self.last: list[m.Effect] = []
        self._sent: list[m.Effect] = []
        self._actor = Supervisor(self.state, NullStore())
        self._actor._myRef = _Reference(self._sent)
        self._rids = itertools.count(1)
        self._events = itertools.count(1)
        #: Called with each event and what came of it.
        self.recorded: Callable[[Timed, list[m.Effect]], object] = lambda event, effects: None
        self.now = 100.0

    def hear(self, event: m.Event) -> list[m.Effect]:
        """Hand an event in; return what the supervisor wants done."""
        timed = Timed(event, self.now, self.now + 1e9, next(self._events).to_bytes(8, "big"))
        self._actor.receiveMessage(timed, WORLD)
        self.last = list(self._sent)
        self.recorded(timed, self.last)
        self._sent.clear()
        self.effects += self.last
        return self.last

    def pick(self, kind: type[E]) -> list[E]:
        """Return the effects of one kind of the last event."""
        return [effect for effect in self.last if isinstance(effect, kind)]

    def told(self, pid: int, name: str) -> list[dict[str, Any]]:
        """Return what the last event had a member notified of."""
        return [e.event.to_wire() for e in self.pick(m.Notify) if e.pid == pid and e.event.op == name]

    # -- what may happen ------------------------------------------------------------------------------

    def script(self) -> int:
        """Have the program that made the group join; its death is watched for where everybody is nearby."""
        self.hear(m.GroupOpened(b"script", watched=self.state.nearby))
        pid = self.entered()
        self.hear(m.Joined(pid, 4242))
        return pid

    def operator(self) -> int:
        """Have a command line join."""
        pid = self.arrive()
        self.hear(m.Joined(pid, 4343))
        return pid

    def arrive(self) -> int:
        """Have a command line show the token that all have; return the pid that it gets."""
        self.hear(m.OperatorArrived())
        return self.entered()

    def join(self, door: Door, connection: bytes, token: object, protocol: object, key: bytes | None) -> Speaker:
        """Have somebody show a token at a door, and be entered."""
        speaker = door.join(connection, token, protocol, key)
        if self.record(speaker.pid).started is None:
            self.hear(m.Joined(speaker.pid, 4444, key))
        return speaker

    def entered(self) -> int:
        """Return the pid that the last event has given to a member that was not forked."""
        (entered,) = self.pick(m.Entered)
        return entered.pid

    def cast(self, caller: int, op: str, blobs: Sequence[Any] = (), /, **args: Any) -> int:
        """Have a member make a call; return its number."""
        rid = next(self._rids)
        self.hear(m.Called(caller, rid, op, args, blobs))
        return rid

    def call(self, caller: int, op: str, blobs: Sequence[Any] = (), /, **args: Any) -> m.Reply:
        """Have a member make a call; return its answer, which must come at once."""
        rid = self.cast(caller, op, blobs, **args)
        answer = self.answer(caller, rid)
        assert answer is not None, f"no answer to {op}"
        return answer

    def answer(self, pid: int, rid: int) -> m.Reply | None:
        """Return the answer to a call, which comes once at the most."""
        found = [e for e in self.effects if isinstance(e, m.Reply) and (e.pid, e.rid) == (pid, rid)]
        assert len(found) <= 1
        return found[0] if found else None

    def fork(self, pid: int, n: int = 1, **options: Any) -> list[int]:
        """Have a member fork."""
        args = {"n": n, "kind": "function", "what": "f", **options}
        answer = self.call(pid, "fork", (b"target", b"arguments"), **args)
        assert answer.ok, answer.fields
        pids: list[int] = answer.fields["pids"]
        return pids

    def spawn(self, pid: int, **options: Any) -> int:
        """Have a member fork a process that comes up."""
        (child,) = self.fork(pid, **options)
        self.up(child)
        return child

    def up(self, pid: int) -> None:
        """Have a process come up."""
        self.hear(m.InstanceCreated(Key(pid, 1), f"os-{pid}"))
        self.hear(m.Joined(pid, 1000 + pid))

    def exit(self, pid: int, code: int = 0, how: str = "exited", **fields: Any) -> None:
        """Have a process report its end, and its instance end."""
        self.call(pid, "exit", (b"result",), how=how, code=code, **fields)
        self.die(pid, code)

    def die(self, pid: int, code: int | None = None, signal: int | None = None, **how: Any) -> list[m.Effect]:
        """Have the provider say that an instance is gone."""
        return self.hear(m.InstanceEnded(Key(pid, 1), InstanceExit(code, signal, **how)))

    def probed(self, pid: int, liveness: Liveness) -> list[m.Effect]:
        """Have the provider say what it sees of an instance."""
        return self.hear(m.Probed(Key(pid, 1), liveness))

    def pass_time(self, seconds: float, *, heard: Sequence[int] = ()) -> list[m.Effect]:
        """Let time pass; those `heard` have not been silent."""
        self.now += seconds
        self.hear(m.Heard(heard))
        return self.hear(m.Ticked())

    def keep_hearing(self, seconds: float, step: float = 1.0) -> list[m.Effect]:
        """Let time pass with everybody's heartbeats; return all effects."""
        found: list[m.Effect] = []
        for _ in range(int(seconds / step)):
            found += self.pass_time(step, heard=[record.pid for record in self.state.table])
        return found

    # -- looking ---------------------------------------------------------------------------------------

    def record(self, pid: int) -> Process:
        """Return the record of a process that lives or has been reaped."""
        found = self.state.table.get(pid) or self.state.table.past(pid)
        assert found is not None
        return found

    def state_of(self, pid: int) -> str:
        return str(self.record(pid).state)


def refusal(answer: m.Reply) -> tuple[str, str]:
    """Return the type and the words of an error that a call was answered with."""
    assert not answer.ok
    return answer.fields["type"], answer.fields["message"]
