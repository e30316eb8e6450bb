"""A supervisor that dies: whoever is on its host hears it at once, with its last words."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rackcommand import RACK
from support import FEW_WARM, Script, eventually

import rackactor as rack
from rackactor.launch import last_words

#: Seconds within which everybody knows.
AT_ONCE = 3.0

PIPES: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}


def supervisor_of(group: rack.Group) -> int:
    assert group._supervisor is not None
    return group._supervisor.pid


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
def test_the_program_hears_of_a_kill_at_once(transport: str) -> None:
    with rack.group("killed", transport=transport, provider_settings=FEW_WARM) as g:
        child = g.fork(time.sleep, 60)
        child.poll()
        os_pid = supervisor_of(g)
        began = time.monotonic()
        threading.Timer(0.2, os.kill, (os_pid, signal.SIGKILL)).start()
        with pytest.raises(rack.GroupEnded, match=rf"the supervisor \(process {os_pid}\) was killed by SIGKILL"):
            child.wait(30)
        assert time.monotonic() - began < AT_ONCE
        with pytest.raises(rack.GroupEnded, match="was killed by SIGKILL"):
            g.fork(pow, 2, 2)


def test_last_words_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mortal.py").write_text(
        "from rackactor_runtime.providers.local import LocalProvider\n"
        "class Mortal(LocalProvider):\n"
        "    def create(self, order):\n"
        "        raise SystemExit('what must never happen')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with rack.group("mortal", provider="mortal:Mortal", provider_settings=FEW_WARM) as g:
        began = time.monotonic()
        with pytest.raises(rack.GroupEnded) as caught:
            g.fork(pow, 2, 2).wait(30)
    assert time.monotonic() - began < 2 * AT_ONCE
    assert "ended by itself, with code 1; its last words:\n" in str(caught.value)
    assert str(caught.value).endswith("what must never happen")


@pytest.mark.parametrize("transport", ["ipc", "tcp"])
@pytest.mark.parametrize("verb", [["logs", "-f"], ["wait"]])
def test_a_command_beside_it_hears_it_too(transport: str, verb: list[str]) -> None:
    with rack.group("watched", transport=transport, provider_settings=FEW_WARM) as g:
        child = g.fork(["sleep", "60"])
        with subprocess.Popen([RACK, *verb, "-g", "watched", str(child.pid)], **PIPES) as command:
            try:
                assert eventually(lambda: is_watched(supervisor_of(g), command.pid), 20)
                os.kill(supervisor_of(g), signal.SIGKILL)
                began = time.monotonic()
                _, err = command.communicate(timeout=120)
            finally:
                command.kill()
        assert time.monotonic() - began < AT_ONCE
        assert f"the supervisor (process {supervisor_of(g)}) has died" in err
        assert command.returncode == 1


def is_watched(os_pid: int, by: int) -> bool:
    """Tell whether a process has a pidfd of another."""
    found = ""
    for info in Path(f"/proc/{by}/fdinfo").iterdir():
        with contextlib.suppress(OSError):
            found += info.read_text()
    return f"Pid:\t{os_pid}\n" in found


def test_a_group_that_ends_in_good_order_is_no_death(script: Callable[..., Script]) -> None:
    text = """
    import time
    import rackactor as rack
    with rack.group("short", deadline=0.5, provider_settings={"warm": 0}) as g:
        try:
            g.fork(time.sleep, 60).wait()
        except rack.GroupEnded as error:
            print(error)
        else:
            print("the group's deadline passed")
        time.sleep(1)
        try:
            g.fork(time.sleep, 60)
        except rack.GroupEnded as error:
            print(error)
    """
    code, out, err = script(text).end(30)
    assert (code, out) == (0, "the group's deadline passed\n" * 2), err


def test_the_log_is_bounded() -> None:
    log = last_words.open_log()
    try:
        for number in range(10_000):
            os.write(log, b"line %d\n" % number)
            last_words.bound_log(log, 10_000, 1000)
        assert os.fstat(log).st_size <= 10_020
        assert last_words.last_words(log, 3) == "line 9997\nline 9998\nline 9999"
        assert last_words.last_words(-1) == ""
    finally:
        os.close(log)


def test_the_log_can_be_read_in_the_groups_directory() -> None:
    with rack.group("logged", provider_settings=FEW_WARM) as g:
        path = Path(os.environ["XDG_RUNTIME_DIR"]) / "rackactor" / g.gid[:12] / "supervisor.log"
        assert path.read_text() == ""
