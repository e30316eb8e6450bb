"""Thespian's programs on a group: `ActorSystem(SystemBase())`, each actor a process."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support import FEW_WARM, ROOT, eventually
from thespian.actors import (
    Actor,
    ActorAddress,
    ActorExitRequest,
    ActorSystem,
    ActorSystemFailure,
    ActorTypeDispatcher,
    ChildActorExited,
    DeadEnvelope,
    InvalidActorSpecification,
    NoCompatibleSystemForActor,
    PoisonMessage,
    Thespian_ActorStatus,
    Thespian_StatusReq,
    WakeupMessage,
    requireCapability,
)
from thespian.troupe import troupe

import rackactor as rack

#: Seconds for an answer that comes; for one that does not.
SOON, NEVER = 10.0, 0.3


class Parent(ActorTypeDispatcher):  # type: ignore[misc]
    """Do what a text says; keep what is heard."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Any] = []
        self.waiter: Any = None

    def receiveMsg_str(self, order: str, sender: Any) -> None:
        match order.split():
            case ["child"]:
                self.send(sender, self.createActor(Parent))
            case ["broken"]:
                self.send(sender, self.createActor(Broken))
            case ["named"]:
                self.send(sender, self.createActor(Parent, globalName="the one"))
            case ["pid"]:
                self.send(sender, os.getpid())
            case ["heard"]:
                self.waiter = sender
                self._tell()
            case ["create", what]:
                try:
                    self.createActor({"int": int, "words": ["true"], "lambda": lambda: None}[what])
                except InvalidActorSpecification as error:
                    self.send(sender, str(error))
            case ["log", text]:
                logging.getLogger("mine").error(text)
                self.send(sender, "logged")
            case ["letters"]:
                self.handleDeadLetters()
                self.send(sender, "ok")
            case ["wake"]:
                self.wakeupAfter(timedelta(milliseconds=20), "payload")
            case ["bad"]:
                raise ValueError("cannot be handled")
            case ["exit", code]:
                sys.exit(int(code))
            case ["shutdown"]:
                self.actorSystemShutdown()
            case _:
                self.send(sender, f"heard {order}")

    def receiveMsg_tuple(self, message: Any, sender: Any) -> None:
        self.send(*message)

    def receiveMsg_ActorSystemMessage(self, message: Any, sender: Any) -> None:
        if not isinstance(message, ActorExitRequest):
            self.heard.append(message)
            self._tell()

    def _tell(self) -> None:
        if self.waiter is not None and self.heard:
            self.send(self.waiter, [self.heard.pop(0)])  # in a list: a program outside is not shown system messages
            self.waiter = None


class Broken(Actor):  # type: ignore[misc]
    def __init__(self) -> None:
        raise RuntimeError("cannot be made")


@requireCapability("gpu")
class Demanding(Parent):
    """Require what a group may not have."""


@troupe(max_count=4, idle_count=2)
class Worker(ActorTypeDispatcher):  # type: ignore[misc]
    def receiveMsg_int(self, number: int, sender: Any) -> None:
        self.send(sender, number * number)


class Foreman(ActorTypeDispatcher):  # type: ignore[misc]
    def receiveMsg_list(self, numbers: list[int], sender: Any) -> None:
        self.asker, self.left, self.total = sender, len(numbers), 0
        workers = self.createActor(Worker)
        for number in numbers:
            self.send(workers, number)

    def receiveMsg_int(self, square: int, sender: Any) -> None:
        self.total += square
        self.left -= 1
        if not self.left:
            self.send(self.asker, self.total)


@pytest.fixture
def system(transport: str) -> Iterator[ActorSystem]:
    made = ActorSystem(
        rack.SystemBase(transport=transport, end_grace=0.5, provider_settings=FEW_WARM), transientUnique=True
    )
    yield made
    made.shutdown()


@pytest.fixture
def parent(system: ActorSystem) -> ActorAddress:
    return system.createActor(Parent)


def test_actors_are_processes_and_make_others(system: ActorSystem, parent: ActorAddress) -> None:
    child = system.ask(parent, "child", SOON)
    pids = {system.ask(actor, "pid", SOON) for actor in (parent, child)}
    assert len(pids | {os.getpid()}) == 3
    kinds = [row["kind"] for row in rack.ps()]
    assert kinds == ["script", "actor", "actor"]


@pytest.mark.parametrize("order", ["exit 3", ActorExitRequest()])
def test_a_parent_hears_of_the_end_of_its_child(system: ActorSystem, parent: ActorAddress, order: Any) -> None:
    child = system.ask(parent, "child", SOON)
    system.tell(child, order)
    assert system.ask(parent, "heard", SOON) == [ChildActorExited(child)]


