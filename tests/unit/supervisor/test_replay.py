"""The state of a group goes to plain values and back: a recorded run goes on from any event with the same effects."""

from __future__ import annotations

import functools
import os
import random
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from driving import House

from rackactor.ipc.pipes.framing import pack_parcel
from rackactor.ipc.pipes.writing import Writer
from rackactor.status import State
from rackactor_runtime.providers.base import InstanceExit, Key, Liveness
from rackactor_runtime.supervisor.actor import Timed
from rackactor_runtime.supervisor.decisions import messages as m
from rackactor_runtime.supervisor.decisions.calls.dispatch import CALLS
from rackactor_runtime.supervisor.decisions.decide import decide
from rackactor_runtime.supervisor.decisions.state import GroupState

#: Runs that are recorded; RACK_REPLAYS=1000 is the full length.
RUNS = int(os.environ.get("RACK_REPLAYS", "50"))
#: Events of each.
EVENTS = 100

Options = dict[str, Any]


def stored(state: GroupState) -> GroupState:
    """Return what is left of a state when it has been stored."""
    records = msgpack.packb(state.to_records())
    return GroupState.from_records(msgpack.unpackb(records, strict_map_key=False))


class Run:
    """A run in which all that can happen to a supervisor happens at random."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.house = House(
            machines=seed % 4 == 0,
            nearby=seed % 4 == 1,
            deadline=500.0 if seed % 2 else None,
            max_spawns=60,
            spawn_period=5.0,
            history=5,
            pipe_held=4000,
            linger=20.0,
        )
        self.events: list[Timed] = []
        self.effects: list[list[m.Effect]] = []
        self.house.recorded = self._record
        self.start = stored(self.house.state)
        self.house.script()
        self.house.operator()
        self.seats: list[tuple[int, int]] = []
        for _ in range(EVENTS):
            self.dice.choice(self._happenings())()

    def _record(self, event: Timed, effects: list[m.Effect]) -> None:
        self.events.append(event)
        self.effects.append(effects)

    def _happenings(self) -> list[Callable[[], object]]:
        calls = [self.call_at_random, self.fork, self.wait, self.kill, self.open_pipe, self.use_pipe]
        fates = [self.come_up, self.end_instance, self.exit, self.pass_time]
        return [*calls, *fates, *fates, self.say_of_an_instance, self.lose]

    # -- who ------------------------------------------------------------------------------------------------

    def member(self) -> int:
        """A member that can speak."""
        return self.dice.choice([r.pid for r in self.house.state.table if r.alive and r.started is not None] or [2])

    def anybody(self) -> int:
        return self.dice.randint(1, self.house.state.table._next)

    def instance(self) -> int:
        pids = [r.pid for r in self.house.state.table if r.alive and not r.external]
        return self.dice.choice(pids or [99])

    # -- what -----------------------------------------------------------------------------------------------

    def fork(self) -> None:
        dice = self.dice
        options: Options = {"n": dice.randint(1, 3), "kind": dice.choice(["function", "actor", "command"])}
        options["on_orphan"] = dice.choice(["kill", "adopt", "detach"])
        options["deadline"] = dice.choice([None, 3.0, 9.0])
        options["global_name"] = dice.choice([None, None, "name", "other"])
        pipes = [(pipe, dice.choice("rw")) for pipe in self.house.state.pipes._pipes if dice.random() < 0.5]
        self.house.cast(self.member(), "fork", (b"target", b"arguments"), pipes=[pipes], **options)

    def come_up(self) -> None:
        pid = self.instance()
        record = self.house.state.table.get(pid)
        self.house.hear(m.InstanceCreated(Key(pid, 1), f"os-{pid}"))
        waiting = [owner for owner in self.house.state.tokens.values() if owner == pid]
        if record is not None and waiting and self.dice.random() < 0.8:
            self.house.hear(m.Joined(pid, 1000 + pid, self.dice.choice([None, b"key"])))
        for owner in list(self.house.state.tokens.values()):
            other = self.house.state.table.get(owner)
            if other is not None and other.kind in ("service", "operator", "machine") and self.dice.random() < 0.5:
                self.house.hear(m.Joined(owner, owner))

    def end_instance(self) -> None:
        dice = self.dice
        code, sig, fault = dice.choice([(0, None, None), (3, None, None), (None, 9, None), (None, None, "no room")])
        how = {"oom": dice.random() < 0.1, "outside": dice.random() < 0.1, "deleted": dice.random() < 0.1}
        self.house.hear(
            m.InstanceEnded(Key(self.instance(), 1), InstanceExit(code, sig, fault=fault, tail="words", **how))
        )

    def exit(self) -> None:
        pid = self.member()
        if pid != 2 or self.dice.random() < 0.02:
            if self.dice.random() < 0.3:
                self.house.cast(pid, "result_part", (b"part",))
            how = self.dice.choice(["exited", "signalled", "exception"])
            self.house.cast(pid, "exit", (b"result",), how=how, code=self.dice.choice([0, 1]), evidence="because")

    def wait(self) -> None:
        pids = [self.anybody() for _ in range(self.dice.randint(0, 2))]
        if self.dice.random() < 0.3:
            self.house.cast(self.member(), "started", pids=pids, count=1)
        elif self.dice.random() < 0.2:
            calls = [each.event for each in self.events if isinstance(each.event, m.Called)]
            begun = [call for call in calls if call.op in ("wait", "started", "service")]
            if begun:
                call = self.dice.choice(begun)
                self.house.cast(call.pid, "cancel", rid=call.rid)
        else:
            self.house.cast(self.member(), "wait", pids=pids, hang=self.dice.random() < 0.8)

    def kill(self) -> None:
        sig = self.dice.choice([0, 9, 10, 15, "reload"])
        self.house.cast(self.member(), "kill", pids=[self.dice.choice([1, -1, 1]) * self.anybody()], signal=sig)

    def open_pipe(self) -> None:
        pid, mode = self.member(), self.dice.choice(["r", "w", "rw"])
        known = list(self.house.state.pipes._pipes)
        args: Options = {"id": self.dice.choice(known)} if known and self.dice.random() < 0.6 else {}
        args = args or {"name": self.dice.choice([None, "fifo"])}
        rid = self.house.cast(pid, "pipe_open", mode=mode, **args)
        answer = self.house.answer(pid, rid)
        if answer is not None and answer.ok:
            self.seats += [(pid, seat) for seat in answer.fields["seats"]]

    def use_pipe(self) -> None:
        if not self.seats:
            return
        dice, (pid, seat) = self.dice, self.dice.choice(self.seats)
        match dice.randrange(4):
            case 0:
                self.house.cast(pid, "pipe_close", seat=seat, taken=dice.choice([None, [(seat, 1)]]))
            case 1:
                writer = Writer()
                other = dice.choice(self.seats)
                writer.introduce(other[1], other[0])
                writer.credit(other[1], other[0], 0, 30)
                for number in range(4):
                    writer.offer(b"\x00message %d" % number)
                list(writer.assign())
                lanes, messages = writer.estate()
                shape, blobs = pack_parcel(messages)
                clean = dice.random() < 0.7
                self.house.cast(pid, "pipe_bequeath", blobs, seat=seat, lanes=lanes, shape=shape, clean=clean)
            case 2:
                reader = dice.choice(self.seats)
                numbers = {"seat": seat, "reader": reader[1], "taken": dice.randint(0, 3), "limit": 200}
                self.house.cast(reader[0], "pipe_credit", received=numbers["taken"], **numbers)
            case 3:
                self.house.cast(pid, "pipe_piece", (b"piece",))

    def call_at_random(self) -> None:
        """Any other call there is, with arguments that may fit."""
        dice = self.dice
        ending = ["detach", "detach", "end", "shutdown"]
        op = dice.choice(sorted(CALLS)) if dice.random() < 0.9 else "nonsense"
        late = len(self.events) > 0.8 * EVENTS
        op = dice.choice(ending) if late and dice.random() < 0.3 else op
        if op in ending and not late:
            return
        args: Options = {"pid": self.anybody(), "name": dice.choice(["files", "snapshots", "name", "fifo"])}
        args |= {"hash": dice.choice(["h1", "h2"]), "info": "info", "enable": dice.random() < 0.7, "box": 0}
        args |= {"endpoint": "ipc:///nowhere", "ticket": b"ticket", "number": 1, "numbers": [1], "words": "nonsense"}
        args |= {"set": {"name": dice.choice([None, b"value"])}, "size": dice.randint(1, 9000)}
        self.house.cast(
            2 if op in ending and self.house.state.lives(2) else self.member(),
            op,
            (dice.choice([b"", b"data"]),),
            **args,
        )

    def pass_time(self) -> None:
        seconds = self.dice.choice([0.1, 0.5, 3.0, 12.0])
        heard = [record.pid for record in self.house.state.table if self.dice.random() < 0.9]
        if self.dice.random() < 0.1:
            self.house.now += 5.0
            self.house.hear(m.Absent(5.0))
        for effect in self.house.pass_time(seconds, heard=heard):
            if isinstance(effect, m.Probe):
                self.house.hear(m.Probed(effect.key, self.dice.choice(list(Liveness))))

    def say_of_an_instance(self) -> None:
        key = Key(self.instance(), 1)
        events = [
            m.InstanceLocated(key, "10.0.0.9"),
            m.InstanceOver(key),
            m.Unanswered(key, 3.0, "HTTP 503"),
            m.Owed(5.0),
            m.Unconfirmed(key, "still there"),
            m.Corresponded(self.member(), self.anybody()),
        ]
        self.house.hear(self.dice.choice(events))

    def lose(self) -> None:
        events = [m.Severed(self.instance(), "too much"), m.Malformed(self.instance(), "nonsense")]
        services = [record.pid for record in self.house.state.table if record.kind == "service"]
        events += [m.ServiceEnded(pid, "its end") for pid in services]
        events += [m.OperatorArrived()]
        if len(self.events) > 0.8 * EVENTS:
            events.append(m.OwnerGone("gone"))
        self.house.hear(self.dice.choice(events))


def play(state: GroupState, event: Timed) -> list[m.Effect]:
    return decide(state, event.event, event.now, event.wall, event.entropy)


@functools.cache
def run_of(seed: int) -> Run:
    return Run(seed)


@pytest.mark.parametrize("seed", range(RUNS))
def test_a_run_goes_on_from_any_event(seed: int) -> None:
    run = run_of(seed)
    whole = run.start
    each_time = stored(whole)
    later = {run.dice.randrange(len(run.events)) for _ in range(3)}
    going_on: list[GroupState] = []
    for number, (event, effects) in enumerate(zip(run.events, run.effects, strict=True)):
        if number in later:
            going_on.append(stored(whole))
        where = f"event {number}: {event.event}"
        assert play(whole, event) == effects, f"{where}: the same state comes to the same effects"
        for state in going_on:
            assert play(state, event) == effects, f"{where}: stored some events before this one"
        each_time = stored(each_time)
        assert play(each_time, event) == effects, f"{where}: stored before each"
    assert each_time.to_records() == whole.to_records() == run.house.state.to_records()


def test_all_that_can_happen_does() -> None:
    """So that no part of the state is left out of this by chance."""
    ops: set[str] = set()
    kinds: set[type] = set()
    states: set[str] = set()
    for seed in range(50):
        run = run_of(seed)
        for event in run.events:
            kinds.add(type(event.event))
            if isinstance(event.event, m.Called):
                ops.add(event.event.op)
        states |= {str(record.state) for record in run.house.state.table}
    assert ops >= CALLS.keys()
    assert set(m.Event.__args__) - kinds == set()
    assert states >= {str(State.RUNNING), str(State.STOPPING), str(State.ZOMBIE)}
