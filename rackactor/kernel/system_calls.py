"""System calls: what this process asks of the supervisor."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from rackactor import units
from rackactor.errors import RackTimeout
from rackactor.kernel.event_loop import EventLoop
from rackactor.kernel.membership import Membership
from rackactor.kernel.pending import Pending
from rackactor.units import DEFAULT_TIMEOUT, Timeout
from rackactor.wire import frames
from rackactor.wire.calls.processes import Cancel
from rackactor.wire.frames import Kind, check_size
from rackactor.wire.schema import Call


class SystemCalls:
    """Make system calls, from any thread."""

    def __init__(self, loop: EventLoop, membership: Membership) -> None:
        self._loop = loop
        self._membership = membership
        self._outbox = loop.outbox
        self._awaited = loop.inbox.calls
        self._turn = loop.leader.turn
        self._send = loop.uplink.send
        self._numbers = itertools.count(1)

    def call(
        self,
        call: Call,
        *blobs: Any,
        timeout: Timeout = DEFAULT_TIMEOUT,
        late: Callable[[Pending], None] | None = None,
    ) -> tuple[dict[str, Any], Sequence[Any]]:
        """Make a system call and wait for its result.

        Args:
            call: which, and what it says.
            blobs: opaque frames that go with it.
            timeout: seconds; None: no bound.
            late: gets a result that comes although the call was withdrawn: the two may have crossed on the way.

        Returns: the result's fields, and the opaque frames that came with it.

        Raises:
            RackTimeout: no answer within `timeout` seconds (None: no bound); the call is withdrawn.
            GroupEnded: the supervisor is gone.
            RackError: the supervisor's refusal, as its own class.
        """
        seconds = units.timeout(timeout)
        pending, rid = self.begin_call(call, *blobs)
        try:
            if not self._membership.wait(lambda: pending.done, seconds):
                raise RackTimeout(f"no answer to {call.op!r} within {seconds:g} s")
        except BaseException:
            self.withdraw(pending, rid, late)
            raise
        return pending.get(), pending.blobs

    def withdraw(self, pending: Pending, rid: int, late: Callable[[Pending], None] | None = None) -> None:
        """Give a call up; `late`: see `call`."""
        pending.callback = late
        if pending.done and late is not None:
            late(pending)
        elif not pending.done and not self._membership.closed:
            self.cast(Cancel(rid))

    def begin_call(
        self,
        call: Call,
        *blobs: Any,
        callback: Callable[[Pending], None] | None = None,
    ) -> tuple[Pending, int]:
        """Make a system call without waiting; returns what will hold the answer, and its number."""
        self._membership.check()
        op, bodies = call.op, _bodies(call, blobs)
        rid = next(self._numbers)
        pending = self._awaited[rid] = Pending(frames.SUPERVISOR, callback)
        self._outbox.append(lambda: self._send(Kind.CALL, (rid, op), bodies))
        self._turn()
        if self._loop.ended and self._awaited.pop(rid, None) is not None:
            self._membership.check()  # begun at the very end, too late to be failed with the others
        return pending, rid

    def cast(self, call: Call, *blobs: Any) -> None:
        """Make a system call whose result nobody wants."""
        op, bodies = call.op, _bodies(call, blobs)
        self._outbox.append(lambda: self._send(Kind.CALL, (0, op), bodies))
        self._turn()

    def call_from_finalizer(self, call: Call) -> None:
        """Have a system call made some time whose result nobody wants.

        It takes no lock and waits for nothing, so that a finalizer may call it.
        """
        self._outbox.append(lambda: self._loop.uplink.request(call))


def _bodies(call: Call, blobs: Sequence[Any]) -> list[Any]:
    bodies = [frames.pack_body(call.to_wire()), *blobs]
    for body in bodies:
        check_size(body)
    return bodies
