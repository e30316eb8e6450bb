"""A supervisor on a machine of its own: how it gets its order, who may give it one, and how it ends."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from typing import Any

import machines
import pytest
import targets
from support import eventually

import rackactor as rack
from rackactor.kernel.kernel import Kernel
from rackactor.kernel.transport.sockets import Keys
from rackactor.syscalls.group import Group, _decode_birth, attach
from rackactor.wire.calls.group import DescribeGroup
from rackactor.wire.calls.operators import Keep
from rackactor_runtime.providers.machines.order_client import Sender

ENOUGH = 20.0


def free_port() -> int:
    with socket.create_server(("", 0)) as probe:
        return int(probe.getsockname()[1])


PORT = free_port()


class Launched:
    """A guest program in the role of a supervisor's machine, on this machine, and its launcher's keys."""

    def __init__(self, **birth: Any) -> None:
        self.machine, self.client = Keys.make(), Keys.make()
        birth = {
            "role": "supervisor",
            "port": PORT,
            "public": self.machine.public.decode(),
            "secret": self.machine.secret.decode(),
            "client": self.client.public.decode(),
            "patience": 20.0,
            "poweroff": False,
            **birth,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "rackactor_runtime.guest"],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(birth))
        self.process.stdin.close()
        assert self.process.stderr is not None
        self.said = self.process.stderr.readline() if birth["patience"] > 1 else ""
        self.endpoint = self.said.split()[-1]

    def sender(self, keys: Keys | None = None) -> Sender:
        return Sender(self.endpoint, self.machine.public, keys or self.client)

    def end(self) -> tuple[int, str]:
        assert self.process.stderr is not None
        code = self.process.wait(ENOUGH)
        return code, self.process.stderr.read()


@pytest.fixture
def launched() -> Iterator[Launched]:
    made = Launched()
    yield made
    made.process.kill()
    made.process.wait()
    assert made.process.stderr is not None
    made.process.stderr.close()


def order_of(on_machines: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """Return what a launcher would send."""
    return {
        "name": "far",
        "gid": str(uuid.uuid4()),
        "provider": on_machines["provider"],
        "provider_settings": on_machines["provider_settings"],
        "import_path": [machines.HERE],
        "inside": True,
        "transport": "tcp",
        "address": on_machines["address"],
        "port": PORT,
        "owner": None,
        "settings": {"heartbeat": 0.2, "lost_after": 0.6, "lease": 3.0, "end_grace": 0.3, **settings},
    }


def join(answer: dict[str, Any]) -> rack.Group:
    return Group(Kernel(_decode_birth(answer)), answer["name"], None)


def test_a_group_whose_supervisor_is_elsewhere(
    launched: Launched, on_machines: dict[str, Any], yard: machines.Yard
) -> None:
    sender, order = launched.sender(), order_of(on_machines)
    sender.send(order)
    answer = sender.answer(ENOUGH)
    assert answer["gid"] == order["gid"]
    assert answer["endpoint"] == f"tcp://{on_machines['address']}:{PORT}"
    assert answer["card"]["token"] != answer["token"]
    with join(answer) as group:
        assert group.kernel.welcome.remote is True
        child = group.fork(targets.answer)
        assert child.ask("over there") == "over there"
        with rack.syscalls.group.attach(answer["card"]) as operator:
            assert [row["pid"] for row in operator.ps()] == [group.getpid(), child.pid]
            operator.leave()
    assert sender.hear(ENOUGH) == {"ended": 0}
    sender.close()
    code, said = launched.end()
    assert code == 0
    assert "the supervisor ended with code 0" in said
    assert answer["token"] not in said
    assert yard.machines() == []


def test_only_the_launcher_is_listened_to_and_only_once(launched: Launched, on_machines: dict[str, Any]) -> None:
    stranger = launched.sender(Keys.make())
    stranger.send({"name": "mine"})
    sender = launched.sender()
    sender._socket.send(b"\xc1 is no msgpack")
    assert "refused" in (sender.hear(ENOUGH) or {})
    sender.send(order_of(on_machines))
    assert sender.hear(ENOUGH) == {"accepted": True}
    sender.send({"name": "another"})
    second = launched.sender()
    second.send({"name": "another"})
    heard = [sender.hear(ENOUGH) or {} for _ in range(2)]
    assert {"answer", "refused"} == {name for each in heard for name in each}
    assert stranger.hear(0.2) is None
    assert second.hear(0.2) is None
    answer = next(each["answer"] for each in heard if "answer" in each)
    join(answer).end()
    for each in (stranger, second, sender):
        each.close()
    assert launched.end()[0] == 0


def test_what_the_supervisor_refuses_is_told(launched: Launched, on_machines: dict[str, Any]) -> None:
    sender = launched.sender()
    sender.send(order_of(on_machines, colour="red"))
    answer = sender.answer(ENOUGH)
    assert answer["error"]["type"] == "InvalidCall"
    assert "no setting 'colour'" in answer["error"]["message"]
    assert sender.hear(ENOUGH) == {"ended": 1}
    sender.close()
    assert launched.end()[0] == 1


def test_nobody_comes_with_an_order() -> None:
    late = Launched(patience=1.5)
    code, said = late.end()
    assert code == 75
    assert "no order within 1.5 s" in said
    assert late.process.stderr is not None
    late.process.stderr.close()


def test_a_keeper_knows_better_than_silence(launched: Launched, on_machines: dict[str, Any]) -> None:
    sender = launched.sender()
    sender.send(order_of(on_machines, silence_limit=1.5))
    answer = sender.answer(ENOUGH)
    keeper = attach(answer["card"])
    keeper.kernel.call(Keep())
    time.sleep(2.0)  # the script has not even joined, which is no matter of silence; the keeper is heard
    assert keeper.kernel.call(DescribeGroup())[0]["ending"] == ""
    script = join(answer)
    script.kernel.close(0)  # without a word, as if its connection had been cut
    time.sleep(2.5)  # longer than the limit
    assert keeper.kernel.call(DescribeGroup())[0]["ending"] == ""
    keeper.kernel.close(0)
    assert sender.hear(ENOUGH) == {"ended": 0}, "nobody is heard any more: the group ends by itself"
    sender.close()
    assert launched.end()[0] == 0


def test_a_keeper_does_not_keep_a_detached_group_from_ending(
    launched: Launched, on_machines: dict[str, Any], yard: machines.Yard
) -> None:
    sender = launched.sender()
    sender.send(order_of(on_machines, deadline=60.0, linger=1.0))
    answer = sender.answer(ENOUGH)
    keeper = attach(answer["card"])
    keeper.kernel.call(Keep())
    group = join(answer)
    group.fork(targets.nap, 0.5)
    group.detach()
    assert eventually(lambda: keeper.kernel.ended)
    keeper.leave()
    assert sender.hear(ENOUGH) == {"ended": 0}
    sender.close()
    assert launched.end()[0] == 0
    assert yard.machines() == []
