"""A machine for one process: joins the group, starts the process's agent, reports its end, and ends itself.

The local provider makes the agent, as on a laptop. So output and its credit, memory limits, the end of all
descendants and exit codes use the same code. This program connects that provider with the supervisor's.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from rackactor.errors import RackError
from rackactor.kernel.kernel import Kernel
from rackactor.kernel.news import GroupOver
from rackactor.kernel.transport import netaddr
from rackactor.kernel.transport.sockets import Keys
from rackactor.kernel.transport.wakeup import Waker
from rackactor.system.readiness import readable
from rackactor.wire.calls.machine import MachineSays
from rackactor.wire.events import MachineEvent
from rackactor_runtime.agent import main
from rackactor_runtime.guest import power
from rackactor_runtime.guest.birth import MachineBirth
from rackactor_runtime.guest.power import arm_for_life
from rackactor_runtime.providers.base import Created, CreateFailed, Ended, Event, Key, Order, Output
from rackactor_runtime.providers.local import linux
from rackactor_runtime.providers.local.provider import LocalProvider

#: Seconds within which the last messages must be acknowledged.
DRAIN = 10.0
#: Seconds that the agent and all its descendants have to die.
DYING = 5.0
#: Seconds for one attempt to join, after which the reason is reported; and between two attempts.
_ATTEMPT, _PAUSE = 4.5, 0.5


def live(birth: MachineBirth) -> int:
    """Serve as a machine until its process has ended, or until the machine must end itself."""
    # This comes before any thread or ZeroMQ context, since it forks. Only one process is made here, so no rehearsal.
    provider = LocalProvider({"warm": 0}, "", entry=main.main)
    guest = _Guest(birth, provider)
    try:
        return guest.run()
    finally:
        provider.close(DYING)


class _Guest:
    def __init__(self, birth: MachineBirth, provider: LocalProvider) -> None:
        self._birth = birth
        self._provider = provider
        self._waker = Waker()
        self._heard: deque[MachineEvent] = deque()
        self._why = ""  # set when this machine itself ends the process
        self._key = Key(0, 0)
        self._done = False
        self._code = 0
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._signalled)

    def run(self) -> int:
        """Join, run, and report the end."""
        kernel = self._join()
        if kernel is None:
            power.say(self._why or f"no supervisor at {self._birth.endpoint} within {self._birth.boot_timeout:g} s")
            return power.OVERDUE
        self._kernel = kernel
        power.say(f"joined {_after_init()}")
        arm_for_life(self._birth.deadline)
        self._begin(kernel.welcome.order)
        while not self._done:
            self._turn()
        kernel.close()
        return self._code

    def _join(self) -> Kernel | None:
        """Join the group; None: it does not exist, or this machine must end before it has joined."""
        birth = self._birth
        fields = {
            "endpoint": birth.endpoint,
            "server_key": birth.server_key,
            "token": birth.token,
            "pid": birth.pid,
            "incarnation": birth.incarnation,
        }
        if birth.server_key:
            fields["keys"] = Keys.make()  # the same keys each time: they identify the owner of the token
        give_up = time.monotonic() + power.until(birth.deadline, birth.boot_timeout)
        said = ""
        while not self._why:
            kernel = Kernel()
            kernel.on(MachineEvent, lambda event, _: self._ring(event))
            kernel.on(GroupOver, lambda ended, _: self._ring(MachineEvent("end", why=ended.reason)))
            try:
                kernel.join(fields, _ATTEMPT)
                return kernel
            except RackError as error:
                why = self._no_way() or str(error)
                if why != said:
                    said = why
                    power.say(f"not joined yet: {said}")
            if time.monotonic() >= give_up:
                break
            readable([self._waker], _PAUSE)
        return None

    def _no_way(self) -> str:
        """Return why the supervisor cannot be reached at all: an image may not bring its network up."""
        try:
            netaddr.toward(self._birth.endpoint)
        except OSError as error:
            return f"this machine has no way to {self._birth.endpoint} ({error.strerror}): is its network up?"
        return ""

    def _begin(self, order: Mapping[str, Any]) -> None:
        self._key = Key(order["pid"], order["incarnation"])
        ways = {"endpoint": self._birth.endpoint, "server_key": self._birth.server_key}
        self._provider.create(
            Order(self._key, {**ways, **order["birth"]}, order.get("env") or {}, order.get("cwd"), order.get("memory"))
        )

    def _turn(self) -> None:
        left = power.until(self._birth.deadline, 60.0)
        readable([self._waker.fileno(), *self._provider.fds()], max(0.0, left))
        if left <= 0 and not self._why:
            self._why = "this machine's deadline passed"
        self._waker.drain()
        while self._heard:
            self._obey(self._heard.popleft())
        if self._why and not self._done:
            power.say(f"{self._why}: it ends")
            self._provider.close(DYING)  # this sends the last output, and how the process ended
        for event in self._provider.events():
            self._tell(event)
        if self._why:
            self._finish(MachineSays("ended", why=self._why))

    # -- from the supervisor --------------------------------------------------------------------------

    def _ring(self, event: MachineEvent) -> None:
        self._heard.append(event)
        self._waker.wake()

    def _signalled(self, number: int, frame: object) -> None:
        self._why = f"the machine is being shut down ({signal.Signals(number).name})"
        self._waker.wake()

    def _obey(self, event: MachineEvent) -> None:
        match event.do:
            case "grant":
                self._provider.grant_output(self._key, event.count)
            case "delete":
                self._provider.delete(self._key)
            case "end":
                self._why = self._why or event.why

    # -- to the supervisor ------------------------------------------------------------------------------

    def _tell(self, event: Event) -> None:
        match event:
            case Created(_, instance):
                self._cast(MachineSays("created", os_pid=int(instance), address=self._address()))
            case Output(_, stream, data):
                self._cast(MachineSays("output", stream=stream), data)
            case CreateFailed(_, fault, kind):
                self._finish(MachineSays("failed", fault=fault, kind=kind))
            case Ended(_, code, number, oom, note) if not self._why:
                self._code = 0
                self._finish(MachineSays("ended", code=code, signal=number, oom=oom, note=note))

    def _cast(self, said: MachineSays, *blobs: bytes) -> None:
        if not self._kernel.ended:
            self._kernel.cast(said, *blobs)

    def _finish(self, said: MachineSays) -> None:
        """Send the last message, and wait for a limited time until everything has been acknowledged."""
        self._done = True
        try:
            self._kernel.call(said, timeout=DRAIN)
        except RackError as error:
            print(f"rackactor: its end was not heard: {error}", file=sys.stderr, flush=True)  # noqa: T201

    def _address(self) -> str:
        try:
            return netaddr.toward(self._birth.endpoint)
        except OSError:
            return ""


def _after_init() -> str:
    """Return the time since this machine's first process, if it can be known."""
    init = linux.read_stat(1)
    if init is None:
        return ""
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - init.started / os.sysconf("SC_CLK_TCK")
    return f"{age:.2f} s after this machine's first process began"
