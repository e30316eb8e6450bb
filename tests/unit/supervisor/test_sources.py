"""Sources that are loaded into a group: nothing is used that the source authority has not accepted."""

from __future__ import annotations

import pytest

from rackactor.wire.events import SourceEvent, ValidateSourceEvent
from rackactor_runtime.supervisor.decisions.messages import Effect, Notify, Reply
from rackactor_runtime.supervisor.decisions.sources import Sources

AUTHORITY, ACTOR, WATCHER = 3, 4, 5


@pytest.fixture
def sources() -> Sources:
    made = Sources()
    made.authority = AUTHORITY
    return made


def answers(effects: list[Effect]) -> list[tuple[int, bool]]:
    return [(effect.pid, effect.fields["loaded"]) for effect in effects if isinstance(effect, Reply)]


def test_without_an_authority_nothing_is_loaded() -> None:
    sources = Sources()
    assert sources.load("h", b"zip") == []
    assert answers(sources.get(ACTOR, 1, "h")) == [(ACTOR, False)]


def test_the_authority_is_asked_once(sources: Sources) -> None:
    assert sources.load("h", b"zip") == [Notify(AUTHORITY, ValidateSourceEvent("h", b"zip"))]
    assert sources.load("h", b"zip") == []


def test_whoever_wants_it_waits_for_the_verdict(sources: Sources) -> None:
    sources.load("h", b"crypt")
    assert sources.get(ACTOR, 1, "h") == []
    effects = sources.judge(AUTHORITY, "h", b"plain", "info")
    assert effects == [Reply(ACTOR, 1, True, {"loaded": True, "info": "info"}, (b"plain",))]
    assert sources.content("h") == (b"plain",)


@pytest.mark.parametrize("pid, content", [(ACTOR, b"plain"), (AUTHORITY, b"")])
def test_a_stranger_cannot_accept_and_the_authority_can_refuse(sources: Sources, pid: int, content: bytes) -> None:
    sources.load("h", b"zip")
    sources.judge(pid, "h", content, "")
    assert sources.content("h") == ()


def test_nobody_waits_for_an_authority_that_is_gone(sources: Sources) -> None:
    sources.load("h", b"zip")
    sources.get(ACTOR, 1, "h")
    assert answers(sources.gone(AUTHORITY)) == [(ACTOR, False)]
    assert sources.authority is None


def test_watchers_hear_of_what_is_there_what_comes_and_what_goes(sources: Sources) -> None:
    sources.load("a", b"zip")
    sources.judge(AUTHORITY, "a", b"plain", "")
    sources.load("b", b"zip")
    heard = sources.watch(WATCHER, enable=True)
    heard += sources.judge(AUTHORITY, "b", b"plain", "")
    heard += sources.unload("a")
    news = [(e.event.hash, e.event.loaded) for e in heard if isinstance(e, Notify) and isinstance(e.event, SourceEvent)]
    assert news == [("a", True), ("b", True), ("a", False)]
    assert sources.watch(WATCHER, enable=False) == []
    assert sources.unload("b") == []
