"""Messages: each arrives once, in order, unchanged, and a slow receiver slows its senders."""

from __future__ import annotations

import concurrent.futures
import math
import os
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import psutil
import pytest
import targets
from support import eventually

import rackactor as rack

ENOUGH = 30.0
MB = 1 << 20


# -- order and correlation --------------------------------------------------------------------------


@pytest.mark.machines
@pytest.mark.netns
def test_tells_keep_their_order(group: rack.Group) -> None:
    actor = group.fork(targets.Collector)
    for number in range(3000):
        actor.tell(number)
    assert actor.ask("all", timeout=ENOUGH) == list(range(3000))


@pytest.mark.machines
@pytest.mark.netns
def test_many_asks_at_once(group: rack.Group) -> None:
    """Futures are those of the standard library; each reply is the one to its own message."""
    echoes = group.fork(targets.Echo, n=3)
    asked = {echo.submit((number, echo.pid)): (number, echo.pid) for number in range(200) for echo in echoes}
    done, pending = concurrent.futures.wait(asked, timeout=ENOUGH)
    assert not pending
    assert {future: future.result() for future in done} == asked
    several = [echoes[0].submit(number) for number in range(50)]
    assert sorted(f.result() for f in concurrent.futures.as_completed(several, timeout=ENOUGH)) == list(range(50))
    first = concurrent.futures.wait(
        [echo.submit("race") for echo in echoes], ENOUGH, concurrent.futures.FIRST_COMPLETED
    )
    assert first.done
    called: list[Any] = []
    echoes[0].submit("callback").add_done_callback(lambda future: called.append(future.result()))
    assert eventually(lambda: called == ["callback"])


def test_threads_ask_at_once(group: rack.Group) -> None:
    echoes = group.fork(targets.Echo, n=2)
    wrong: list[Any] = []

    def work(name: int) -> None:
        for number in range(100):
            message = [name, number, "x" * (number * 10)]
            reply = echoes[number % 2].ask(message, timeout=ENOUGH)
            if reply != message:
                wrong.append((message, reply))
            if number % 20 == 0:
                group.ps()

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(ENOUGH)
        assert not thread.is_alive()
    assert not wrong


def test_a_late_reply_is_dropped(group: rack.Group) -> None:
    def slow() -> None:
        first, second = rack.receive(), rack.receive()
        rack.receive()
        first.reply("too late")
        second.reply("in time")

    child = group.fork(slow)
    with pytest.raises(rack.RackTimeout, match="did not reply"):
        child.ask("first", timeout=0.05)
    second = child.submit("second")
    for late in (second.result, second.exception):
        with pytest.raises(rack.RackTimeout, match=rf"process {child.pid} did not reply within 0\.05 s"):
            late(0.05)
    assert not second.done()
    child.tell("go on")
    assert second.result(ENOUGH) == "in time"
    with pytest.raises(TimeoutError):
        group.receive(0.05)
    with pytest.raises(rack.NoSuchProcess):
        child.ask("anybody?", timeout=ENOUGH)


@pytest.mark.machines
@pytest.mark.netns
def test_a_handler_that_fails(group: rack.Group) -> None:
    class Counter(rack.Actor):
        def __init__(self) -> None:
            self.calls = 0

        def receiveMsg_str(self, message: str, sender: Any) -> None:
            self.calls += 1
            if message == "once" and self.calls == 1:
                raise OSError("a passing failure")
            if message == "always":
                raise OSError("a lasting failure")
            self.send(sender, self.calls)

    actor = group.fork(Counter)
    with pytest.raises(rack.HandlerFailed, match=f"process {actor.pid}: the handler for str raised:\n.*\n.*") as caught:
        actor.ask("once", timeout=ENOUGH)
    assert "a passing failure" in str(caught.value)
    assert actor.ask("how often?", timeout=ENOUGH) == 2, "a handler runs once for each message"
    with pytest.raises(rack.HandlerFailed, match="a lasting failure") as caught:
        actor.ask("always", timeout=ENOUGH)
    assert "receiveMsg_str" in str(caught.value)
    assert actor.ask("on it goes", timeout=ENOUGH) == 4


