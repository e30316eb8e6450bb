"""Signals: real ones and RACK's free strings, in order, held while the target boots, to one and to many."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import targets
from support import eventually, wait_gone

import rackactor as rack

ENOUGH = 20.0


def record(*names: int | str) -> Any:
    """Return a function that reports each of these signals to its parent, and "ready" first."""

    def run() -> None:
        parent = rack.process(rack.getppid())
        for name in names:
            rack.signal(name, lambda sig, _: parent.tell(sig))
        parent.tell("ready")
        while True:
            time.sleep(60)

    return run


def received(group: rack.Group, count: int) -> list[Any]:
    return [group.receive(ENOUGH).value for _ in range(count)]


@pytest.mark.machines
def test_by_name_by_number_and_by_free_string(group: rack.Group) -> None:
    child = group.fork(record("USR1", "SIGUSR2", signal.SIGHUP, signal.SIGRTMIN + 2, "reload"))
    assert received(group, 1) == ["ready"]
    sent = ["SIGUSR1", "usr1", "USR2", "sigUsr2", "12", 1, signal.SIGHUP, signal.SIGRTMIN + 2, "rtmin+2", "reload"]
    expected = [10, 10, 12, 12, 12, 1, 1, signal.SIGRTMIN + 2, signal.SIGRTMIN + 2, "reload"]
    for name, number in zip(sent, expected, strict=True):
        child.kill(name)
        assert received(group, 1) == [number]
    for wrong in (-1, 65, 4000, "", "x" * 256, 1.5, None, b"TERM"):
        with pytest.raises(rack.InvalidCall):
            child.kill(wrong)  # type: ignore[arg-type]
    child.kill("unheard-of")
    child.kill(0)
    assert child.is_alive(), "a free string that nobody handles does nothing"


@pytest.mark.machines
def test_a_hundred_free_strings_keep_their_order(group: rack.Group) -> None:
    actor = group.fork(targets.Collector)
    names = [f"signal-{number}" for number in range(100)]
    for name in names:
        actor.kill(name)
    assert eventually(lambda: len(actor.ask("all")) == 100)
    assert actor.ask("all") == names

    def collect() -> list[str]:
        got: list[Any] = []
        for name in names:
            rack.signal(name, lambda sig, _: got.append(sig))
        rack.process(rack.getppid()).tell("ready")
        while len(got) < 100:
            time.sleep(0.01)
        return got

    function = group.fork(collect)
    assert received(group, 1) == ["ready"]
    for name in names:
        function.kill(name)
    assert function.result(ENOUGH) == names


@pytest.mark.machines
def test_signals_are_held_while_the_target_boots(where: dict[str, Any]) -> None:
    with rack.group("patient", **where, grace=ENOUGH, end_grace=0.5) as group:
        _kill_early(group)


def _kill_early(group: rack.Group) -> None:
    actor = group.fork(targets.Collector)
    for number in range(10):
        actor.kill(f"early-{number}")
    assert eventually(lambda: len(actor.ask("all")) == 10)
    assert actor.ask("all") == [f"early-{number}" for number in range(10)]
    doomed = group.fork(targets.nap)
    doomed.kill("TERM")
    assert doomed.wait(ENOUGH).signal == signal.SIGTERM
    unborn = group.fork(targets.nap)
    unborn.kill("KILL")
    assert unborn.wait(ENOUGH).signal == signal.SIGKILL


def test_a_free_string_waits_for_its_first_handler(group: rack.Group) -> None:
    def run() -> list[Any]:
        got: list[Any] = []
        assert rack.receive().value == "go on"
        rack.signal("early", lambda sig, sender: got.append((sig, sender)))
        return got

    child = group.fork(run)
    for name in ("early", "other", "early"):
        child.kill(name)
    child.tell("go on")
    assert child.result(ENOUGH) == [("early", group.getpid())] * 2


@pytest.mark.machines
def test_to_all_to_a_process_group_and_to_a_list(group: rack.Group) -> None:
    mine: list[Any] = []
    group.signal("ping", lambda sig, sender: mine.append(sender))
    first = group.fork(record("ping", "pong", "list"), n=2)
    second = group.fork(record("ping", "pong", "list"), n=2)
    assert received(group, 4) == ["ready"] * 4
    group.kill(0, "ping")
    assert received(group, 4) == ["ping"] * 4
    assert eventually(lambda: mine == [group.getpid()]), "the sender is one of all"
    group.kill(-group.getpgid(second[0].pid), "pong")
    assert {(m.sender, m.value) for m in (group.receive(ENOUGH) for _ in second)} == {(p.pid, "pong") for p in second}
    group.kill([first[0].pid, second[1].pid], "list")
    assert {group.receive(ENOUGH).sender for _ in range(2)} == {first[0].pid, second[1].pid}
    with pytest.raises(rack.RackTimeout):
        group.receive(0.1)
    group.signal("ping", None)


def test_the_dead_cannot_be_signalled(group: rack.Group) -> None:
    living, dead = group.fork(targets.nap, n=2)
    group.kill([living.pid, dead.pid], 0)
    dead.kill("KILL")
    dead.wait(ENOUGH)
    for pid in (dead.pid, 4_000_000, -4_000_000):
        with pytest.raises(ProcessLookupError, match="no living process"):
            group.kill(pid, 0)
    with pytest.raises(rack.NoSuchProcess, match=f"{dead.pid}"):
        group.kill([dead.pid, living.pid], "TERM")
    assert living.wait(ENOUGH).signal == signal.SIGTERM, "the others have it"
    with pytest.raises(rack.InvalidCall):
        group.kill("all", 0)  # type: ignore[arg-type]


@pytest.mark.machines
def test_handlers_run_in_a_busy_loop_and_calls_resume(group: rack.Group) -> None:
    def busy() -> int:
        done: list[int] = []
        signal.signal(signal.SIGUSR1, lambda number, _: done.append(number))
        rack.process(rack.getppid()).tell("ready")
        rounds = 0
        while not done:
            rounds += 1
        return done[0]

    def sleepy() -> tuple[list[Any], bool]:
        got: list[Any] = []
        rack.signal("USR1", lambda number, _: got.append(number))
        rack.signal("wake", lambda sig, sender: got.append((sig, sender)))
        rack.process(rack.getppid()).tell("ready")
        begun = time.monotonic()
        time.sleep(0.7)
        return got, time.monotonic() - begun >= 0.7

    spinning, sleeping = group.fork(busy), group.fork(sleepy)
    assert received(group, 2) == ["ready", "ready"]
    spinning.kill("USR1")
    sleeping.kill("USR1")
    sleeping.kill("wake")
    assert spinning.result(ENOUGH) == signal.SIGUSR1
    got, slept = sleeping.result(ENOUGH)
    assert got == [signal.SIGUSR1, ("wake", group.getpid())]
    assert slept, "a blocking call resumes after the handler (PEP 475)"


def test_handlers_send_and_wait_while_other_threads_do(group: rack.Group) -> None:
    """A timer interrupts this program again and again, at whatever point; nothing hangs, and every reply is right."""
    echo = group.fork(targets.answer)
    echo.ask(0)
    count = waits = 0
    inside = False
    refusals: list[str] = []

    def handle(number: int, _: Any) -> None:
        nonlocal count, waits, inside
        count += 1
        if count < 5000:  # nobody reads the answers to what is told: there is credit for so many
            echo.tell(count)
        if count % 5 == 0 and not inside:  # its own wait is interrupted, too
            inside = True
            question = "handler", count
            try:
                assert echo.ask(question, ENOUGH) == question
                waits += 1
            except rack.RackError as error:
                refusals.append(str(error))
            finally:
                inside = False

    def ask_on() -> None:
        for number in range(2000):
            assert echo.ask(("thread", number), ENOUGH) == ("thread", number)
        asked.set()

    asked = threading.Event()
    before = signal.signal(signal.SIGALRM, handle)
    thread = threading.Thread(target=ask_on)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0007, 0.0007)
        thread.start()
        number = 0
        while thread.is_alive():
            number += 1
            assert echo.ask(("main", number), ENOUGH) == ("main", number)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        thread.join(ENOUGH)
    assert asked.is_set()
    assert count > 20
    assert waits > 0
    assert all("interrupted a send" in words for words in refusals), refusals


def test_handlers_make_calls_themselves(group: rack.Group) -> None:
    """A handler that interrupts a wait at any point may ask who it is, tell, signal, and ask others."""
    echo = group.fork(targets.answer)
    parent = group.getpid()

    def run(other: rack.Process) -> int:
        count = 0

        def handle(sig: Any, _: Any) -> None:
            nonlocal count
            count += 1
            rack.kill(rack.getpid(), 0)
            assert other.ask(count, timeout=ENOUGH) == count
            rack.process(parent).tell((rack.getpid(), rack.getppid(), sig))

        signal.signal(signal.SIGUSR1, handle)
        rack.signal("free", handle)
        rack.process(parent).tell("ready")
        while count < 20:
            if count % 3 == 0:
                other.ask("x" * 1000)
            elif count % 3 == 1:
                with_timeout()
            else:
                time.sleep(0.001)
        return count

    def with_timeout() -> None:
        try:
            rack.receive(0.01)
        except TimeoutError:
            pass

    child = group.fork(run, echo)
    assert received(group, 1) == ["ready"]
    for number in range(20):
        child.kill("free" if number % 2 else "USR1")
        assert received(group, 1)[0][:2] == (child.pid, group.getpid())
    assert child.result(ENOUGH) >= 20


def test_term_leaves_a_grace_and_then_comes_kill(transport: str, tmp_path: Path) -> None:
    """What a process has started goes with it, daemons included."""
    with rack.group(transport=transport, grace=0.5, end_grace=0.5) as group:

        def stubborn(path: str) -> None:
            signal.signal(signal.SIGTERM, lambda *_: rack.process(rack.getppid()).tell("not now"))
            targets.daemonise(path, 3)

        child = group.fork(stubborn, str(tmp_path))
        notes = [tmp_path / str(number) for number in range(3)]
        assert eventually(lambda: all(note.exists() and note.read_text() for note in notes))
        daemons = {int(note.read_text()) for note in notes}
        assert all(psutil.pid_exists(daemon) for daemon in daemons)
        begun = time.monotonic()
        child.kill("TERM")
        assert received(group, 1) == ["not now"]
        status = child.wait(ENOUGH)
        assert (status.code, status.signal, status.cause) == (137, 9, rack.Cause.SIGNALLED)
        assert 0.4 < time.monotonic() - begun < 5
        assert "SIGTERM from process 2; then SIGKILL from the supervisor" in status.evidence
        assert not wait_gone(daemons, 2.0)
        shell = group.fork(["sh", "-c", "trap '' TERM; setsid sh -c 'sleep 60 & wait' & echo up; sleep 60; sleep 60"])
        assert shell.stdout.readline() == b"up\n"
        shell.kill()
        assert shell.wait(ENOUGH).signal == signal.SIGKILL
        assert not [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "60"] and mine(p)]


def mine(process: psutil.Process) -> bool:
    try:
        return process.environ().get("RACK_TEST_SESSION") == os.environ["RACK_TEST_SESSION"]
    except psutil.Error:
        return False


@pytest.mark.machines
def test_the_parent_hears_of_its_children(group: rack.Group) -> None:
    heard: list[Any] = []
    before = group.signal("CHLD", lambda sig, pid: heard.append((sig, pid)))
    assert before is None
    children = group.fork(targets.nap, 0, n=3)
    assert eventually(lambda: len(heard) == 3)
    assert sorted(heard) == [(signal.SIGCHLD, child.pid) for child in children]
    assert all(child.wait(ENOUGH).ok for child in children), "hearing of it reaps nothing"
    group.signal("CHLD", None)


@pytest.mark.machines
def test_signals_to_a_command_that_boots(group: rack.Group) -> None:
    """Held for the command; its agent is not the one that is stopped."""
    child = group.fork(["sh", "-c", "read go; echo up"])  # it does not end by itself before the signals are sent
    child.kill("STOP")
    child.kill("CONT")
    child.stdin.write(b"go\n")
    child.stdin.close()
    assert child.wait(ENOUGH).ok
    assert child.stdout.read() == b"up\n"
    doomed = group.fork(["sleep", "60"])
    doomed.kill("USR1")
    assert doomed.wait(ENOUGH).signal == signal.SIGUSR1


@pytest.mark.machines
def test_stopping(group: rack.Group) -> None:
    function = group.fork(targets.nap)
    for sig in ("STOP", "TSTP"):
        with pytest.raises(rack.InvalidCall, match="only a command can be stopped"):
            function.kill(sig)
    command = group.fork(["sh", "-c", "echo $$; read line; echo resumed"])
    os_pid = int(command.stdout.readline())
    command.kill("STOP")
    assert eventually(lambda: psutil.Process(os_pid).status() == psutil.STATUS_STOPPED)
    time.sleep(0.2)
    assert command.is_alive()
    command.kill("CONT")
    command.stdin.write(b"\n")
    command.stdin.close()
    assert command.stdout.read() == b"resumed\n"
    assert command.wait(ENOUGH).ok


@pytest.mark.machines
def test_signals_to_a_command_reach_its_whole_session(group: rack.Group) -> None:
    child = group.fork(
        ["sh", "-c", "trap 'echo got usr1' USR1; trap 'echo bye; exit 9' INT; echo up; while :; do sleep 0.1; done"]
    )
    assert child.stdout.readline() == b"up\n"
    child.kill("USR1")
    assert child.stdout.readline() == b"got usr1\n"
    child.kill("a free string")
    child.kill("INT")
    assert child.stdout.read() == b"bye\n"
    assert child.wait(ENOUGH).code == 9


def test_signals_to_the_script(group: rack.Group) -> None:
    """The program that made the group is a process of it: it can be signalled too, but not be killed."""
    got: list[Any] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: got.append(number))
    try:
        me = group.getpid()
        assert group.fork(lambda: rack.kill(me, "USR1")).wait(ENOUGH).ok
        assert eventually(lambda: got == [signal.SIGUSR1])
        with pytest.raises(rack.NotAllowed, match="was not started by the group"):
            group.kill(me, "KILL")
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.machines
def test_interrupt_is_a_keyboard_interrupt(group: rack.Group) -> None:
    def run() -> str:
        try:
            rack.process(rack.getppid()).tell("ready")
            rack.receive()
        except KeyboardInterrupt:
            return "interrupted"
        return "?"

    children = group.fork(run, n=2)
    assert received(group, 2) == ["ready", "ready"]
    for child in children:
        child.kill("INT")
        assert child.result(ENOUGH) == "interrupted"
    child = group.fork(lambda: (rack.process(rack.getppid()).tell("ready"), time.sleep(60)))
    assert received(group, 1) == ["ready"]
    child.kill("INT")
    status = child.wait(ENOUGH)
    assert (status.code, status.signal) == (130, signal.SIGINT)


def test_signals_while_messages_rain(group: rack.Group) -> None:
    """Real signals interrupt the I/O at any point, and nothing is lost or torn by that."""

    def work(count: int) -> int:
        signals = 0

        def handle(*_: Any) -> None:
            nonlocal signals
            signals += 1

        signal.signal(signal.SIGUSR1, handle)
        rack.process(rack.getppid()).tell("ready")
        for expected in range(count):
            message = rack.receive()
            assert message.value == (expected, b"x" * (expected % 5000)), message.value
            message.reply(expected)
        return signals

    def storm(pid: int) -> None:
        rack.process(rack.getppid()).tell("storm")
        while True:
            try:
                rack.kill(pid, "USR1")
            except ProcessLookupError:
                return

    child = group.fork(work, 2000)
    assert received(group, 1) == ["ready"]
    stop = group.fork(storm, child.pid)
    assert received(group, 1) == ["storm"]
    replies = [child.submit((number, b"x" * (number % 5000))) for number in range(2000)]
    assert [reply.result(ENOUGH) for reply in replies] == list(range(2000))
    assert child.result(ENOUGH) > 0, "some came between"
    assert stop.wait(ENOUGH).ok
