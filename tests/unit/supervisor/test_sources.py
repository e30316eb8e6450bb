"""Sources that are loaded into a group: nothing is used that the source authority has not accepted."""

from __future__ import annotations

from typing import Any

import pytest

from rackactor.wire.events import SourceEvent, ValidateSourceEvent
from rackactor_runtime.supervisor.decisions import sources
from rackactor_runtime.supervisor.decisions.messages import Effect, Notify, Reply
from rackactor_runtime.supervisor.decisions.settings import Settings
from rackactor_runtime.supervisor.decisions.state import GroupState
from rackactor_runtime.supervisor.decisions.turn import Hooks, Turn

AUTHORITY, ACTOR, WATCHER = 3, 4, 5


class Group:
    """A group's state; each rule is called as a method, and gives what it wants done."""

    def __init__(self) -> None:
        self.state = GroupState("gid", "group", Settings())

    def __getattr__(self, rule: str) -> Any:
        def call(*args: Any, **more: Any) -> list[Effect]:
            turn = Turn(self.state, 0.0, 0.0, b"", Hooks())
            getattr(sources, rule)(turn, *args, **more)
            return turn.effects

        return call


@pytest.fixture
def group() -> Group:
    made = Group()
    made.state.sources.authority = AUTHORITY
    return made


def answers(effects: list[Effect]) -> list[tuple[int, bool]]:
    return [(effect.pid, effect.fields["loaded"]) for effect in effects if isinstance(effect, Reply)]


def test_without_an_authority_nothing_is_loaded() -> None:
    group = Group()
    assert group.load("h", b"zip") == []
    assert answers(group.get(ACTOR, 1, "h")) == [(ACTOR, False)]


def test_the_authority_is_asked_once(group: Group) -> None:
    assert group.load("h", b"zip") == [Notify(AUTHORITY, ValidateSourceEvent("h", b"zip"))]
    assert group.load("h", b"zip") == []


def test_whoever_wants_it_waits_for_the_verdict(group: Group) -> None:
    group.load("h", b"crypt")
    assert group.get(ACTOR, 1, "h") == []
    effects = group.judge(AUTHORITY, "h", b"plain", "info")
    assert effects == [Reply(ACTOR, 1, True, {"loaded": True, "info": "info"}, (b"plain",))]
    assert group.state.sources.content("h") == (b"plain",)


@pytest.mark.parametrize("pid, content", [(ACTOR, b"plain"), (AUTHORITY, b"")])
def test_a_stranger_cannot_accept_and_the_authority_can_refuse(group: Group, pid: int, content: bytes) -> None:
    group.load("h", b"zip")
    group.judge(pid, "h", content, "")
    assert group.state.sources.content("h") == ()


def test_nobody_waits_for_an_authority_that_is_gone(group: Group) -> None:
    group.load("h", b"zip")
    group.get(ACTOR, 1, "h")
    assert answers(group.gone(AUTHORITY)) == [(ACTOR, False)]
    assert group.state.sources.authority is None


def test_watchers_hear_of_what_is_there_what_comes_and_what_goes(group: Group) -> None:
    group.load("a", b"zip")
    group.judge(AUTHORITY, "a", b"plain", "")
    group.load("b", b"zip")
    heard = group.watch(WATCHER, enable=True)
    heard += group.judge(AUTHORITY, "b", b"plain", "")
    heard += group.unload("a")
    news = [(e.event.hash, e.event.loaded) for e in heard if isinstance(e, Notify) and isinstance(e.event, SourceEvent)]
    assert news == [("a", True), ("b", True), ("a", False)]
    assert group.watch(WATCHER, enable=False) == []
    assert group.unload("b") == []
