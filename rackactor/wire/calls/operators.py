"""The system calls that let command lines in, and those who watch over a group from outside."""

from __future__ import annotations

from rackactor.wire.schema import Call


class InviteGuest(Call, op="guest"):
    """Give the caller a one-time token for a command that runs inside of it: a member as any command line is."""


class Keep(Call, op="keep"):
    """Be the group's keeper: its presence neither holds a group up, nor is it given up for a short silence."""