@pytest.mark.machines
@pytest.mark.netns
def test_receive_tells_the_sender(group: rack.Group) -> None:
    def work() -> list[Any]:
        seen = []
        for _ in range(3):
            message = rack.receive()
            seen.append((message.sender, message.value))
            message.reply("thanks")
        return seen

    child = group.fork(work)
    child.tell("a tell")
    assert child.ask("an ask", timeout=ENOUGH) == "thanks"
    assert child.submit("a future").result(ENOUGH) == "thanks"
    answer = group.receive(ENOUGH)
    assert (answer.sender, answer.value) == (child.pid, "thanks"), "a reply to a tell is a message"
    assert child.result(ENOUGH) == [(group.getpid(), text) for text in ("a tell", "an ask", "a future")]


# -- values -----------------------------------------------------------------------------------------


@pytest.mark.machines
@pytest.mark.netns
def test_values_come_as_they_went(group: rack.Group) -> None:
    class Local:
        def __init__(self, value: int) -> None:
            self.value = value

        def __eq__(self, other: object) -> bool:
            return type(other).__name__ == "Local" and vars(other) == vars(self)

        __hash__ = None  # type: ignore[assignment]

    @dataclass(frozen=True)
    class Point:
        x: int
        y: tuple[int, ...]

    values = [
        None,
        True,
        0,
        -1,
        2**63,
        2**64,
        2**80,
        -(2**63) - 1,
        1.5,
        math.inf,
        "",
        "grün",
        "\ud800 alone",
        b"",
        b"\x00\xff",
        bytearray(b"ab"),
        (),
        (1, (2, [3])),
        [1, (2,), {"a": (3,)}],
        [[]],
        {},
        {"a": {1: b"x"}},
        {(1, 2): 3},
        {1.5: 2},
        {True: 1},
        {None: 1},
        {1, 2},
        frozenset({3}),
        OrderedDict(a=1),
        range(5),
        complex(1, 2),
        Local(7),
        [Local(8)],
        Point(1, (2, 3)),
        Ellipsis,
        rack.Cause.LOST,
        ValueError("as a value"),
        [0] * 100_000,
        "x" * 20_000,
    ]
    nested: Any = []
    for _ in range(200):
        nested = [nested]
    values.append(nested)
    echo = group.fork(targets.Echo)
    function = group.fork(targets.answer)
    for value in values:
        for child in (echo, function):
            back = child.ask(value, timeout=ENOUGH)
            assert type(back) is type(value) or type(value).__name__ == type(back).__name__
            assert repr(back) == repr(value) if isinstance(value, Exception) else back == value
            assert deep_types(back) == deep_types(value)
    assert math.isnan(echo.ask(math.nan, timeout=ENOUGH))
    assert echo.ask(targets.add, timeout=ENOUGH)(1, 2) == 3
    assert echo.ask(lambda: 5, timeout=ENOUGH)() == 5
    with pytest.raises(rack.InvalidCall, match="cannot be sent"):
        echo.tell(threading.Lock())


def deep_types(value: Any) -> Any:
    if isinstance(value, dict):
        return dict, [(deep_types(k), deep_types(v)) for k, v in value.items()]
    if isinstance(value, (list, tuple)) and len(str(value)) < 1000:
        return type(value), [deep_types(item) for item in value]
    return type(value).__name__


def test_what_cannot_be_opened_there_is_told(group: rack.Group) -> None:
    actor = group.fork(targets.Collector)
    with pytest.raises(rack.HandlerFailed, match="no such luck"):
        actor.ask(Trap(), timeout=ENOUGH)
    actor.tell("still here")
    assert actor.ask("all", timeout=ENOUGH) == ["still here"]


def spring() -> None:
    raise RuntimeError("no such luck")


