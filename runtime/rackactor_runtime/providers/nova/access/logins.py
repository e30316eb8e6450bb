"""Logins that cannot be repeated: when their token ends, nothing could remove a group any more."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

#: Kinds of login that need a person, or a code that is good once, or that only pass a token on until it ends.
ONCE = frozenset(
    {
        "token",
        "v2token",
        "v3token",
        "v3totp",
        "v3websso",
        "v3oidcaccesstoken",
        "v3oidcauthcode",
        "v3oidcdeviceauthz",
    }
)
#: Seconds before a token's end by which a group must have ended, so that what it leaves can still be removed.
MARGIN = 900.0


def repeatable(kind: str, methods: Sequence[str] = (), *, renews: bool = True) -> bool:
    """Tell whether a login can be repeated without a person.

    Args:
        kind: the `auth_type` of clouds.yaml.
        methods: the parts of one of several factors (`auth_methods`).
        renews: whether the plugin fetches a new token when the old one ends.
    """
    return renews and kind not in ONCE and not ONCE & set(methods)


def objection(kind: str, ends: float | None, group_ends: float | None, now: float) -> str:
    """Return why a group should not be made with a login, "" for no reason.

    Args:
        kind: the login's `auth_type`.
        ends: when its token ends and cannot be had again, seconds since the epoch; None: it can.
        group_ends: the same of the group; None: it has no deadline.
        now: the same.
    """
    if ends is None or (group_ends is not None and group_ends + MARGIN <= ends):
        return ""
    left = math.floor(ends - MARGIN - now)
    at = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(ends))
    instead = "log in with a password or an application credential"
    deadline = f"give the group a deadline= of at most {left} s, or {instead}" if left > 0 else instead
    return (
        f"this login (auth_type {kind}) cannot be repeated when its token ends, at {at}, and after that nothing could"
        f" remove what the group has in the cloud: {deadline}"
    )
