"""The system calls of processes that connect to each other."""

from __future__ import annotations

from typing import Annotated, Any

from rackactor.wire.checks import Bytes, Check, Number, Numbers, Pid, Text
from rackactor.wire.schema import Call


def _is_endpoint(value: Any) -> bool:
    return type(value) is str and value.startswith(("ipc://", "tcp://")) and len(value) <= 300 and value.isprintable()


class Introduce(Call, op="introduce"):
    """Introduce the caller to a process that it talks to a lot; nothing is answered."""

    pid: Pid


class Listening(Call, op="listening"):
    """Tell the other one of an introduction where to connect."""

    pid: Pid
    #: Of the introduction.
    number: Number
    ticket: Bytes
    endpoint: Annotated[str, Check("an endpoint that one can connect to: ipc://... or tcp://...", _is_endpoint)]


class Malformed(Call, op="malformed"):
    """Tell that another process has sent bytes that nobody of this wire sends; it may be put out for it."""

    pid: Pid
    words: Text


class Part(Call, op="part"):
    """Tell the other one of introductions that nothing came of, or whose connections went dark."""

    pid: Pid
    numbers: Numbers
