"""A process that runs into its memory limit says so: there is memory in reserve for that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import rackactor as rack

LIMIT = 128 << 20
kept: list[Any] = []


@pytest.fixture(scope="module")
def narrow() -> Iterator[rack.Group]:
    with rack.group("narrow", provider_settings={"warm": 0}) as made:
        yield made


def at_once() -> int:
    return len(bytearray(1 << 30))


def in_pieces() -> None:
    data = []
    while True:
        data.append(bytearray(50_000))


def in_crumbs() -> None:
    data = []
    while True:
        data.append(str(len(data)) * 3)


def in_a_global() -> None:
    while True:
        kept.append(str(len(kept)) * 20)


def as_a_result() -> bytes:
    return bytes(60 << 20)


def caught() -> str:
    data = []
    try:
        while True:
            data.append(bytearray(5000))
    except MemoryError:
        return "caught"


@pytest.mark.parametrize("target", [at_once, in_pieces, in_crumbs, in_a_global, as_a_result])
def test_the_end_is_told_as_what_it_was(narrow: rack.Group, target: Callable[[], Any]) -> None:
    child = narrow.fork(target, memory=LIMIT)
    status = child.wait(60)
    assert (status.code, status.cause) == (1, rack.Cause.OOM), status.evidence
    assert f"(memory={LIMIT}, 128.0 MiB)" in status.evidence
    with pytest.raises(MemoryError):
        child.result()


def test_what_the_target_catches_is_its_own_affair(narrow: rack.Group) -> None:
    child = narrow.fork(caught, memory=LIMIT)
    assert child.result(timeout=60) == "caught"
    assert child.wait().code == 0


class Hungry(rack.Actor):
    def receiveMsg_str(self, message: str, sender: Any) -> None:
        {"crumbs": in_crumbs, "once": at_once}.get(message, lambda: None)()
        self.send(sender, "done")


@pytest.mark.parametrize("how", ["crumbs", "once"])
def test_an_actor_goes_on_when_its_handler_has_let_go(narrow: rack.Group, how: str) -> None:
    actor = narrow.fork(Hungry, memory=LIMIT)
    with pytest.raises(rack.HandlerFailed, match="MemoryError"):
        actor.ask(how, 60)
    assert actor.ask("something small", 60) == "done"
    actor.kill()
    actor.wait(30)
