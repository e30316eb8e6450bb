"""What an agent does before it has its birth, and how it finds its target."""

from __future__ import annotations

import importlib
import logging
import os
import random
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from rackactor import current
from rackactor.errors import AuthenticationError
from rackactor.kernel import interrupts
from rackactor.kernel.kernel import Kernel
from rackactor.wire.frames import Kind, parse_header
from rackactor.wire.target import pack_target, unpack_target
from rackactor_runtime.agent import commands, warmup
from rackactor_runtime.agent.report import Report


def traces() -> list[object]:
    """Return what a rehearsal could leave where a program would see it."""
    return [
        list(sys.path),
        set(sys.modules),
        dict(os.environ),
        threading.active_count(),
        os.listdir("/proc/self/fd"),
        [signal.getsignal(number) for number in signal.valid_signals()],
        (logging.root.level, list(logging.root.handlers)),
        random.getstate(),
        current.find(),
        interrupts.busy,
    ]


def test_a_rehearsal_leaves_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    warmup.rehearse()
    before = traces()
    warmup.warm_up()
    assert traces() == before
    assert capfd.readouterr() == ("", "")


def test_a_rehearsal_goes_through_messages_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[bytes, int]] = []
    sent: list[Kind] = []
    raw_send = warmup._Nowhere.send

    def note(self: Any, message: bytes, sender: Any) -> None:
        heard.append((message, sender.pid))
        self.send(sender, message)

    def send(self: Any, socket: object, frames: Any) -> None:
        sent.append(parse_header(frames[1]).kind)
        raw_send(self, socket, frames)

    monkeypatch.setattr(warmup._FakeActor, "receiveMsg_bytes", note)
    monkeypatch.setattr(warmup._Nowhere, "send", send)
    assert warmup.rehearse() == Report("exited", 0)
    assert heard == [(b"", 2)] * warmup.MESSAGES
    assert sent.count(Kind.DATA) == warmup.MESSAGES
    assert sent[-2:] == [Kind.CALL, Kind.CALL], "that it leaves, and its exit"


def test_a_target_is_found_on_the_path_of_its_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "far_away.py").write_text("def run():\n    return 42\n")
    before = list(sys.path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *before])
    blob = pack_target(importlib.import_module("far_away").run).blob
    del sys.modules["far_away"]
    sys.path[:] = before
    try:
        assert unpack_target(memoryview(blob))() == 42
        assert sys.path == [str(tmp_path), *before]
    finally:
        sys.modules.pop("far_away", None)


def test_a_kernel_made_ready_ahead_of_time_leaves_nothing_when_its_join_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rackactor.kernel.kernel.JOIN_TIMEOUT", 0.05)
    files, threads = os.listdir("/proc/self/fd"), threading.active_count()
    kernel = Kernel()
    assert threading.active_count() == threads + 1
    with pytest.raises(AuthenticationError):
        kernel.join({"endpoint": f"ipc://{tmp_path}/nobody", "token": b"", "pid": 2, "incarnation": 1})
    assert threading.active_count() == threads
    assert os.listdir("/proc/self/fd") == files


def test_a_directory_that_is_closed_to_us_is_not_the_commands_fault() -> None:
    denied = PermissionError(13, "Permission denied")
    assert isinstance(commands._truth(denied, "no-such-command"), FileNotFoundError)
    assert commands._truth(denied, "sh") is denied
    assert commands._truth(denied, "/some/where") is denied
