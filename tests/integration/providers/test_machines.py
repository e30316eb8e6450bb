"""Processes that are machines: births, ends and everything that a cloud and its people can do to them meanwhile."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import machines
import pytest
import targets
from support import eventually

import rackactor as rack
from rackactor.wire.calls.fork import Fork
from rackactor.wire.calls.group import EndGroup

C = rack.Cause
ENOUGH = 20.0


@pytest.fixture
def group(on_machines: dict[str, Any]) -> Iterator[rack.Group]:
    options = {"heartbeat": 0.3, "lost_after": 1.0, "lease": 6.0, "grace": 2.0, "end_grace": 0.5}
    with rack.group("machines", **on_machines, **options, echo=False) as made:
        yield made


def machine_of(child: rack.Process) -> str:
    """Return the name of a process's machine, once the process is up."""
    assert eventually(lambda: child.info()["started"])
    return str(child.info()["instance"])


def test_a_process_is_a_machine(group: rack.Group, yard: machines.Yard) -> None:
    child = group.fork(targets.answer)
    assert child.ask("here") == "here"
    row = child.info()
    assert yard.machines() == [row["instance"]]
    assert row["state"] == "running"
    assert eventually(lambda: child.info()["address"])
    assert yard.creates() == [f"{group.gid}.{child.pid}.1"]
    assert [each["pid"] for each in group.ps()] == [group.getpid(), child.pid]  # its machine is no process
    child.tell("stop")
    assert child.wait(ENOUGH).ok
    assert yard.machines() == []


@pytest.mark.parametrize(
    "fault, cause, words",
    [
        ("quota", C.QUOTA, "Quota exceeded for cores"),
        ("no-valid-host", C.BOOT_FAILED, "No valid host was found"),
    ],
)
def test_a_machine_that_cannot_be(group: rack.Group, yard: machines.Yard, fault: str, cause: C, words: str) -> None:
    yard.plan(fault)
    bad, good = group.fork(targets.add, 1, n=2)
    ends = {child: child.wait(ENOUGH) for child in (bad, good)}
    failed = [status for status in ends.values() if not status.ok]
    assert [(status.cause, status.code, status.started) for status in failed] == [(cause, 255, None)]
    assert words in failed[0].evidence
    assert yard.machines() == []


def test_an_unclear_answer_is_cleared_up_before_anything_is_asked_again(group: rack.Group, yard: machines.Yard) -> None:
    yard.plan("unclear-made")
    child = group.fork(targets.add, 1)
    assert child.result(ENOUGH) == 1
    assert yard.creates() == [f"{group.gid}.{child.pid}.1"]
    yard.plan("unclear")
    again = group.fork(targets.add, 2)
    assert eventually(lambda: "the cloud gives no clear answer since" in again.info()["note"])
    assert "503 Service Unavailable" in again.info()["note"]
    assert again.result(ENOUGH) == 2
    assert again.info()["note"] == ""
    assert yard.creates()[1:] == [f"{group.gid}.{again.pid}.1"] * 2


def test_deleted_and_powered_off_by_hand(on_machines: dict[str, Any], yard: machines.Yard) -> None:
    options = {"heartbeat": 0.3, "lost_after": 1.0, "lease": 60.0, "end_grace": 0.5}
    with rack.group("machines", **on_machines, **options, echo=False) as group:
        children = group.fork(targets.nap, n=2)
        one, other = map(machine_of, children)
        yard.remove(one)
        yard.power_off(other)
        deleted, off = (child.wait(ENOUGH) for child in children)
    assert (deleted.cause, off.cause) == (C.DELETED_OUTSIDE, C.DELETED_OUTSIDE), (deleted.evidence, off.evidence)
    assert f"{one} is not in the cloud's list any more" in deleted.evidence
    assert f"{other} is SHUTOFF" in off.evidence
    assert yard.machines() == []


def test_a_boot_that_hangs(on_machines: dict[str, Any], yard: machines.Yard) -> None:
    yard.plan("hang")
    with rack.group(**on_machines, boot_timeout=1.0, end_grace=0.5) as group:
        status = group.fork(targets.nap).wait(ENOUGH)
    assert (status.cause, status.started) == (C.BOOT_FAILED, None)
    assert "had not joined within 1 s" in status.evidence
    assert "booting..." in status.evidence  # its console
    assert yard.machines() == []


def test_kill_needs_no_help_from_the_machine(group: rack.Group, yard: machines.Yard) -> None:
    child = group.fork(targets.nap)
    for os_pid in machines.processes(machine_of(child)):
        os.kill(os_pid, signal.SIGSTOP)
    child.kill("KILL")
    status = child.wait(ENOUGH)
    assert (status.signal, status.cause) == (9, C.SIGNALLED)
    assert yard.machines() == []


