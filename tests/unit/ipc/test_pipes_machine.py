"""A whole world of pipes, driven without a socket: real desks, the supervisor's real table, a network that dawdles.

Whatever opens, closes, leaves or is killed, and in whichever order news travels: nothing is lost that was not with
somebody who was killed, nothing comes twice, and one writer's messages reach one reader in order.
"""

from __future__ import annotations

import random
import threading
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from support import PATIENCE

from rackactor import errors
from rackactor.ipc.pipes import framing
from rackactor.ipc.pipes import registry as desks
from rackactor.ipc.pipes.framing import pack, unpack_message
from rackactor.ipc.pipes.handles import ReadEnd, WriteEnd
from rackactor.ipc.pipes.registry import PipeTable
from rackactor.ipc.pipes.writing import BACKLOG
from rackactor.kernel.peers import Delivery
from rackactor.status import Cause, ExitStatus
from rackactor.wire.calls.pipes import PipeBequeath
from rackactor.wire.errors import unpack_error
from rackactor.wire.events import PipeEvent
from rackactor.wire.schema import Call
from rackactor.wire.stream import Entry
from rackactor_runtime.supervisor.decisions import pipes
from rackactor_runtime.supervisor.decisions.calls.dispatch import carry_out
from rackactor_runtime.supervisor.decisions.messages import Called, Notify
from rackactor_runtime.supervisor.decisions.settings import Settings
from rackactor_runtime.supervisor.decisions.state import GroupState
from rackactor_runtime.supervisor.decisions.table import Process
from rackactor_runtime.supervisor.decisions.turn import Hooks, Turn


class World:
    """A supervisor's pipes, processes, and channels between them that keep their order."""

    def __init__(self, seed: int = 0, limit: int = 1 << 30) -> None:
        self.random = random.Random(seed)
        self.state = GroupState("gid", "world", Settings(pipe_held=limit))
        self.pipes = self.state.pipes
        self.effects: list[Any] = []
        self.kernels: dict[int, Kernel] = {}
        self.channels: dict[tuple[int, int], deque[Any]] = defaultdict(deque)
        self.next_pid = 2

    def process(self) -> Kernel:
        kernel = Kernel(self, self.next_pid)
        self.kernels[self.next_pid] = kernel
        self.next_pid += 1
        return kernel

    def step(self, channel: tuple[int, int] | None = None) -> bool:
        """Deliver one message; False when none is under way."""
        busy = [key for key, queue in self.channels.items() if queue]
        if not busy:
            return False
        source, target = channel or self.random.choice(busy)
        item = self.channels[source, target].popleft()
        if target == 1:
            self.supervise(item)
        elif target in self.kernels:
            self.kernels[target].take(source, item)
        return True

    def supervise(self, call: Called) -> Any:
        caller: Any = self.kernels.get(call.pid)
        turn = Turn(self.state, 0.0, 0.0, b"", Hooks())
        try:
            if caller is not None:  # what has ended is not listened to: see `dispatch.handle`
                carry_out(turn, caller, call)
        except errors.RackError as error:
            turn.refuse(call.pid, call.rid, error)
        self.effects += turn.effects
        return self.spread()

    def spread(self) -> Any:
        effects, self.effects = self.effects, []
        answer = None
        for effect in effects:
            if isinstance(effect, Notify):
                self.channels[1, effect.pid].append(effect)
            else:
                answer = effect
        return answer

    def settle(self) -> None:
        """Let everything arrive, and time pass."""
        for _ in range(6):
            while self.step():
                pass
            for kernel in list(self.kernels.values()):
                kernel.pass_time()

    def kill(self, kernel: Kernel) -> None:
        """SIGKILL: a part of what was on its way is lost."""
        del self.kernels[kernel.pid]
        for (source, _), queue in self.channels.items():
            if source == kernel.pid:
                for _ in range(self.random.randint(0, len(queue))):
                    queue.pop()
        while self.channels[kernel.pid, 1]:
            self.step((kernel.pid, 1))
        self.gone(kernel, Cause.DELETED_OUTSIDE)

    def leave(self, kernel: Kernel) -> None:
        """End in good order."""
        kernel.pipe_table.leave()
        while any(queue for (source, _), queue in self.channels.items() if source == kernel.pid):
            self.step()
        del self.kernels[kernel.pid]
        self.gone(kernel, Cause.EXITED)

    def gone(self, kernel: Kernel, cause: Cause) -> None:
        turn = Turn(self.state, 0.0, 0.0, b"", Hooks())
        status = ExitStatus(0, None, cause, "", None, 0.0)
        pipes.gone(turn, Process(kernel.pid, 1, kernel.pid, "", "function", "", 0.0, status=status))
        self.effects += turn.effects
        self.spread()