class Trap:
    """Cannot be unpickled."""

    def __reduce__(self) -> Any:
        return targets.fail, ("no such luck",)


def test_a_group_without_pickle(transport: str) -> None:
    with rack.group(transport=transport, pickle=False) as group:
        echo = group.fork(targets.Echo)
        assert echo.ask({"plain": [1, b"2", None]}, timeout=ENOUGH) == {"plain": [1, b"2", None]}
        with pytest.raises(rack.InvalidCall, match="refuses pickle"):
            echo.ask((1, 2))


@pytest.mark.parametrize("size", [1, 20])
def test_large_messages(group: rack.Group, size: int) -> None:
    echo = group.fork(targets.Echo)
    block = os.urandom(MB) * size
    for _ in range(3):
        assert echo.ask(block, timeout=ENOUGH) == block
    assert echo.ask([block[:100], block], timeout=ENOUGH)[1] == block


# -- back-pressure ----------------------------------------------------------------------------------


def test_a_slow_receiver_slows_its_sender(group: rack.Group) -> None:
    """What lies between the two is bounded: the sender waits, or is told so within its time."""
    gate = threading.Event()

    def slow() -> int:
        assert rack.receive(60).value == "begin"
        time.sleep(0.3)
        return sum(len(rack.receive().value) for _ in range(64))

    child = group.fork(slow)
    assert eventually(lambda: child.info()["started"])
    memory = psutil.Process().memory_info().rss
    sent = 0
    with pytest.raises(rack.MailboxFull, match="too slowly"):
        for _ in range(64):
            child.tell(b"x" * MB if sent else "begin", timeout=0.1)
            sent += 1
    assert 1 < sent < 20
    assert psutil.Process().memory_info().rss - memory < 40 * MB
    sender = threading.Thread(target=lambda: [child.tell(b"x" * MB) for _ in range(65 - sent)] and gate.set())
    sender.start()
    assert child.result(ENOUGH) == 64 * MB
    sender.join(ENOUGH)
    assert gate.is_set()
    with pytest.raises(rack.NoSuchProcess):
        child.tell("?")


@pytest.mark.machines
def test_two_that_flood_each_other_lose_nothing(group: rack.Group) -> None:
    """Both send more than the credit before either receives: both must go on."""

    def flood(count: int) -> tuple[int, list[int]]:
        got = []
        while type(told := rack.receive().value) is not int:
            got.append(told[0])  # the other was told first, and was quicker than what we are told
        other = rack.process(told)
        sender = threading.Thread(target=lambda: [other.tell((number, b"x" * 20_000)) for number in range(count)])
        sender.start()
        while len(got) < count:
            got.append(rack.receive().value[0])
        sender.join()
        return rack.getpid(), got

    pair = group.fork(flood, 400, n=2)
    for child, other in zip(pair, reversed(pair), strict=True):
        child.tell(other.pid)
    for child in pair:
        assert child.result(ENOUGH) == (child.pid, list(range(400)))


def test_small_messages_are_not_free(group: rack.Group) -> None:
    child = group.fork(targets.nap)
    assert eventually(lambda: child.info()["started"])
    sent = 0
    with pytest.raises(rack.MailboxFull):
        while sent < 100_000:
            child.tell(None, timeout=0.2)
            sent += 1
    assert sent > 1000


# -- direct connections -----------------------------------------------------------------------------


def chatter(other: int, count: int) -> list[int]:
    """Ask another one many times: soon on a connection of their own."""
    friend = rack.process(other)
    return [friend.ask(number, timeout=60) for number in range(count)]


