"""The supervisor's loop with parts of the test's own: time passes when the test says so, and nobody sleeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from rackactor.wire.schema import Event
from rackactor_runtime.providers import base
from rackactor_runtime.providers.base import Capabilities, Key, Liveness, Order
from rackactor_runtime.supervisor.actor import NullStore
from rackactor_runtime.supervisor.clock import Clock
from rackactor_runtime.supervisor.decisions.settings import Settings
from rackactor_runtime.supervisor.decisions.state import GroupState
from rackactor_runtime.supervisor.home import Home
from rackactor_runtime.supervisor.logs.service import LogService
from rackactor_runtime.supervisor.loop import TICK, Loop
from rackactor_runtime.supervisor.machine_link import MachineLink
from rackactor_runtime.supervisor.memory.service import MemoryService
from rackactor_runtime.supervisor.service_programs import ServicePrograms

SETTINGS = Settings(heartbeat=1.0, lost_after=5.0, silence_limit=30.0, boot_timeout=20.0)


class Members:
    """Members without sockets: what they are sent is kept."""

    keys = None
    endpoint = "nowhere"
    sockets = ()

    def __init__(self) -> None:
        self.answers: dict[int, tuple[bool, dict[str, Any]]] = {}
        self.told: list[tuple[int, str]] = []
        self.gone: list[int] = []

    def connect(self, listener: object) -> None: ...

    def take(self, ready: Mapping[Any, int]) -> None: ...

    def tick(self, now: float) -> None: ...

    def close(self) -> None: ...

    def are_listening(self) -> bool:
        return False

    def welcome(self, pid: int, fields: dict[str, Any], blobs: Sequence[Any]) -> None:
        self.told.append((pid, "welcome"))

    def reply(self, pid: int, rid: int, fields: dict[str, Any], blobs: Sequence[Any] = (), *, ok: bool = True) -> None:
        if rid:
            self.answers[rid] = ok, fields

    def notify(self, pid: int, event: Event, blobs: Sequence[Any] = ()) -> None:
        self.told.append((pid, event.op))

    def dismiss(self, pid: int) -> None:
        self.gone.append(pid)


class Provider:
    """A provider whose instances do nothing, and end when they are deleted."""

    name = "none"
    capabilities = Capabilities()

    def __init__(self) -> None:
        self.made: list[Key] = []
        self.deleted: list[Key] = []

    def fds(self) -> Sequence[int]:
        return ()

    def create(self, order: Order) -> None:
        self.made.append(order.key)

    def delete(self, key: Key) -> None:
        self.deleted.append(key)

    def probe(self, key: Key) -> Liveness:
        return Liveness.STOPPED

    def grant_output(self, key: Key, count: int) -> None: ...

    def events(self) -> list[base.Event]:
        return []

    def close(self, timeout: float) -> None: ...


class Hand:
    """A loop, and the hand that turns its clock."""

    def __init__(self, directory: Path) -> None:
        self.now = 1000.0
        self.members, self.provider = Members(), Provider()
        self.clock = Clock(now=lambda: self.now, wall=lambda: self.now + 1e9)
        self.state = GroupState("gid", "hand", SETTINGS)
        members, lives, clock = self.members, self.state.lives, self.clock
        self.loop = Loop(
            self.state,
            NullStore(),
            home=Home(directory),
            members=members,
            logs=LogService(directory, 1 << 16, self.provider.grant_output, members.reply, lives, clock),
            memory=MemoryService(directory, SETTINGS, members, lives, clock),
            services=ServicePrograms(),
            machines=MachineLink(self.provider, members),
            provider=self.provider,
            clock=clock,
            entropy=bytes,
        )
        self.script = self.loop.open(b"token")
        self.loop.joined(self.script, 4242, None)

    def pass_time(self, seconds: float, *, heard: Sequence[int]) -> None:
        """Let time pass, with a turn at each tick; these members are not silent."""
        for _ in range(round(seconds / TICK)):
            self.now += TICK
            self.loop.heard(heard)
            self.loop.turn()

    def fork(self, rid: int = 1, **options: Any) -> int:
        args = {"n": 1, "kind": "function", "what": "f", **options}
        self.loop.called(self.script, rid, "fork", args, (b"target", b"arguments"))
        ok, fields = self.members.answers[rid]
        assert ok, fields
        pid: int = fields["pids"][0]
        return pid


@pytest.fixture
def hand(tmp_path: Path) -> Iterator[Hand]:
    made = Hand(tmp_path)
    yield made
    made.loop.close()


def test_a_process_that_does_not_join_in_time_is_deleted(hand: Hand) -> None:
    child = hand.fork()
    assert hand.provider.made == [Key(child, 1)]
    hand.pass_time(SETTINGS.boot_timeout - 1, heard=[hand.script])
    assert hand.provider.deleted == []
    hand.pass_time(2, heard=[hand.script])
    assert hand.provider.deleted == [Key(child, 1)]


def test_a_deadline_passes_by_the_clock_that_was_handed_in(hand: Hand) -> None:
    child = hand.fork(deadline=60.0)
    hand.loop.joined(child, 5000, None)
    hand.pass_time(59, heard=[hand.script, child])
    assert (child, "signal") not in hand.members.told
    hand.pass_time(2, heard=[hand.script, child])
    assert (child, "signal") in hand.members.told


def test_a_silent_process_is_probed_and_lost(hand: Hand) -> None:
    child = hand.fork()
    hand.loop.joined(child, 5000, None)
    hand.pass_time(SETTINGS.lost_after - 1, heard=[hand.script])
    assert hand.provider.deleted == []
    hand.pass_time(3, heard=[hand.script])
    assert hand.provider.deleted == [Key(child, 1)]


def test_a_time_in_which_the_loop_did_not_turn_is_nobodys_silence(hand: Hand) -> None:
    child = hand.fork()
    hand.loop.joined(child, 5000, None)
    hand.now += 10 * SETTINGS.lost_after
    hand.loop.turn()
    hand.pass_time(SETTINGS.lost_after - 1, heard=[hand.script])
    assert hand.provider.deleted == []


def test_a_script_that_falls_silent_ends_its_group(hand: Hand) -> None:
    hand.pass_time(SETTINGS.silence_limit + 2, heard=[])
    assert hand.members.gone == [hand.script]
    hand.pass_time(10, heard=[])
    hand.loop.run()  # it returns, since everything is over
    assert hand.state.shutdown.finished