class Kernel:
    """Stands where a process's kernel stands."""

    closed = False
    ended = ""
    last_turn = 0.0
    #: Of its record at the supervisor.
    pieces: Any = ()

    def __init__(self, world: World, pid: int) -> None:
        self.world = world
        self.pid = pid
        self.timers: list[Callable[[], None]] = []
        self.handlers: dict[type, Any] = {}
        self.pipe_table = PipeTable(self)  # type: ignore[arg-type]
        self.on(PipeEvent, self.pipe_table.event)

    def take_briefly(self, lock: Any, again: Any) -> bool:
        return bool(lock.acquire())

    def on(self, kind: type, handler: Any) -> None:
        self.handlers[kind] = handler

    def check(self) -> None:
        pass

    def call_soon_threadsafe(self, action: Callable[..., Any], *args: Any) -> None:
        action(*args)

    call_soon_batched = call_from_waiter = call_soon_threadsafe

    def call_later(self, delay: float, action: Callable[[], None]) -> None:
        self.timers.append(action)

    def pass_time(self) -> None:
        timers, self.timers = self.timers, []
        for timer in timers:
            timer()

    def offer(self, pid: int, entry: Entry) -> None:
        self.world.channels[self.pid, pid].append(entry)

    def request(self, call: Call) -> None:
        self.world.channels[self.pid, 1].append(Called(self.pid, 0, call.op, call.to_wire()))

    cast = request

    def call(self, call: Call, *blobs: Any) -> Any:
        while self.world.channels[self.pid, 1]:
            self.world.step((self.pid, 1))
        answer = self.world.supervise(Called(self.pid, 1, call.op, call.to_wire(), blobs))
        if not answer.ok:
            raise unpack_error(answer.fields)
        return answer.fields, answer.blobs

    def wait(self, done: Callable[[], Any], timeout: float | None) -> bool:
        while not done() and self.world.step():
            pass
        if not done():
            self.world.settle()
        return bool(done())

    def take(self, source: int, item: Any) -> None:
        if isinstance(item, Notify):
            self.handlers[type(item.event)](item.event, item.blobs)
        else:
            self.pipe_table.arrived(Delivery(source, 1, item))


def recv(end: ReadEnd) -> Any:
    return unpack_message(end.take(0.0))


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "PART", 30_000)
    monkeypatch.setattr(desks, "PART", 30_000)


