"""Values of shared memory, encoded as bytes and decoded.

In addition to the wire's codec, the buffers of a pickled value (the data of a NumPy array) lie unchanged behind the
pickle, at multiples of 64 bytes, so that they can be read in place.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Sequence
from typing import Any

from rackactor.errors import CannotOpen, InvalidCall, RackError
from rackactor.ipc.memory.layout import LEAD, MAX_VALUE
from rackactor.wire import codec, pickling

_BUFFERS = b"o"
#: Kinds of the codec.
BYTES, _MSGPACK = b"bm"
_HEAD = struct.Struct("<1sxxxIQ")  # kind, number of buffers, bytes of the pickle
_BUFFER = struct.Struct("<QQ")  # where it begins, its bytes
#: Buffers below this size are copied into the pickle, bytes: looking them up would cost more.
_SMALL = 1024
_ALIGN = 64
_PLAIN = frozenset({type(None), bool, int, float, str, bytes, list, dict})


def encode(value: Any, *, allow_pickle: bool = True) -> bytes:
    """Turn a value into bytes.

    Raises:
        InvalidCall: the value cannot be encoded, with the reason.
    """
    data = _plain(value, allow_pickle) if type(value) in _PLAIN or not allow_pickle else None
    if data is None:
        data = _pickle(value)
    if len(data) > MAX_VALUE:
        raise InvalidCall(f"a value of {len(data)} bytes; at most {MAX_VALUE}: divide it among several keys")
    return data


def _plain(value: Any, allow_pickle: bool) -> bytes | None:
    try:
        return codec.encode(value, allow_pickle=False)
    except InvalidCall:
        if not allow_pickle:
            raise
        return None


def _pickle(value: Any) -> bytes:
    buffers: list[memoryview] = []

    def take(buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:
            return True  # not contiguous: it goes into the pickle
        if raw.nbytes < _SMALL:
            return True
        buffers.append(raw)
        return False

    try:
        pickled = pickling.dumps(value, buffer_callback=take)
    except Exception as error:
        raise InvalidCall(f"a {type(value).__name__} cannot be kept in shared memory: {error}") from error
    if not buffers:
        return b"p" + pickled
    parts: list[bytes | memoryview] = []
    places: list[bytes] = []
    at = _HEAD.size + _BUFFER.size * len(buffers) + len(pickled)
    for buffer in buffers:
        pad = -(at + LEAD) % _ALIGN
        parts += [bytes(pad), buffer]
        places.append(_BUFFER.pack(at + pad, buffer.nbytes))
        at += pad + buffer.nbytes
    return b"".join([_HEAD.pack(_BUFFERS, len(buffers), len(pickled)), *places, pickled, *parts])


def decode(data: bytes | memoryview, key: Any = "", *, allow_pickle: bool = True) -> Any:
    """Decode a value from `encode`'s bytes; it belongs to the caller.

    Raises:
        CannotOpen: unpickling has failed; the message names the key.
    """
    if data[0] == _MSGPACK:
        return codec.unpack(memoryview(data)[1:])
    try:
        if data[0] == _BUFFERS[0]:
            return unpickle(memoryview(bytearray(data)), allow_pickle=allow_pickle)
        return codec.decode(data, allow_pickle=allow_pickle)
    except RackError:
        raise
    except Exception as error:
        raise cannot_open(key, error) from error


def cannot_open(key: Any, error: Exception) -> CannotOpen:
    """Return the error for a value that cannot be opened."""
    return codec.cannot_open("the value of", repr(key if isinstance(key, str) else str(key, "utf-8")), error)


def in_place(data: memoryview) -> bool:
    """Tell whether a value can be read without a copy of its data."""
    return data[0] in (_BUFFERS[0], BYTES)


def decode_in_place(data: memoryview, key: str = "", *, allow_pickle: bool = True) -> Any:
    """Decode a value whose data stays where it is; plain bytes become a memoryview."""
    if data[0] == BYTES:
        return data[1:]
    try:
        return unpickle(data, allow_pickle=allow_pickle)
    except RackError:
        raise
    except Exception as error:
        raise cannot_open(key, error) from None  # its traceback would hold on to the data


def unpickle(data: memoryview, *, allow_pickle: bool) -> Any:
    """Return a value whose buffers are parts of `data`."""
    if not allow_pickle:
        raise codec.PickleRefused(len(data) - 1)
    _, count, length = _HEAD.unpack_from(data)
    at = _HEAD.size + count * _BUFFER.size
    buffers: Sequence[memoryview] = [
        data[begin : begin + size] for begin, size in _BUFFER.iter_unpack(data[_HEAD.size : at])
    ]
    return pickle.loads(data[at : at + length], buffers=buffers)


def pickled(data: bytes | memoryview) -> bool:
    """Tell whether these bytes are a pickle."""
    return bytes(data[:1]) in (b"p", _BUFFERS)


def integer(data: bytes | memoryview) -> int | None:
    """Return the integer that these bytes encode, or None; `incr` can only add to an integer."""
    if not 0 < len(data) <= 10 or data[0] != _MSGPACK:
        return None
    value = codec.unpack(data[1:])
    return value if type(value) is int else None


def pack_integer(value: int) -> bytes:
    """Return the bytes of an integer.

    Raises:
        InvalidCall: it has more than 64 bits.
    """
    data = codec.encode(value)
    if data[0] != _MSGPACK:
        raise InvalidCall(f"{value} does not fit in 64 bits: incr counts no further")
    return data
