"""What comes after its group is over is looked for, and removed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("openstack")

from rackactor.wire.events import EndEvent
from rackactor_runtime.providers.machines.provider import CloudFault
from rackactor_runtime.providers.machines.strays import DEBT
from rackactor_runtime.providers.nova.marks import names as w
from rackactor_runtime.providers.nova.marks.found import Found
from rackactor_runtime.providers.nova.provider import late, launcher


class Cloud:
    """Servers that come at times, and clocks."""

    def __init__(self, *comes: float, away: tuple[float, float] = (-1.0, -1.0)) -> None:
        self.now = 0.0
        self.comes = dict(enumerate(comes))
        self.gone: set[int] = set()
        self.away = away
        self.looks = 0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def take(self) -> Sequence[Found]:
        self.looks += 1
        if self.away[0] <= self.now < self.away[1]:
            raise CloudFault("unclear", "503")
        there = [number for number, when in self.comes.items() if when <= self.now and number not in self.gone]
        claim = w.Claim("01234567-89a", 0.0)
        return [
            Found("server", str(number), f"late {number}", claim, "ACTIVE", remove=lambda n=number: self.gone.add(n))
            for number in there
        ]

    def look_out(self, seconds: float = DEBT) -> bool:
        return late.look_out(self.take, seconds, self.sleep, lambda: self.now)


def test_what_comes_late_is_removed() -> None:
    cloud = Cloud(3.0, 400.0, DEBT - 1.0)
    assert cloud.look_out()
    assert cloud.gone == {0, 1, 2}
    assert DEBT <= cloud.now < DEBT + 120.0
    assert cloud.looks < 150


def test_a_cloud_that_cannot_be_asked_at_the_end_is_waited_for() -> None:
    cloud = Cloud(10.0, away=(5.0, DEBT + 600.0))
    assert cloud.look_out()
    assert cloud.gone == {0}


def test_but_not_for_ever() -> None:
    cloud = Cloud(10.0, away=(5.0, 1e9))
    assert not cloud.look_out()
    assert cloud.now < DEBT + late.PATIENCE + 400.0


def test_it_is_a_program_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []

    def popen(words: list[str], **more: Any) -> Any:
        started.append((words, more))
        return SimpleNamespace(pid=4711)

    monkeypatch.setattr(late.subprocess, "Popen", popen)
    order = {"settings": {}, "provider_settings": {"cloud": "mine"}, "owner": None}
    made = launcher.Launcher(order, "01234567-89ab-4cde-8f01-23456789abcd")
    assert made._look_out(0.0) == ""
    assert started == []
    words = made._look_out(DEBT)
    assert "process 4711 looks for it, and removes it, for 15 min" in words
    [(command, more)] = started
    assert command[1:] == [
        "-m",
        "rackactor_runtime.providers.nova.provider.late",
        "01234567-89ab-4cde-8f01-23456789abcd",
        "--seconds",
        "900",
        "--cloud",
        "mine",
    ]
    assert more["start_new_session"]


def test_the_program_runs() -> None:
    words = [late.sys.executable, "-m", "rackactor_runtime.providers.nova.provider.late", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=dict(os.environ), timeout=120)
    assert late.__doc__ is not None
    assert late.__doc__.split("\n")[0] in " ".join(done.stdout.split())


@pytest.mark.parametrize("fault, waits", [("", True), ("No valid host was found", False)])
def test_a_launch_waits_a_moment_for_the_reason_of_an_error(fault: str, waits: bool) -> None:
    from rackactor.errors import StartError
    from rackactor_runtime.providers.machines.provider import Seen

    made = launcher.Launcher({"settings": {}, "owner": None}, "01234567-89ab-4cde-8f01-23456789abcd")
    seen = Seen("m", "i", "ERROR", fault)
    if waits:
        made._judge(seen, "i", "")
        assert made._in_error is not None
        made._in_error -= launcher.FAULT_PATIENCE
    with pytest.raises(StartError, match=fault or "the cloud does not say why"):
        made._judge(seen, "i", "")
    for status in ("SHUTOFF", "SHELVED", "SOFT_DELETED"):
        with pytest.raises(StartError, match="it ended by itself"):
            made._judge(Seen("m", "i", status), "i", "")
    made._judge(Seen("m", "i", "BUILD"), "i", "")
    made._judge(None, "i", "")


class Kernel:
    """A supervisor's last word, or none."""

    def __init__(self, keeper: Any, last: dict[str, Any] | None) -> None:
        self.keeper, self.last, self.ended = keeper, last, False

    def speak(self) -> None:
        if self.last is not None:
            self.keeper._group_ended(EndEvent.from_wire(self.last))


@pytest.mark.parametrize(
    "last, owed", [({"reason": "enough"}, 0.0), ({"reason": "enough", "owed": 50.0}, 50.0), (None, DEBT)]
)
def test_a_keeper_knows_what_may_still_come(
    last: dict[str, Any] | None, owed: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rackactor.kernel.transport.wakeup import Waker
    from rackactor_runtime.providers.nova.provider import watchdog as module

    monkeypatch.setattr(module, "LAST_WORD", 0.2)
    keeper = object.__new__(module.Keeper)
    keeper._waker, keeper._over, keeper.owed = Waker(), False, DEBT
    kernel: Any = Kernel(keeper, last)
    kernel.speak()
    keeper._hear_out(kernel)
    assert keeper.owed == owed


def test_who_looks_out_can_be_told_to_end() -> None:
    """Its keeper is deaf to signals while it cleans up, and a program inherits that."""
    text = """
import os, signal, time
from rackactor_runtime.providers.nova.provider import late
signal.signal(signal.SIGTERM, signal.SIG_IGN)
late.look_out = lambda take, seconds: os.kill(os.getpid(), signal.SIGTERM)
late.main(["01234567-89ab-4cde-8f01-23456789abcd"])
"""
    assert subprocess.run([sys.executable, "-c", text], timeout=60, check=False).returncode == -signal.SIGTERM