def test_a_child_that_cannot_be_made_has_exited(system: ActorSystem, parent: ActorAddress) -> None:
    broken = system.ask(parent, "broken", SOON)
    assert system.ask(parent, "heard", SOON) == [ChildActorExited(broken)]


def test_a_primary_actor_that_cannot_be_made_is_an_error(system: ActorSystem) -> None:
    with pytest.raises(RuntimeError, match="cannot be made"):
        system.createActor(Broken)
    with pytest.raises(InvalidActorSpecification):
        system.createActor("Parent")
    with pytest.raises(ImportError):
        system.createActor("no_such_module.Parent")
    with pytest.raises(NoCompatibleSystemForActor):
        system.createActor(Demanding)


def test_only_actors_are_created(system: ActorSystem, parent: ActorAddress) -> None:
    nothing_of_the_kind: list[Any] = [int, Parent.receiveMsg_str, print, ["true"], None, 3, os.PathLike]
    for what in nothing_of_the_kind:
        with pytest.raises(InvalidActorSpecification, match="an actor is a class made of Actor, or the dotted name"):
            system.createActor(what)
    for name in ("int", "words", "lambda"):
        assert "an actor is a class made of Actor" in system.ask(parent, f"create {name}", SOON), name


def logging_to(path: Path) -> dict[str, Any]:
    """Return what `logging.config` is told, in Thespian's way."""
    handler = {"class": "logging.FileHandler", "filename": str(path)}
    return {"version": 1, "handlers": {"file": handler}, "root": {"handlers": ["file"], "level": "ERROR"}}


@pytest.mark.parametrize("before", [False, True])
def test_arguments_of_the_actor_system_are_taken(tmp_path: Path, transport: str, before: bool) -> None:
    options: dict[str, Any] = {"transport": transport, "end_grace": 0.5, "provider_settings": FEW_WARM}
    base = rack.SystemBase(capabilities={"disk": 1}, **options)
    if before:  # a base that runs already
        ActorSystem(base, transientUnique=True).createActor(Parent)
    path = tmp_path / "log"
    system = ActorSystem(base, {"gpu": True}, logDefs=logging_to(path), transientUnique=True)
    try:
        assert {"gpu": True, "disk": 1, "Thespian ActorSystem Name": "rackactor"}.items() <= system.capabilities.items()
        demanding = system.createActor(Demanding)
        assert system.ask(demanding, "log words", SOON) == "logged"
        assert path.read_text() == "words\n"
    finally:
        system.shutdown()


def test_arguments_that_come_too_late_are_told_of(transport: str) -> None:
    system = ActorSystem(rack.SystemBase(transport=transport, provider_settings=FEW_WARM))
    try:
        with pytest.warns(UserWarning, match="an actor system already, which goes on with"):
            ActorSystem(logDefs={"version": 1})
        with pytest.warns(UserWarning, match="an actor system already"):
            ActorSystem(rack.SystemBase(), {"gpu": True})
        ActorSystem(rack.SystemBase())
    finally:
        system.shutdown()


def test_capabilities_are_the_groups(system: ActorSystem) -> None:
    system.updateCapability("gpu", True)
    demanding = system.createActor(Demanding)
    assert system.ask(demanding, "you", SOON) == "heard you"
    system.updateCapability("gpu", None)
    # It ends: what it requires is gone. The system itself waits for it.
    assert eventually(lambda: not rack.process(demanding.pid).is_alive())


def test_what_reaches_nobody_is_a_dead_letter(system: ActorSystem, parent: ActorAddress) -> None:
    assert system.ask(parent, "letters", SOON) == "ok"
    child = system.ask(parent, "child", SOON)
    system.tell(child, ActorExitRequest())
    assert system.ask(parent, "heard", SOON) == [ChildActorExited(child)]
    system.tell(child, "too late")
    assert system.ask(parent, "heard", SOON) == [DeadEnvelope(child, "too late")]


def test_a_message_that_cannot_be_handled_comes_back(system: ActorSystem, parent: ActorAddress) -> None:
    poison = system.ask(parent, "bad", SOON)
    assert poison == PoisonMessage("bad")
    assert "cannot be handled" in poison.details
    assert system.ask(parent, "you", SOON) == "heard you"


