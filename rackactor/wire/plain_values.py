"""Which values msgpack encodes unchanged. The supervisor uses this too, so nothing here may open a pickle."""

from __future__ import annotations

from typing import Any

_SCALARS = frozenset({type(None), bool, int, float, str, bytes})
_NESTED = frozenset({list, dict})
_KEYS = frozenset({str, int, bytes})
_MAX_DEPTH = 16


def is_plain(value: Any) -> bool:
    """Tell whether msgpack encodes a value unchanged."""
    return type(value) in _SCALARS or _is_plain(value, _MAX_DEPTH)


def _is_plain(value: Any, depth: int) -> bool:
    """Tell whether msgpack gives the very same value back (types are checked at C speed per level)."""
    kind = type(value)
    if kind is list:
        rest = set(map(type, value)) - _SCALARS
    elif kind is dict:
        if not set(map(type, value)) <= _KEYS:
            return False
        rest = set(map(type, value.values())) - _SCALARS
        value = value.values()
    else:
        return kind in _SCALARS
    if not rest:
        return True
    if depth == 0 or not rest <= _NESTED:
        return False
    return all(_is_plain(item, depth - 1) for item in value if type(item) in _NESTED)
