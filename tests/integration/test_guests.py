"""The rack command inside a process that cannot reach the group's directory: a VM, or other namespaces."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import netlab
import pytest
from rackcommand import BIN

import rackactor as rack
from rackactor.cli import guest
from rackactor.errors import NoGroup
from rackactor.grouping import attach

#: Hides the group's card from its processes, as a machine of their own does.
HIDDEN = """
from rackactor import places
places.has_card = lambda *_: False
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
        card = guest.card(None)
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
        guest.card(None)
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind("")  # the kernel chooses an abstract name
        agent.listen()
        monkeypatch.setenv("RACK_SOCKET", "@" + agent.getsockname()[1:].decode())
        with subprocess.Popen(
            [sys.executable, "-c", "from rackactor.cli import guest; guest.card(None)"], stderr=-1
        ) as asking:
            caller, _ = agent.accept()
            caller.sendall(b'{"type": "NotAllowed", "error": "not you"}\n')
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
