"""The system call of the guest program on a machine."""

from __future__ import annotations

from typing import Annotated

from rackactor.wire.checks import Count, Flag, Text, integer, one_of
from rackactor.wire.schema import Call


class MachineSays(Call, op="machine"):
    """Say what has become of the process that the caller's machine is for."""

    event: Annotated[str, one_of("created", "output", "ended", "failed")]
    #: Of `created`.
    os_pid: Count | None = None
    address: Text = ""
    #: Of `output`, which goes with it: 1 or 2.
    stream: Annotated[int, integer(1, 2)] | None = None
    #: Of `ended`: see `rackactor_runtime.providers.base.Ended`.
    code: Annotated[int, integer(-(1 << 31), 1 << 32)] | None = None
    signal: Annotated[int, integer(0, 127)] | None = None
    oom: Flag = False
    note: Text = ""
    #: Why the machine itself has ended it.
    why: Text = ""
    #: Of `failed`.
    fault: Text = ""
    kind: Text = ""
