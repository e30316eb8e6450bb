"""What an agent does before it has its birth, and how it finds its target."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from pathlib import Path

import pytest

from rackactor.errors import AuthenticationError
from rackactor.kernel import Kernel
from rackactor.target import pack_target, unpack_target
from rackactor_runtime.agent.rehearsal import rehearse


def test_a_rehearsal_leaves_nothing() -> None:
    path, modules, threads = list(sys.path), set(sys.modules), threading.active_count()
    rehearse()
    assert (sys.path, set(sys.modules), threading.active_count()) == (path, modules, threads)


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
    monkeypatch.setattr("rackactor.kernel.JOIN_TIMEOUT", 0.05)
    files, threads = os.listdir("/proc/self/fd"), threading.active_count()
    kernel = Kernel()
    assert threading.active_count() == threads + 1
    with pytest.raises(AuthenticationError):
        kernel.join({"endpoint": f"ipc://{tmp_path}/nobody", "token": b"", "pid": 2, "incarnation": 1})
    assert threading.active_count() == threads
    assert os.listdir("/proc/self/fd") == files
