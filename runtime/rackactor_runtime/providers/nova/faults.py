"""What an error of the cloud's means: in the provider's own words, and whether anybody knows what came of the call."""

from __future__ import annotations

import json
import math
import time
from email.utils import parsedate_to_datetime
from typing import Any

from keystoneauth1 import exceptions as auth
from openstack import exceptions as sdk

from rackactor_runtime.providers.machines.provider import CloudFault

#: Answers after which nobody knows: Nova has been seen to say each of them and to build the server all the same.
UNCLEAR = frozenset({408, 500, 502, 503, 504})
#: Too many calls: nothing was done, and it may be asked again.
BUSY = frozenset({425, 429})

#: Seconds that a cloud may be left alone at the most because it says so: longer is a mistake of whoever set it.
LONGEST = 3600.0

#: What the words of a refusal are about, in the order in which they are looked for.
_KINDS = (
    ("quota", ("quota", "limit exceeded")),
    ("no-valid-host", ("no valid host",)),
    ("image", ("image",)),
    ("flavor", ("flavor",)),
    ("network", ("network", "fixed ip", "subnet")),
    ("security-group", ("security_group", "security group")),
    ("keypair", ("key_name", "keypair")),
    ("availability-zone", ("availability zone",)),
)


def fault(error: BaseException) -> CloudFault:
    """Return what an exception of the SDK's means."""
    status, text = status_of(error), words(error)
    if isinstance(error, CloudFault):
        return error
    if isinstance(error, auth.MissingAuthPlugin | auth.AuthorizationFailure) or status == 401:
        return CloudFault("credential", text)
    if status is None or status in UNCLEAR:
        return CloudFault("unclear", text, retry_after(error))
    if status in BUSY:
        return CloudFault("busy", text, retry_after(error))
    return CloudFault(kind(status, text), text)


def kind(status: int, text: str) -> str:
    """Return the kind of a refusal by its words; "refused" when they say nothing that is known."""
    if status == 413:
        return "quota"
    low = text.lower()
    return next((name for name, signs in _KINDS if any(sign in low for sign in signs)), "refused")


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status that an error came with, None: there was no answer (that could be read)."""
    for name in ("status_code", "http_status"):
        value = getattr(error, name, None)
        if isinstance(value, int) and value:
            return value
    return None


def retry_after(error: BaseException) -> float | None:
    """Return for how many seconds an answer says that it is not to be asked again; None: it does not say, or nonsense.

    `Retry-After` is a number of seconds, or a date by the cloud's own clock (RFC 9110, 10.2.3).
    """
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    said = str(headers.get("Retry-After") or "").strip()
    try:
        if said.isascii() and said.isdecimal():
            return min(float(said), LONGEST)
        date = parsedate_to_datetime(said).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    try:
        now = parsedate_to_datetime(str(headers.get("Date"))).timestamp()
    except (ValueError, TypeError, OverflowError):
        now = time.time()
    left = date - now
    return min(max(left, 0.0), LONGEST) if math.isfinite(left) else None


def words(error: BaseException) -> str:
    """Return the provider's own words: what the body of its answer says, without what the SDK puts around it."""
    details = getattr(error, "details", None)
    text = _told(details) or str(error) or type(error).__name__
    status = status_of(error)
    if isinstance(error, sdk.HttpException) and status is not None and not details:
        return f"HTTP {status}: {getattr(error, 'message', '') or text}"
    return text.strip()


def _told(details: Any) -> str:
    """Return the message in an error's body, which some services leave in JSON."""
    if not isinstance(details, str):
        return ""
    try:
        body = json.loads(details)
    except ValueError:
        return details
    while isinstance(body, dict) and body:
        body = body.get("message") or body.get("faultstring") or next(iter(body.values()))
    return str(body)
