"""The system calls about the group as a whole."""

from __future__ import annotations

from rackactor.wire.checks import Flag, Text
from rackactor.wire.schema import Call


class DescribeGroup(Call, op="group"):
    """Tell about the group itself."""


class Lookup(Call, op="lookup"):
    """Find the process that has a global name; pid 0: nobody."""

    name: Text


class EndGroup(Call, op="end"):
    """End the group; the answer comes when everything is gone."""

    #: For people.
    reason: Text = ""
    #: The supervisor stays, for its logs, until the same caller makes this call once more.
    hold: Flag = False


class DetachGroup(Call, op="detach"):
    """Let the group outlive the program that made it."""