@pytest.mark.parametrize("direct", [True, False])
def test_the_path_makes_no_difference(transport: str, direct: bool) -> None:
    with rack.group(transport=transport, direct=direct, end_grace=0.5) as group:
        hub = group.fork(targets.answer)
        talkers = group.fork(chatter, hub.pid, 300, n=4)
        collector = group.fork(targets.Collector)

        def pour(target: int, first: int) -> None:
            for number in range(first, first + 500):
                rack.process(target).tell(number)

        pouring = group.fork(pour, each=[collector.pid], kwargs={"first": 0})
        pouring += group.fork(pour, each=[collector.pid], kwargs={"first": 10_000})
        for talker in talkers:
            assert talker.result(ENOUGH) == list(range(300))
        assert all(child.wait(ENOUGH).ok for child in pouring)
        assert eventually(lambda: len(collector.ask("all")) == 1000)
        got = collector.ask("all")
        assert [n for n in got if n < 10_000] == list(range(500))
        assert [n for n in got if n >= 10_000] == list(range(10_000, 10_500))


def test_the_death_of_a_peer_on_a_direct_path(group: rack.Group) -> None:
    """An ask in flight is answered by its end, and what it had sent before is there."""
    me = group.getpid()

    def talk(count: int) -> None:
        script = rack.process(me)
        for number in range(count):
            script.tell(number)
        while True:
            message = rack.receive()
            if message.value != "no reply":
                message.reply(message.value)

    for _ in range(3):
        child = group.fork(talk, 200)
        assert [child.ask(number, timeout=ENOUGH) for number in range(100)] == list(range(100))
        hanging = child.submit("no reply")
        assert child.ask("all taken?", timeout=ENOUGH) == "all taken?"
        child.kill("KILL")
        with pytest.raises(rack.NoSuchProcess, match=r"ended before it replied|is gone"):
            hanging.result(ENOUGH)
        with pytest.raises(rack.NoSuchProcess):
            child.ask("?", timeout=ENOUGH)
        assert [group.receive(ENOUGH).value for _ in range(200)] == list(range(200))
        assert child.wait(ENOUGH).signal == 9


def test_a_reply_to_one_that_has_ended_is_lost_and_harms_nobody(group: rack.Group) -> None:
    me = group.getpid()

    def serve() -> None:
        asked = rack.receive()
        rack.process(me).tell("asked")
        try:
            while True:
                rack.process(asked.sender).tell("still there?")
                time.sleep(0.01)
        except rack.NoSuchProcess:
            asked.reply("you are gone")
        known = rack.receive()
        known.reply("served")

    def ask(pid: int) -> None:
        rack.process(pid).ask("?", timeout=ENOUGH)

    server = group.fork(serve)
    asker = group.fork(ask, server.pid)
    assert group.receive(ENOUGH).value == "asked"
    asker.kill("KILL")
    assert server.ask("?", timeout=ENOUGH) == "served"
    assert server.wait(ENOUGH).code == 0


@pytest.mark.machines
def test_last_words_arrive(group: rack.Group) -> None:
    """What a process has told before it ends by itself reaches its receiver, whatever the path."""
    me = group.getpid()

    def talk(count: int) -> None:
        for number in range(count):
            rack.process(me).tell((number, b"x" * 3000))

    for count in (1, 30, 500):
        child = group.fork(talk, count)
        assert [group.receive(ENOUGH).value[0] for _ in range(count)] == list(range(count))
        assert child.wait(ENOUGH).ok


@pytest.mark.machines
def test_a_ring(group: rack.Group) -> None:
    """Everyone talks to everyone, both ways at once."""

    def station() -> int:
        early = []  # a quick neighbour's asks may be here before we know our neighbours
        while (message := rack.receive()).value is None:
            early.append(message)
        others = [rack.process(pid) for pid in message.value]
        asked = [other.submit(None) for other in others for _ in range(20)]
        for _ in range(20 * len(others)):
            (early.pop() if early else rack.receive()).reply(rack.getpid())
        return sum(reply.result(30) for reply in asked)

    stations = group.fork(station, n=5)
    pids = [child.pid for child in stations]
    for child in stations:
        child.tell([pid for pid in pids if pid != child.pid])
    for child in stations:
        assert child.result(ENOUGH) == 20 * (sum(pids) - child.pid)
