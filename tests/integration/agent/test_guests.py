"""The rack command, and programs in Python, inside of a process; also where the group's directory cannot be reached."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import netlab
import pytest
from rackcommand import BIN

import rackactor as rack
from rackactor.errors import NoGroup
from rackactor.launch import agent_socket
from rackactor.syscalls.group import attach

#: Hides the group's card from its processes, as a machine of their own does.
HIDDEN = """
from rackactor.launch import directories
directories.has_card = lambda *_: False
"""
LOOK = (
    f"PATH={BIN}:$PATH; unset XDG_RUNTIME_DIR; rack ps -f value -c PID -c Kind && rack kill -g far -s 0 $RACK_PID"
    " && ! rack ps -g other"
)
INNER = """
import rackactor as rack
with rack.group("inner") as g:
    print(g.fork(["sh", "-c", "echo $RACK_SOCKET."]).stdout.read())
"""


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[rack.Group]:
    """A group on tcp whose processes see no card."""
    (tmp_path / "hidden_card.py").write_text(HIDDEN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with rack.group("far", transport="tcp", provider_settings={"preload": ["hidden_card"]}) as made:
        yield made


def output(process: rack.Process) -> str:
    """Return what a command has printed, once it has ended well."""
    printed = process.stdout.read().decode()
    assert process.wait(30).ok, process.stderr.read().decode()
    return printed


@pytest.mark.machines
def test_a_command_comes_in_by_the_agent(group: rack.Group) -> None:
    process = group.fork(["sh", "-c", LOOK])
    assert output(process) == f"2 script\n{process.pid} command\n"
    assert process.stderr.read().startswith(b"rack: there is no group 'other'")


def test_a_token_lets_in_once(group: rack.Group) -> None:
    def come() -> tuple[str, str]:
        card = agent_socket.card(None)
        assert card is not None
        attach(card).leave()
        try:
            attach(card)
        except rack.AuthenticationError as error:
            return card["name"], str(error)
        raise AssertionError

    name, words = group.fork(come).result(30)
    assert name == "far"
    assert "used before" in words or "key" in words


def test_a_group_made_inside_is_another_one(group: rack.Group) -> None:
    assert output(group.fork([sys.executable, "-c", INNER])) == "b'.\\n'\n"


def test_whoever_is_not_let_in_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RACK_SOCKET", "@rackactor-nobody-listens-here")
    with pytest.raises(NoGroup, match="the agent of this process does not answer"):
        agent_socket.card(None)
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind("")  # the kernel chooses an abstract name
        agent.listen()
        monkeypatch.setenv("RACK_SOCKET", "@" + agent.getsockname()[1:].decode())
        with subprocess.Popen(
            [sys.executable, "-c", "from rackactor.launch import agent_socket; agent_socket.card(None)"], stderr=-1
        ) as asking:
            caller, _ = agent.accept()
            caller.sendall(b'{"error": {"type": "NotAllowed", "message": "not you"}}\n')
            caller.close()
            assert b"NotAllowed: not you" in asking.communicate()[1]


@pytest.mark.skipif(bool(netlab.hindrance()), reason=netlab.hindrance() or "-")
def test_from_a_network_of_its_own() -> None:
    words = (
        f"PATH={BIN}:$PATH; rack ps -f value -c PID; rack shm incr n; echo words | rack pipe write p; rack pipe read p;"
        " echo kept | rack fs cp - rack:/f; rack fs cat f"
    )
    with netlab.Lab(1) as lab, rack.group("far", **lab.options) as made:  # type: ignore[arg-type]
        assert output(made.fork(["sh", "-c", words])) == "2\n3\n1\nwords\nkept\n"


# -- programs in Python ------------------------------------------------------------------------------------------------

#: What a program in Python finds in a process that is a command.
MEMBER = """
import os, sys
import rackactor as rack

class Next(rack.Actor):
    def receiveMsg_int(self, number, sender):
        self.send(sender, number + 1)

def note():
    rack.shm["hook"] = "run"