class PipeMachine(RuleBasedStateMachine):
    """Any number of processes at one FIFO."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.writers: list[tuple[Kernel, WriteEnd, list[int]]] = []
        self.readers: list[tuple[Kernel, ReadEnd]] = []
        self.killed_writers: set[int] = set()
        self.killed_readers: set[int] = set()
        self.sent: dict[int, int] = {}  # by writer
        self.got: list[tuple[int, int, int]] = []  # (reader, writer, number)
        self.shuffled = False
        self.number = 0

    @rule(seed=st.integers(0, 1 << 16))
    def dice(self, seed: int) -> None:
        self.world.random.seed(seed)

    @rule()
    def open_writer(self) -> None:
        if len(self.writers) < 4:
            kernel = self.world.process()
            (end,) = kernel.pipe_table.open("w", name="x")
            assert isinstance(end, WriteEnd)
            self.sent[kernel.pid] = 0
            self.writers.append((kernel, end, []))

    @rule()
    def open_reader(self) -> None:
        if len(self.readers) < 4:
            kernel = self.world.process()
            (end,) = kernel.pipe_table.open("r", name="x")
            assert isinstance(end, ReadEnd)
            self.readers.append((kernel, end))

    @precondition(lambda self: self.writers)
    @rule(which=st.integers(0, 9), count=st.integers(1, 30), size=st.sampled_from([0, 0, 100, 20_000, 70_000]))
    def send(self, which: int, count: int, size: int) -> None:
        kernel, end, _ = self.writers[which % len(self.writers)]
        for _ in range(count):
            if end.writer.waiting + size > BACKLOG:
                return
            try:
                end.put(pack([kernel.pid, self.sent[kernel.pid], b"x" * size]), 0.0)
            except errors.NoReader:
                return
            self.sent[kernel.pid] += 1

    @precondition(lambda self: self.readers)
    @rule(which=st.integers(0, 9), count=st.integers(1, 20))
    def receive(self, which: int, count: int) -> None:
        kernel, end = self.readers[which % len(self.readers)]
        for _ in range(count):
            try:
                self.note(kernel.pid, recv(end))
            except (errors.RackTimeout, errors.PipeEnded, errors.PipeBroken):
                return

    def note(self, reader: int, message: Any) -> None:
        writer, number, _ = message
        mine = [n for r, w, n in self.got if r == reader and w == writer]
        if not self.shuffled:
            assert all(n < number for n in mine)
        before = [r for r, w, n in self.got if (w, n) == (writer, number)]
        assert set(before) <= self.killed_readers, "it came twice"
        assert len(before) <= len(self.killed_readers)
        self.got.append((reader, writer, number))

    @rule(count=st.integers(1, 40))
    def deliver(self, count: int) -> None:
        for _ in range(count):
            self.world.step()

    @rule()
    def pass_time(self) -> None:
        for kernel in list(self.world.kernels.values()):
            kernel.pass_time()

    @precondition(lambda self: self.writers)
    @rule(which=st.integers(0, 9), how=st.sampled_from(["close", "leave", "kill"]))
    def end_writer(self, which: int, how: str) -> None:
        kernel, end, _ = self.writers.pop(which % len(self.writers))
        self.end(kernel, end, how)
        if how == "kill":
            self.killed_writers.add(kernel.pid)

    @precondition(lambda self: self.readers)
    @rule(which=st.integers(0, 9), how=st.sampled_from(["close", "leave", "kill"]))
    def end_reader(self, which: int, how: str) -> None:
        kernel, end = self.readers.pop(which % len(self.readers))
        self.shuffled = True  # what it had not taken comes to the others later than what followed
        if how == "kill":
            self.killed_readers.add(kernel.pid)
        self.end(kernel, end, how)

    def end(self, kernel: Kernel, end: Any, how: str) -> None:
        if how == "close":
            kernel.pipe_table.close(end)
        elif how == "leave":
            self.world.leave(kernel)
        else:
            self.world.kill(kernel)

    def teardown(self) -> None:
        broken = bool(self.killed_writers)
        while self.writers:
            self.end_writer(0, "close")
        kernel = self.world.process()
        (end,) = kernel.pipe_table.open("r", name="x")
        assert isinstance(end, ReadEnd)
        self.readers.append((kernel, end))
        waiting = list(self.readers)
        progress = True
        while waiting and progress:  # one reader may hold what another waits for in vain
            progress = False
            for reader in list(waiting):
                try:
                    while True:
                        self.note(reader[0].pid, recv(reader[1]))
                        progress = True
                except errors.RackTimeout:
                    continue
                except errors.PipeEnded:
                    waiting.remove(reader)
                    progress = True
                except errors.PipeBroken:
                    assert broken, "nobody was killed"
                    waiting.remove(reader)
                    progress = True
        assert not waiting or not self.unread()
        assert not self.unread()
        self.world.settle()
        for kernel, reading in self.readers:
            kernel.pipe_table.close(reading)
        self.world.settle()
        assert all(not row["held"] and not row["readers"] and not row["writers"] for row in self.world.pipes.rows())
        assert all(row["ended"] for row in self.world.pipes.rows())

    def unread(self) -> set[tuple[int, int]]:
        """Return what was sent by writers that were not killed, and reached nobody."""
        got = {(writer, number) for _, writer, number in self.got}
        sent = {(writer, n) for writer, count in self.sent.items() for n in range(count)}
        return {(writer, n) for writer, n in sent - got if writer not in self.killed_writers}


TestPipeMachine = PipeMachine.TestCase
TestPipeMachine.settings = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


def test_what_the_supervisor_may_not_have_taken_is_told() -> None:
    """It does not answer: whoever leaves cannot know, and does not say that all is well."""
    world = World()
    kernel = world.process()
    (end,) = kernel.pipe_table.open("w", name="x")
    assert isinstance(end, WriteEnd)
    end.put(pack([1]), 0.0)
    call = kernel.call

    def late(asked: Call, *blobs: Any) -> Any:
        if isinstance(asked, PipeBequeath):
            raise errors.RackTimeout("no answer to 'pipe_bequeath' within 60 s")
        return call(asked, *blobs)

    kernel.call = late  # type: ignore[method-assign]
    (told,) = kernel.pipe_table.leave()
    assert "may be lost: no answer to 'pipe_bequeath'" in told


def test_readers_and_writer_hear_what_an_event_loop_without_time_has_lost() -> None:
    world = World()
    writer, reader = world.process(), world.process()
    (end,) = writer.pipe_table.open("w", name="x")
    assert isinstance(end, WriteEnd)
    end.put(pack([1]), 0.0)
    writer.call_soon_threadsafe = lambda action, *args: None  # type: ignore[method-assign]
    (told,) = writer.pipe_table.leave()
    assert "too busy to hand it to the supervisor" in told
    (other,) = reader.pipe_table.open("r", name="x")
    assert isinstance(other, ReadEnd)
    world.settle()
    with pytest.raises(errors.PipeBroken, match="too busy to hand it to the supervisor"):
        recv(other)


def test_a_slow_open_does_not_hold_up_that_of_another_pipe() -> None:
    kernel = World().process()
    answer, begun, go_on = kernel.call, threading.Event(), threading.Event()

    def call(asked: Any, *blobs: Any) -> Any:
        if asked.name == "slow":
            begun.set()
            assert go_on.wait(PATIENCE)
        return answer(asked, *blobs)

    kernel.call = call  # type: ignore[method-assign]
    opened: list[Any] = []
    threads = [
        threading.Thread(target=lambda name=name: opened.extend(kernel.pipe_table.open("r", name=name)))
        for name in ("slow", "quick")
    ]
    try:
        threads[0].start()
        assert begun.wait(PATIENCE)
        threads[1].start()
        threads[1].join(1.0)
        assert len(opened) == 1
    finally:
        go_on.set()
        for thread in threads:
            thread.join(PATIENCE)
    assert len(opened) == 2


@pytest.mark.parametrize("mode", ["r", "w"])
def test_an_end_that_is_closed_while_it_is_opened_again_stays_open(mode: str) -> None:
    world = World()
    kernel, other = world.process(), world.process()
    (first,) = kernel.pipe_table.open(mode, name="x")
    answer = kernel.call

    def call(asked: Any, *blobs: Any) -> Any:
        answered = answer(asked, *blobs)
        kernel.pipe_table.close(first)  # another thread is faster to close its end than this one to take the answer
        return answered

    kernel.call = call  # type: ignore[method-assign]
    (again,) = kernel.pipe_table.open(mode, name="x")
    (beyond,) = other.pipe_table.open("rw".replace(mode, ""), name="x")
    world.settle()
    reader, writer = (again, beyond) if mode == "r" else (beyond, again)
    writer.put(pack(1), None)
    world.settle()
    assert recv(reader) == 1


def test_an_end_that_was_closed_while_another_was_opened_is_closed_then() -> None:
    world = World()
    kernel = world.process()
    (first,) = kernel.pipe_table.open("r", name="x")
    answer = kernel.call

    def call(asked: Any, *blobs: Any) -> Any:
        kernel.pipe_table.close(first)
        return answer(asked, *blobs)

    kernel.call = call  # type: ignore[method-assign]
    kernel.pipe_table.open("r", name="y")
    world.settle()
    assert [row["name"] for row in world.pipes.rows()] == ["y"]


def test_what_the_loop_does_not_know_of_yet_is_handed_over_too() -> None:
    """Another thread runs the loop, and is slow: it has not even taken note of the end that was just opened."""
    world = World()
    writer, reader = world.process(), world.process()
    asked: deque[Callable[[], None]] = deque()
    wait = writer.wait

    def ask(action: Callable[..., Any], *args: Any) -> None:
        asked.append(lambda: action(*args))

    def turn(done: Callable[[], Any], timeout: float | None) -> bool:
        while not done() and asked:
            asked.popleft()()
        return wait(done, timeout)

    writer.call_soon_threadsafe = writer.call_soon_batched = ask  # type: ignore[method-assign]
    writer.wait = turn  # type: ignore[method-assign]
    (end,) = writer.pipe_table.open("w", name="x")
    assert isinstance(end, WriteEnd)
    end.put(pack([1]), 0.0)
    assert writer.pipe_table.leave() == []
    world.gone(writer, Cause.EXITED)
    (other,) = reader.pipe_table.open("r", name="x")
    assert isinstance(other, ReadEnd)
    world.settle()
    assert recv(other) == [1]
