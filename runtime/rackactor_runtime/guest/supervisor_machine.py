"""The machine of a group's supervisor: receives its order from the launcher, runs it, and ends with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import IO, Any

from rackactor.kernel.transport import netaddr
from rackactor.kernel.transport.sockets import Keys
from rackactor_runtime.guest import power
from rackactor_runtime.guest.birth import SupervisorBirth
from rackactor_runtime.guest.order_server import Doorway
from rackactor_runtime.guest.power import arm_for_life

#: Seconds between checks for a network that is not up yet.
_PAUSE = 0.2
#: The command that runs the supervisor. -P: a module of the current directory must not shadow the standard library.
_WORDS = (sys.executable, "-P", "-m", "rackactor_runtime.supervisor")


def serve(birth: SupervisorBirth) -> int:
    """Serve as the supervisor's machine until the supervisor has ended."""
    give_up = time.monotonic() + power.until(birth.deadline, birth.patience)
    doorway = _open(birth, give_up)
    if doorway is None:
        return power.OVERDUE
    power.say(f"waiting for an order at {doorway.endpoint}")
    try:
        order = doorway.receive(give_up - time.monotonic())
        if order is None:
            power.say(f"no order within {birth.patience:g} s")
            return power.OVERDUE
        arm_for_life(birth.deadline)
        return _run(doorway, order)
    finally:
        doorway.close()


def _open(birth: SupervisorBirth, give_up: float) -> Doorway | None:
    """Listen on this machine's own address, as soon as it has one."""
    keys = Keys(birth.public, birth.secret)
    while True:
        try:
            return Doorway(netaddr.outward(), birth.port, keys, birth.client)
        except OSError as error:
            if time.monotonic() >= give_up:
                power.say(f"cannot listen on port {birth.port}: {error}")
                return None
            time.sleep(_PAUSE)


def _run(doorway: Doorway, order: dict[str, Any]) -> int:
    """Run the supervisor, and forward its output."""
    process = subprocess.Popen(_WORDS, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: process.kill())  # the machine is being shut down
    pidfd = os.pidfd_open(process.pid)
    try:
        try:
            process.stdin.write(json.dumps(order).encode() + b"\n")
            process.stdin.close()
        except (BrokenPipeError, ValueError) as error:
            power.say(f"the supervisor did not take its order: {error}")
        order.clear()
        _pass_on(doorway, process.stdout)
        while not doorway.watch(pidfd, 3600.0):
            pass
        code = process.wait()
    finally:
        process.kill()
        process.wait()
        os.close(pidfd)
    power.say(f"the supervisor ended with code {code}")
    doorway.tell({"ended": code})
    return 0 if code == 0 else 1


def _pass_on(doorway: Doorway, lines: IO[bytes]) -> None:
    """Forward the supervisor's lines up to its answer; then it closes the pipe."""
    while doorway.watch(lines.fileno(), 3600.0):
        line = lines.readline()
        if not line:
            return
        try:
            fields = json.loads(line)
        except ValueError:
            continue
        if "progress" in fields:
            doorway.tell({"progress": str(fields["progress"])})
        else:
            error = fields.get("error") or {}
            said = error.get("message") or f"the group {fields.get('gid')} is reached at {fields.get('endpoint')}"
            power.say(str(said))
            doorway.tell({"answer": fields})
            return