if __name__ == "__main__":
    assert rack.getpid() == int(os.environ["RACK_PID"])
    assert rack.getgid() == os.environ["RACK_GID"]
    rack.shm["key"] = rack.getppid()
    rack.on_exit(note)
    print(rack.fork(sum, [1, 2, 3]).result(30), [p.pid for p in rack.fork(Next, n=2)] != [])
    actor = rack.fork(Next)
    actor.tell(3)
    print(actor.ask(1, 30), rack.receive(30).value)
    with rack.pipe("words", "w") as pipe:
        pipe.send("a word")
    with rack.open("/file", "w") as file:
        file.write("kept")
    with rack.lock("lock"):
        try:
            rack.signal("reload", print)
        except rack.InvalidCall as error:
            print(error)
    if os.fork() == 0:
        sys.exit(0)  # whose membership it is not
    os.wait()
    print(rack.shm["key"])
"""
SAID = "6 True\n2 4\n'reload' is no POSIX signal, and a program that a process has started gets no others\n2\n"


def start(path: str) -> str:
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, check=False, timeout=60)
    return done.stdout + done.stderr


def member(tmp_path: Path) -> str:
    path = tmp_path / "member.py"
    path.write_text(MEMBER)
    return str(path)


def test_a_program_that_is_a_command_joins_its_group(where: dict[str, Any], tmp_path: Path) -> None:
    with rack.group("joined", **where) as group:
        process = group.fork([sys.executable, member(tmp_path)])
        assert output(process) == SAID
        assert group.shm["key"] == group.getpid()
        assert group.shm["hook"] == "run"
        assert list(group.pipe("words", "r")) == ["a word"]
        assert group.listdir("/") == ["file"]
        assert [row["kind"] for row in group.ps()] == ["script"], "its children have ended with it"
        before = len(rack.groups())
        assert start(member(tmp_path)).startswith("Traceback"), "outside of a group there is no RACK_PID"
        assert len(rack.groups()) == before


def test_a_program_that_a_function_has_started_joins_its_group(group: rack.Group, tmp_path: Path) -> None:
    process = group.fork(start, member(tmp_path))
    said = process.result(60)
    assert said == SAID
    assert group.shm["key"] == group.getpid()


OUTSIDE = {
    "RACK_GID=no-such-group": "RACK_GID names (no-such-group), and cannot join it: no group of that gid lives",
    "RACK_PID=none": "and cannot join it: invalid literal",
    "RACK_SOCKET=@rackactor-nobody": "cannot join it: the agent of this process does not answer",
}


def test_who_cannot_join_makes_no_group_of_its_own(where: dict[str, Any]) -> None:
    with rack.group("closed", **where) as group:
        started = [
            (group.fork(["env", environment, sys.executable, "-c", f"import rackactor as rack\n{call}"]), words)
            for environment, words in OUTSIDE.items()
            for call in ("rack.shm.get('k')", "rack.fork(print)", "rack.getpid()", "rack.SystemBase()")
        ]
        for process, words in started:
            error = process.stderr.read().decode()
            assert process.wait(30).code == 1
            assert "rackactor.errors.NoGroup: this program was started in the group that RACK_GID names" in error
            assert words in error
            assert "Unset RACK_GID" in error


def test_rack_run_of_a_program_in_python(tmp_path: Path) -> None:
    done = subprocess.run(
        [f"{BIN}/rack", "run", "--", sys.executable, member(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.stdout, done.stderr, done.returncode) == (SAID, "", 0)


def test_an_actor_system_of_thespian_joins_too(group: rack.Group) -> None:
    program = """
import rackactor as rack
from thespian.actors import Actor, ActorSystem
class Hello(Actor):
    def receiveMessage(self, message, sender):
        if isinstance(message, str):
            self.send(sender, f"hello, {message}, of {rack.getgid()}")
system = ActorSystem(rack.SystemBase())
print(system.ask(system.createActor(Hello), "you", 20))
system.shutdown()
"""
    assert output(group.fork([sys.executable, "-c", program])) == f"hello, you, of {group.gid}\n"
