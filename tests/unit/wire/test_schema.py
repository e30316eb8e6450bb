"""The schema of the wire: what comes is checked by it, both ends have all of it, and its page is true."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import pytest

from rackactor.errors import InvalidCall
from rackactor.wire import page, schema
from rackactor.wire.calls.fork import Fork
from rackactor.wire.calls.pipes import PipeCredit, PipeOpen
from rackactor.wire.calls.processes import Kill, Wait
from rackactor.wire.codec import unpack
from rackactor.wire.events import PipeEvent, SignalEvent
from rackactor.wire.frames import pack_body
from rackactor.wire.schema import Message
from rackactor_runtime.supervisor.decisions.calls.dispatch import CALLS

PAGE = Path(__file__).parents[3] / "docs" / "wire.md"


@pytest.mark.parametrize(
    "message",
    [
        Wait(),
        Wait((7, 8), hang=False),
        Kill((0, -3), "reload"),
        PipeCredit(1, 2, 0, 0, 1 << 40),
        PipeOpen("rw"),
        Fork(2, "command", words=("ls",), env={"A": "1", "B": None}, placement={"image": "x"}, deadline=3.0),
        SignalEvent(15, 2),
        PipeEvent("left", 4, reader=5, taken=None),
    ],
    ids=repr,
)
def test_a_message_travels(message: Message) -> None:
    assert type(message).from_wire(unpack(pack_body(message.to_wire()))) == message


@pytest.mark.parametrize(
    "kind, told, words",
    [
        (Wait, {"pids": [0]}, "pids is a list, each of it an integer from 1 to 4294967296, not [0]"),
        (Wait, {"pids": 5}, "pids is a list, each of it an integer from 1 to 4294967296, not 5"),
        (Wait, {"hang": 1}, "hang is True or False, not 1"),
        (Fork, {"kind": "actor"}, "fork needs n: an integer from 1 to 10000"),
        (Fork, {"n": True, "kind": "actor"}, "n is an integer from 1 to 10000, not True"),
        (Fork, {"n": 1, "kind": "daemon"}, "kind is one of actor, function, command, not 'daemon'"),
        (Fork, {"n": 1, "kind": "actor", "deadline": -1}, "deadline is a positive number of seconds, not -1"),
        (Fork, {"n": 1, "kind": "actor", "env": {"A": 1}}, "env is a map of strings, not {'A': 1}"),
        (Kill, {"pids": [1], "signal": 1000}, "1000 is not the number of a signal (see `kill -l`)"),
        (PipeOpen, {"mode": "a"}, "mode is 'r' (to read), 'w' (to write) or 'rw', not 'a'"),
    ],
)
def test_what_does_not_fit_is_named(kind: type[Message], told: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidCall) as caught:
        kind.from_wire(told)
    assert str(caught.value) == words


def test_a_message_is_a_frozen_dataclass() -> None:
    assert [each.name for each in fields(Wait())] == ["pids", "hang"]
    assert replace(Wait((7,)), hang=False) == Wait((7,), False)
    with pytest.raises(FrozenInstanceError):
        Wait().hang = False  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        del Wait().hang
    anything: Any = PipeCredit
    for args, named in [((1, 2, 3, 4), {}), ((1, 2, 3, 4, 5, 6), {}), ((1, 2, 3, 4, 5), {"seat": 1})]:
        with pytest.raises(TypeError, match=r"PipeCredit.__init__\(\) "):
            anything(*args, **named)
    with pytest.raises(TypeError, match=r"PipeCredit.__init__\(\) "):
        anything(1, 2, 3, 4, limits=5)


def test_what_a_receiver_does_not_know_has_no_consequence() -> None:
    assert Wait.from_wire({"pids": [7], "colour": "red"}) == Wait((7,))


def test_what_is_none_has_its_default() -> None:
    assert Wait.from_wire({"pids": None, "hang": None}) == Wait()
    assert PipeOpen("r").to_wire() == {"mode": "r"}


def test_each_call_has_one_who_serves_it() -> None:
    """Shared memory, logs and machines are served beside `decide`."""
    beside = {op for op in schema.CALLS if op.startswith("shm")} | {"logs", "machine"}
    assert schema.CALLS.keys() == CALLS.keys() | beside
    assert not CALLS.keys() & beside


def test_whoever_serves_a_call_takes_what_it_says() -> None:
    for op, (says, carry_out) in CALLS.items():
        assert get_type_hints(carry_out)["args"] is says, op


@pytest.mark.parametrize("table", [schema.CALLS, schema.EVENTS])
def test_each_message_says_what_it_is(table: dict[str, type[Message]]) -> None:
    for cls in table.values():
        assert cls.__doc__, cls
        assert not cls.__doc__.startswith(f"{cls.__name__}("), "dataclass writes one where there is none"


def test_the_page_is_true() -> None:
    """`python -m rackactor.wire.page > docs/wire.md` prints it anew."""
    assert PAGE.read_text() == page.page()


def test_the_page_has_all_of_it() -> None:
    rooms: set[ModuleType] = set(page.ROOMS)
    assert {room.__name__ for room in rooms} == {cls.__module__ for cls in schema.CALLS.values()}
    text = page.page()
    for op in schema.CALLS.keys() | schema.EVENTS.keys():
        assert f"**`{op}`**" in text
