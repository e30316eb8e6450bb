"""Every timeout is looked at before anything is done: what is none is an InvalidCall that names it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import targets
from support import FEW_WARM
from thespian.actors import ActorSystem

import rackactor as rack

BAD: list[Any] = [math.nan, -1.5, -math.inf, "5", "1h", True, [1], 1j]
#: No bound, or so long that it is none.
ENDLESS: list[Any] = [math.inf, 1e300, 10**400, 2**62, 1e10]


def calls(group: rack.Group) -> dict[str, Callable[[Any], Any]]:
    """Return what takes a timeout, and is done at once where it is a good one."""
    child, done = group.fork(targets.answer), group.fork(abs, -3)
    done.wait(30)
    child.ask("up")
    reader, writer = group.pipe()
    lines, printer = group.pipe(text=True)
    _, unused = group.pipe()
    lock, held = group.lock("l"), group.shm.lock("m")
    future = child.submit("x")
    watch = group.shm.watch("w")

    def receive(timeout: Any) -> Any:
        group.process(group.getpid()).tell("a word")
        return group.receive(timeout).value

    def sent(timeout: Any) -> Any:
        writer.send("x")
        return reader.recv(timeout)

    def polled(timeout: Any) -> Any:
        writer.send("x")
        assert reader.poll(timeout)
        return reader.recv()

    def line(timeout: Any) -> Any:
        printer.write("text\n")
        return lines.readline(timeout=timeout)

    def locked(timeout: Any) -> None:
        lock.acquire(timeout)
        lock.release()

    def changed(timeout: Any) -> Any:
        group.shm["w"] = 1
        return watch.next(timeout)

    def transacted(timeout: Any) -> None:
        with group.shm.transaction(timeout=timeout) as transaction:
            transaction["t"] = 1

    def pipelined(timeout: Any) -> None:
        with group.shm.pipeline(timeout=timeout) as pipeline:
            pipeline["t"] = 1

    def with_lock(timeout: Any) -> None:
        with group.lock("n", timeout):
            pass

    return {
        "tell": lambda timeout: child.tell("stay", timeout=timeout),
        "ask": lambda timeout: child.ask("x", timeout=timeout),
        "future": lambda timeout: future.result(timeout),
        "exception": lambda timeout: future.exception(timeout),
        "wait": lambda timeout: done.wait(timeout),
        "result": lambda timeout: done.result(timeout),
        "fork": lambda timeout: group.fork(abs, -1, min_ok=1, n=1, timeout=timeout),
        "receive": receive,
        "recv": sent,
        "poll": polled,
        "readline": line,
        "send": lambda timeout: (writer.send("x", timeout=timeout), reader.recv()),
        "flush": lambda timeout: unused.flush(timeout),
        "pipe": lambda timeout: group.pipe(timeout=timeout),
        "acquire": locked,
        "lock": with_lock,
        "shm.lock": lambda timeout: held if group.shm.lock("o", timeout) else None,
        "sync": lambda timeout: group.shm.sync(timeout),
        "watch": lambda timeout: group.shm.watch("", timeout=timeout).close(),
        "next": changed,
        "transaction": transacted,
        "pipeline": pipelined,
        "stages": lambda timeout: group.run("true").wait(timeout),
    }


@pytest.mark.timeout(120)
def test_every_call(group: rack.Group) -> None:
    for name, call in calls(group).items():
        for bad in BAD:
            begun = time.monotonic()
            with pytest.raises(rack.InvalidCall, match="timeout"):
                print(f"{name} took {bad!r} and gave", call(bad))
            assert time.monotonic() - begun < 5
            assert issubclass(rack.InvalidCall, ValueError)
        for endless in ENDLESS:
            call(endless)


@pytest.mark.parametrize("name", ["deadline", "grace", "end_grace", "heartbeat", "lease", "boot_timeout", "linger"])
def test_settings(name: str) -> None:
    for bad in (math.nan, -1, 0, "soon", True, -math.inf, 10**400 if name != "deadline" else -(10**400)):
        with pytest.raises(rack.InvalidCall, match=name), rack.group(**{name: bad}):
            pytest.fail(f"{name} took {bad!r}")


def test_an_endless_deadline_is_none() -> None:
    with rack.group(deadline=math.inf, provider_settings=FEW_WARM) as group:
        assert group.fork(abs, -1, deadline=math.inf).result(30) == 1
        for bad in (math.nan, -1, 0, "soon", True):
            with pytest.raises(rack.InvalidCall, match="deadline"):
                group.fork(abs, -1, deadline=bad)


def test_thespian() -> None:
    system = ActorSystem(rack.SystemBase(provider_settings=FEW_WARM), transientUnique=True)
    try:
        echo = system.createActor(targets.Echo)
        for bad in (math.nan, -1.5, "5", True):
            with pytest.raises(rack.InvalidCall, match="timeout"):
                system.ask(echo, "x", bad)
            with pytest.raises(rack.InvalidCall, match="timeout"):
                system.listen(bad)
        for good in (math.inf, 10**400, 5, timedelta(seconds=5), None):
            assert system.ask(echo, "x", good) == "x"
        assert system.listen(timedelta(seconds=-1)) is None
    finally:
        system.shutdown()


def test_a_wait_without_bound_ends_when_there_is_something(group: rack.Group) -> None:
    reader, writer = group.pipe()
    later = threading.Timer(0.2, lambda: writer.send("here"))
    later.start()
    assert reader.recv(math.inf) == "here"
    later.join()
