"""No leak: a script that forks 20 processes is killed at a random moment, over and over.

The ordinary run does it a few times on each transport; RACK_KILL_LOOPS=200 is the long one.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable

import psutil
import pytest
from support import Script, describe, eventually, file_dirs, group_dirs, started_here, wait_gone

import rackactor as rack
from rackactor.launch import directories

pytestmark = pytest.mark.wire

LOOPS = int(os.environ.get("RACK_KILL_LOOPS", "6"))
SEED = int(os.environ.get("RACK_KILL_SEED", "1"))

#: Says how far it is; between any two of these lines it may be killed.
TWENTY = """
    import sys, time
    import rackactor as rack

    def work(depth):
        if depth:
            rack.fork(work, 0, n=3)
        rack.fork(["sh", "-c", "sleep 60 & sleep 60"])
        time.sleep(60)

    print("imported", flush=True)
    with rack.group(transport=sys.argv[1]) as group:
        print("begun", flush=True)
        half = group.open("/half", "wb")
        half.write(bytes(1 << 20))
        group.fork(work, 1, n=2)
        group.fork(["sleep", "60"], n=4)
        children = group.fork(lambda: rack.receive(60), n=6)
        print("forked", flush=True)
        for child in children:
            child.submit("hello")
        while len(group.ps()) < 21:
            time.sleep(0.01)
        print("complete", flush=True)
        if sys.argv[2] == "end":
            half.discard()
            sys.exit()
        time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.timeout(60 + 12 * LOOPS)
def test_a_killed_script_leaves_nothing(transport: str, script: Callable[..., Script]) -> None:
    chance = random.Random(f"{SEED}-{transport}")
    for loop in range(LOOPS):
        before = started_here()
        program = script(TWENTY, transport, chance.choice(["stay", "stay", "end"]))
        stage = chance.choice(["imported", "imported", "begun", "forked", "complete"])
        while program.line() != stage:
            pass
        delay = chance.uniform(0.0, 0.5 if stage == "imported" else 0.15)
        time.sleep(delay)
        mine = started_here() - before
        program.process.send_signal(signal.SIGKILL)
        program.process.wait()
        told = f"loop {loop}, seed {SEED}, killed {delay:.3f} s after {stage!r}"
        left = wait_gone((mine | started_here()) - before, 8.0)
        assert not left, f"{told}: {[describe(os_pid) for os_pid in left]}"
        # Some may have been made while we looked.
        assert not wait_gone(started_here() - before, 2.0), told
        assert eventually(lambda: not group_dirs() | file_dirs(), 2.0), f"{told}: {group_dirs() | file_dirs()}"


GUARDIANS = """
    import sys, time
    import rackactor as rack
    with rack.group(transport=sys.argv[1], lease=2.0, heartbeat=0.3) as group:
        me = group.getpid()
        group.fork(lambda: (rack.process(me).tell("up"), time.sleep(60)), n=3)
        for child in group.fork(["sh", "-c", "echo up; exec sleep 60"], n=3):
            child.stdout.readline()
        for _ in range(3):
            rack.receive()
        print("complete", flush=True)
        time.sleep(60)
"""


def test_all_who_watch_are_killed_at_once(transport: str, script: Callable[..., Script]) -> None:
    """Script, supervisor and fork server in the same moment: the kernel ends the rest, the next group sweeps."""
    before = started_here()
    program = script(GUARDIANS, transport)
    assert program.line() == "complete"
    mine = started_here() - before
    [card] = directories.cards()
    watching = [child.pid for child in psutil.Process(card["os_pid"]).children()]
    for number in (signal.SIGSTOP, signal.SIGKILL):  # stopped first: none of them sees another one end
        for os_pid in [program.process.pid, card["os_pid"], *watching]:
            os.kill(os_pid, number)
    program.process.wait()
    assert not wait_gone(mine, 5.0)
    assert len(group_dirs()) == 1
    with rack.group() as group:
        assert group_dirs() == {group.gid[:12]}