def test_a_delete_that_is_not_confirmed(
    on_machines: dict[str, Any], yard: machines.Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(machines.HASTE, "0.5")
    yard.plan("stuck")
    with rack.group(**on_machines, end_grace=0.3) as group:
        child = group.fork(targets.nap)
        machine = machine_of(child)
        child.kill("KILL")
        assert eventually(lambda: child.info()["state"] == "unkillable")
        assert machine in child.info()["note"]
        with pytest.raises(rack.RackTimeout):
            child.wait(0.5)
        yard.unstick()
        assert child.wait(ENOUGH).signal == 9
    assert yard.machines() == []


def test_a_group_does_not_wait_for_ever_for_a_delete(
    on_machines: dict[str, Any], yard: machines.Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(machines.HASTE, "0.5")
    yard.plan("stuck")
    with rack.group(**on_machines, end_grace=0.3, delete_timeout=1.5) as group:
        child = group.fork(targets.nap)
        machine = machine_of(child)
        fields, _ = group.kernel.call(EndGroup("enough", hold=True))
        assert len(fields["left"]) == 1
        assert machine in fields["left"][0]
    yard.unstick()
    yard.remove(machine)


def test_a_machine_that_loses_its_supervisor_ends_itself(on_machines: dict[str, Any], yard: machines.Yard) -> None:
    from rackactor.launch import directories

    options = {"heartbeat": 0.2, "lost_after": 0.6, "lease": 1.5}
    with rack.group(**on_machines, **options) as group:
        machine = machine_of(group.fork(targets.nap))
        [card] = [card for card in directories.cards() if card["gid"] == group.gid]
        os.kill(card["os_pid"], signal.SIGKILL)
        assert eventually(lambda: not machines.processes(machine))
        assert "the supervisor has been silent" in yard.console(machine)
    directories.sweep()  # nobody was left to do it
    yard.remove(machine)


def test_a_machine_ends_itself_at_its_deadline(yard: machines.Yard) -> None:
    from rackactor_runtime.providers.machines.provider import Machine
    from rackactor_runtime.providers.machines.userdata import script

    birth = {"role": "machine", "endpoint": "tcp://127.0.0.1:9", "server_key": "x" * 40, "pid": 3, "incarnation": 1}
    birth |= {"token": "00", "deadline": time.time() + 1.5, "boot_timeout": 60.0, "poweroff": False}
    machine = yard.create(Machine("mark", 3, 2, "late", script(birth)))
    assert eventually(lambda: "no supervisor" in yard.console(machine))
    assert eventually(lambda: not machines.processes(machine))
    yard.remove(machine)


def test_machines_are_few_unless_somebody_says_otherwise(on_machines: dict[str, Any]) -> None:
    with rack.group(**on_machines, end_grace=0.5) as group:
        with pytest.raises(rack.ForkError, match="201 processes would live at the same time, and the group allows 200"):
            group.fork(targets.nap, n=201)
        with pytest.raises(rack.SpawnIntensityExceeded, match="101 forks within 60 s, and the group allows 100"):
            group.fork(targets.nap, n=101)


def test_a_quota_that_refuses_one_refuses_those_of_its_fork_that_wait(
    on_machines: dict[str, Any], yard: machines.Yard
) -> None:
    yard.plan(*["quota"] * 12)
    settings = {**on_machines, "provider_settings": {**on_machines["provider_settings"], "boot_concurrency": 2}}
    with rack.group(**settings, end_grace=0.5) as group:
        ends = [child.wait(ENOUGH) for child in group.fork(targets.add, 1, n=12)]
        assert {status.cause for status in ends} == {C.QUOTA}
        assert len(yard.creates()) <= 3
        assert sum("this one was not asked for" in status.evidence for status in ends) >= 9


def test_placement_is_inherited(group: rack.Group) -> None:
    def parent() -> list[Any]:
        children = [rack.fork(["true"]), rack.fork(["true"], flavor="large", security_groups=[])]
        return [child.info()["placement"] for child in children]

    told = {"image": "ubuntu", "flavor": "small", "keypair": "mine", "security_groups": ["web", "db"]}
    child = group.fork(parent, **told)
    assert child.info()["placement"] == told
    assert child.result(20) == [told, {**told, "flavor": "large", "security_groups": []}]
    wrong = Fork(1, "command", words=["sleep", "60"], placement={"colour": "red"})
    with pytest.raises(rack.InvalidCall, match="a placement has no 'colour'"):
        group.kernel.call(wrong, b"", _no_arguments())


def _no_arguments() -> bytes:
    from rackactor.wire.target import pack_arguments

    return pack_arguments((), {})