def test_our_own_ask_says_that_the_handler_failed(system: ActorSystem, parent: ActorAddress) -> None:
    with pytest.raises(rack.HandlerFailed, match="cannot be handled"):
        rack.process(parent.pid).ask("bad", SOON)


def test_a_wakeup_comes_when_it_is_due(system: ActorSystem, parent: ActorAddress) -> None:
    system.tell(parent, "wake")
    assert system.ask(parent, "heard", SOON) == [WakeupMessage(timedelta(milliseconds=20), "payload")]


def test_a_global_name_is_one_actor(system: ActorSystem, parent: ActorAddress) -> None:
    one = system.createActor(Parent, globalName="the one")
    assert system.ask(parent, "named", SOON) == one
    assert system.createActor("no.such.Class", globalName="the one") == one
    system.tell(one, ActorExitRequest())
    rack.wait(one.pid, SOON)
    assert system.createActor(Parent, globalName="the one") != one


def test_a_troupe_shares_the_work(system: ActorSystem) -> None:
    foreman = system.createActor(Foreman)
    assert system.ask(foreman, list(range(1, 11)), 20) == 385


def test_listen_takes_what_any_actor_sends(system: ActorSystem, parent: ActorAddress) -> None:
    others = [system.createActor(Parent) for _ in range(3)]
    for other in others:
        system.tell(other, "x")
    assert [system.listen(SOON) for _ in others] == ["heard x"] * 3
    assert system.listen(NEVER) is None


def test_private_contexts_hear_only_their_own(system: ActorSystem, parent: ActorAddress) -> None:
    heard: dict[int, list[Any]] = {}

    def talk(number: int) -> None:
        with system.private() as mine:
            heard[number] = [mine.ask(parent, f"{number}.{i}", SOON) for i in range(5)]

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    assert heard == {n: [f"heard {n}.{i}" for i in range(5)] for n in range(4)}
    assert system.listen(NEVER) is None


def test_an_actor_takes_its_children_along(system: ActorSystem, parent: ActorAddress) -> None:
    child = system.ask(parent, "child", SOON)
    system.tell(parent, ActorExitRequest())
    rack.wait([child.pid], SOON)
    assert [row["pid"] for row in rack.ps() if row["state"] == "running"] == [rack.getpid()]


def test_or_leaves_them(system: ActorSystem, parent: ActorAddress) -> None:
    child = system.ask(parent, "child", SOON)
    system.tell(parent, ActorExitRequest(recursive=False))
    rack.wait(parent.pid, SOON)
    assert system.ask(child, "you", SOON) == "heard you"
    assert rack.process(child.pid).ppid == 1


def test_an_actor_tells_its_status(system: ActorSystem, parent: ActorAddress) -> None:
    child = system.ask(parent, "child", SOON)
    status = system.ask(parent, Thespian_StatusReq(), SOON)
    assert isinstance(status, Thespian_ActorStatus)
    assert status.childActors == [child]


def test_an_actor_may_end_the_system(system: ActorSystem, parent: ActorAddress) -> None:
    system.tell(parent, "shutdown")
    with pytest.raises(ActorSystemFailure):
        system.listen(SOON)


def test_inside_a_group_the_system_is_part_of_it(group: rack.Group) -> None:
    system = ActorSystem(rack.SystemBase(), transientUnique=True)
    parent = system.createActor(Parent)
    assert parent.gid == group.gid
    system.shutdown()
    assert [row["kind"] for row in group.ps()] == ["script"]


def test_each_system_of_a_program_reaps_its_own_actors(group: rack.Group) -> None:
    systems = [ActorSystem(rack.SystemBase(), transientUnique=True) for _ in range(2)]
    actors = [system.createActor(Parent) for system in systems]
    for system, actor in zip(systems, actors, strict=True):
        system.tell(actor, ActorExitRequest())
    assert eventually(lambda: [row["kind"] for row in group.ps()] == ["script"])
    for system in systems:
        system.shutdown()


def test_a_program_that_forgets_shutdown_leaves_nothing(script: Any) -> None:
    program = script(
        """
        from thespian.actors import Actor, ActorSystem
        import rackactor

        class Silent(Actor):
            def receiveMessage(self, message, sender): pass

        ActorSystem(rackactor.SystemBase()).createActor(Silent)
        print("made", flush=True)
        """
    )
    assert program.end() == (0, "made\n", "")


def test_the_sample_says_hello() -> None:
    sample = ROOT / "samples" / "thespian_hello.py"
    done = subprocess.run([sys.executable, str(sample)], capture_output=True, text=True, timeout=120, check=True)
    assert "Hello World, and RackActor!" in done.stdout
