"""Processes on one host that have nothing to do sleep: what wakes them is counted, not timed."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest
from support import eventually

import rackactor as rack
from rackactor.launch import directories

pytestmark = pytest.mark.wire

#: Seconds in which wake-ups are counted.
COUNTED = 6.0
#: Wake-ups of all threads of a process meanwhile, at the most: one heartbeat with its answer, of which there is one in
#: 40 s (with one each second there were 24).
MOST = 5


class _Echo(rack.Actor):
    def receiveMsg_str(self, message: str, sender: object) -> None:
        self.send(sender, str(os.getpid()))


def _sleep() -> None:
    threading.Event().wait(60)


def _woken(pid: int) -> int:
    """Return how often the threads of a process have been woken in all; -1: it is no more."""
    total = 0
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            lines = (task / "status").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))
    except (FileNotFoundError, ProcessLookupError):
        return -1
    return total


def _settled(pids: list[int]) -> None:
    """Wait until these processes have done what a start leaves to do."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        before = {pid: _woken(pid) for pid in pids}
        time.sleep(1.5)
        if all(_woken(pid) - before[pid] <= 1 for pid in pids):
            return


def test_idle_processes_are_not_woken() -> None:
    with rack.group() as group:
        actor = group.fork(_Echo)
        asked = int(actor.ask("pid"))
        group.fork(_sleep)
        server = psutil.Process(asked).parent()
        assert server is not None
        idle = [server.pid, *(child.pid for child in server.children())]  # the fork server, and its warm processes
        assert asked in idle
        assert len(idle) >= 3
        _settled(idle)
        before = {pid: _woken(pid) for pid in idle}
        time.sleep(COUNTED)
        woken = {pid: count - before[pid] for pid in idle if (count := _woken(pid)) >= 0}
        assert {server.pid, asked} <= woken.keys()
        assert max(woken.values()) <= MOST, woken
        assert actor.ask("still there?") == str(asked)


def test_an_idle_process_leaves_a_supervisor_that_hangs(transport: str) -> None:
    """It asks rarely on one host, and goes when it is not answered for its lease."""
    with rack.group(transport=transport, heartbeat=0.2, lost_after=0.6, lease=1.0, end_grace=0.3) as group:
        actor = group.fork(_Echo)
        process = psutil.Process(int(actor.ask("pid")))
        [card] = [card for card in directories.cards() if card["gid"] == group.gid]
        os.kill(card["os_pid"], signal.SIGSTOP)
        try:
            assert eventually(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE, 30)
        finally:
            os.kill(card["os_pid"], signal.SIGCONT)


def test_a_process_that_was_away_judges_nobody_by_that(transport: str) -> None:
    """SIGSTOP to an idle process, for less than makes it lost: it is there again, and so is its group."""
    with rack.group(transport=transport, heartbeat=0.2, lost_after=5.0, lease=1.0, end_grace=0.3) as group:
        actor = group.fork(_Echo)
        asked = int(actor.ask("pid"))
        os.kill(asked, signal.SIGSTOP)
        time.sleep(2.5)  # the time that is to pass
        os.kill(asked, signal.SIGCONT)
        assert actor.ask("still there?") == str(asked)
        time.sleep(1.0)
        assert actor.is_alive()
