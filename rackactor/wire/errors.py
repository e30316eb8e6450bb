"""Errors on the wire: each is sent by its name, and rebuilt from it."""

from __future__ import annotations

import builtins
import os
from collections.abc import Mapping
from typing import Any

from rackactor.errors import BY_NAME, RackError
from rackactor.strings import words_of


def pack_error(error: BaseException, words: str | None = None) -> dict[str, Any]:
    """Return an error as plain values.

    Args:
        error: any.
        words: a message instead of the error's own.
    """
    fields: dict[str, Any] = {"type": type(error).__name__, "message": words_of(error) if words is None else words}
    if isinstance(error, OSError) and not isinstance(error, RackError) and error.errno is not None:
        fields.update(errno=error.errno, strerror=error.strerror or "", filename=_name(error.filename))
    return fields


def unpack_error(fields: Mapping[str, Any], otherwise: type[RackError] = RackError) -> Exception:
    """Rebuild an error by its name: one of this package's, or of Python's own; otherwise another one."""
    name, message = str(fields.get("type")), str(fields.get("message", ""))
    if fields.get("errno") is not None:
        known = [] if fields.get("filename") is None else [fields["filename"]]
        return OSError(fields["errno"], fields.get("strerror", ""), *known)
    if name in BY_NAME:
        return BY_NAME[name](message or None)
    cls = getattr(builtins, name, None)
    if isinstance(cls, type) and issubclass(cls, Exception) and cls not in (UnicodeDecodeError, UnicodeEncodeError):
        return cls(message)
    return otherwise(f"{name}: {message}" if fields.get("type") else message or None)


def _name(name: Any) -> Any:
    if isinstance(name, bytes):
        return os.fsdecode(name)
    return name if isinstance(name, str) or name is None else str(name)
