"""The keeper: watches over a group from outside, from its launch to its end.

The supervisor is a machine of the cloud and cannot see whether the program that made the group is alive; the keeper is
on that program's host and can. And a machine of the group cannot remove the last part of it; the keeper does that.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from typing import Any

from rackactor.errors import RackError
from rackactor.kernel.kernel import Kernel
from rackactor.kernel.news import GroupOver
from rackactor.kernel.transport.sockets import Keys
from rackactor.kernel.transport.wakeup import Waker
from rackactor.system.readiness import readable
from rackactor.wire.calls.group import DescribeGroup, EndGroup
from rackactor.wire.calls.operators import Keep
from rackactor.wire.calls.processes import Bye
from rackactor.wire.events import EndEvent
from rackactor.wire.frames import SUPERVISOR
from rackactor_runtime.providers.machines.strays import DEBT
from rackactor_runtime.providers.nova.access.faults import fault
from rackactor_runtime.providers.nova.marks import names as w
from rackactor_runtime.providers.nova.provider.lookout import MISSING, Lookout
from rackactor_runtime.providers.nova.session import Session

#: Seconds for ending all processes of a group.
END_TIMEOUT = 120.0
#: Seconds between checks of the supervisor's machine while the supervisor cannot be reached.
LOOK = 2.0
#: Seconds without any answer, of the supervisor or the cloud, after which a group without an owner is over.
PATIENCE = 60.0
#: Seconds that a supervisor which has ended its group has for its last message.
LAST_WORD = 2.0

_log = logging.getLogger(__name__)


class Keeper:
    """Watches over one group.

    Args:
        card: how to join the group as an operator.
        session: for the cloud of its supervisor's machine, `instance`.
        owner: a pidfd of the program that made it, or None.
    """

    def __init__(self, card: dict[str, Any], session: Session, instance: str, owner: int | None) -> None:
        self._card = card
        self._session = session
        self._instance = instance
        self._owner = owner
        self._waker = Waker()
        self._told_to_end = self._over = False
        #: Seconds for which something of the group may still appear; the supervisor's last message says so.
        self.owed = DEBT
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # meant for the program that made the group
        signal.signal(signal.SIGTERM, self._terminated)
        self._kernel: Kernel | None = None
        with contextlib.suppress(RackError):  # then it is tried again
            self._kernel = self._join()

    def keep(self) -> None:
        """Return when the group is over."""
        try:
            while True:
                if self._kernel is None and not self._rejoin():
                    return
                if self._watch():
                    return
        finally:
            if self._kernel is not None:
                self._hear_out(self._kernel)
                self._kernel.cast(Bye())
                self._kernel.close()

    def _join(self) -> Kernel:
        card = self._card
        kernel = Kernel()
        kernel.on(EndEvent, lambda event, _: self._group_ended(event))
        kernel.on(GroupOver, lambda *_: self._waker.wake())
        birth = {"endpoint": card["endpoint"], "server_key": card["server_key"].encode(), "pid": 0, "incarnation": 1}
        public, secret = card["keys"]
        keys = Keys(public.encode(), secret.encode())
        kernel.join({**birth, "token": bytes.fromhex(card["token"]), "keys": keys})
        kernel.call(Keep(), timeout=30.0)
        return kernel

    def _watch(self) -> bool:
        """Watch until something happens; tell whether the group is over."""
        kernel = self._kernel
        assert kernel is not None
        waits = [self._waker.fileno(), *([self._owner] if self._owner is not None else [])]
        ready = readable(waits, 5.0)
        self._waker.drain()
        try:
            if self._told_to_end:
                kernel.call(EndGroup("its keeper was told to end it"), timeout=END_TIMEOUT)
                return True
            if self._owner in ready:
                return self._owner_gone(kernel)
        except RackError as error:
            _log.warning("the group could not be asked: %s", error)
        if kernel.ended:
            kernel.close()
            self._kernel = None
            return self._over
        return False

    def _owner_gone(self, kernel: Kernel) -> bool:
        """End the group of a program that is gone, unless it was to outlive it; tell whether it is over."""
        fields, _ = kernel.call(DescribeGroup(), timeout=30.0)
        if fields["detached"]:
            assert self._owner is not None
            os.close(self._owner)
            self._owner = None
            return False
        kernel.call(EndGroup("the program that made the group is gone"), timeout=END_TIMEOUT)
        return True

    def _rejoin(self) -> bool:
        """Reconnect to a lost supervisor; False: the group is over."""
        since, lookout = time.monotonic(), Lookout()
        while True:
            status = self._look()
            if status is not None and lookout.look(status, time.monotonic()):
                _log.warning("the supervisor's machine %s is %s", self._instance, status)
                return False
            try:
                self._kernel = self._join()
                return True
            except RackError as error:
                _log.info("not back yet: %s", error)
            over = self._told_to_end or (self._owner is not None and bool(readable([self._owner], 0)))
            if over and time.monotonic() - since > PATIENCE:
                return False
            readable([self._waker], LOOK)

    def _look(self) -> str | None:
        """Return Nova's status of the supervisor's machine; None while the cloud gives no answer."""
        try:
            answer = self._session.get("compute", f"/servers/{self._instance}")
            if answer is not None:
                return str(answer["server"]["status"])
            name = f"^{w.prefix(self._card['gid'])}-{SUPERVISOR}-"
            rows = self._session.list("compute", "/servers/detail", name=name)
            return next((str(row["status"]) for row in rows if row["id"] == self._instance), MISSING)
        except Exception as error:
            _log.info("the supervisor's machine could not be looked at: %s", fault(error))
            return None

    def _group_ended(self, event: EndEvent) -> None:
        self._over, self.owed = True, event.owed or 0.0
        self._waker.wake()

    def _hear_out(self, kernel: Kernel) -> None:
        """Wait a moment for the supervisor's last message."""
        until = time.monotonic() + LAST_WORD
        while not self._over and not kernel.ended and (left := until - time.monotonic()) > 0:
            readable([self._waker], left)
            self._waker.drain()

    def _terminated(self, number: int, frame: object) -> None:
        self._told_to_end = True
        self._waker.wake()
