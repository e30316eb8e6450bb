"""The system calls of results too large for one message."""

from __future__ import annotations

from rackactor.wire.checks import Pid
from rackactor.wire.schema import Call


class ResultPart(Call, op="result_part"):
    """Take a part of the caller's own result, which goes with it, ahead of its exit."""


class ResultNext(Call, op="result_next"):
    """Give the next part of the result of a process whose end the caller was told."""

    pid: Pid


class ResultDrop(Call, op="result_drop"):
    """Forget what is left of such a result."""

    pid: Pid
