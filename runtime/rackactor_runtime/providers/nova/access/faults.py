"""The meaning of the cloud's errors: the provider's own message, and whether the result of the call is known."""

from __future__ import annotations

import json
import math
import time
from email.utils import parsedate_to_datetime
from typing import Any

from keystoneauth1 import exceptions as auth
from openstack import exceptions as sdk

from rackactor_runtime.providers.machines.cloud import CloudFault

#: Answers after which the result is unknown: after each of them Nova has been seen to build the server.
UNCLEAR = frozenset({408, 500, 502, 503, 504})
#: Too many requests: nothing was done, and the request may be repeated.
BUSY = frozenset({425, 429})

#: The longest wait that an answer may ask for, seconds: a longer one is a misconfiguration.
LONGEST = 3600.0

#: Patterns that show what a refusal is about, in the order of the search.
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
    """Return the meaning of an exception of the SDK."""
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
    """Return the kind of a refusal by its message; "refused" if no pattern matches."""
    if status == 413:
        return "quota"
    low = text.lower()
    return next((name for name, signs in _KINDS if any(sign in low for sign in signs)), "refused")


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status of an error, None: there was no (readable) answer."""
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
    """Return the provider's own message: that in the body of its answer, without the SDK's additions."""
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
