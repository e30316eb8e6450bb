"""The system call about services."""

from __future__ import annotations

from rackactor.wire.checks import Text
from rackactor.wire.schema import Call


class FindService(Call, op="service"):
    """Tell the pid of a service of the group, which is started if need be."""

    name: Text
