"""Values to bytes and back, for messages between processes.

msgpack carries what it can carry *unchanged* (a tuple, a bytearray or a subclass would come out as
something else, so they do not count); everything else is pickled by value, so that classes and
functions of `__main__` travel too. Only a process that a message is addressed to opens it: the
supervisor and the command line never do (`rack` refuses pickles, and shows how large they are).
"""

from __future__ import annotations

import pickle
from typing import Any

import msgpack

from rackactor.errors import CannotOpen, InvalidCall, ProtocolError, RackError
from rackactor.strings import words_of
from rackactor.wire import pickling
from rackactor.wire.plain_values import is_plain

_MSGPACK, _PICKLE, _BYTES = b"m", b"p", b"b"
#: How strings with lone surrogates travel: see `pack`.
_SURROGATES = "surrogatepass"
#: What errors call what a process sends: see `open_from`.
MESSAGE, REPLY = "the message from process", "the reply of process"


class PickleRefused(ProtocolError):
    """A value is pickled, and whoever reads it opens no pickles.

    Attributes:
        size: of the pickle, bytes.
    """

    def __init__(self, size: int) -> None:
        super().__init__(f"a pickle of {size} bytes, and whoever reads it refuses pickle")
        self.size = size


def encode(value: Any, *, allow_pickle: bool = True) -> bytes:
    """Turn a value into bytes.

    Args:
        value: any value that msgpack or pickle can carry.
        allow_pickle: False refuses values that msgpack cannot carry unchanged.

    Raises:
        InvalidCall: the value cannot be carried, with the reason.
    """
    kind = type(value)
    if kind is bytes:
        return b"".join((_BYTES, value))
    if is_plain(value):
        try:
            return _MSGPACK + pack(value)
        except (OverflowError, ValueError):
            pass  # an int past 64 bits: pickle can carry it
    if not allow_pickle:
        raise InvalidCall(f"this group refuses pickle, and msgpack cannot carry a {kind.__name__} unchanged")
    try:
        pickled = pickling.dumps(value)
    except Exception as error:
        raise InvalidCall(f"a {kind.__name__} cannot be sent to another process: {words_of(error)}") from error
    return _PICKLE + pickled


def decode(data: bytes | memoryview, *, allow_pickle: bool = True) -> Any:
    """Turn bytes from `encode` back into the value.

    Raises:
        ProtocolError: the bytes are not of this codec, or pickled where that is refused.
        Exception: whatever unpickling raises (a module that this process does not have, ...).
    """
    if type(data) is bytes and data[:1] == _BYTES:
        return data[1:]
    view = memoryview(data)
    kind, rest = bytes(view[:1]), view[1:]
    if kind == _BYTES:
        return bytes(rest)
    if kind == _MSGPACK:
        return unpack(rest)
    if kind == _PICKLE:
        if not allow_pickle:
            raise PickleRefused(len(rest))
        return pickle.loads(rest)
    raise ProtocolError(f"a message begins with {kind!r}, which no codec of this wire knows")


def pack(value: Any) -> bytes:
    """Pack plain values: every string passes, also one that UTF-8 cannot carry.

    What the operating system calls a file need not be UTF-8. Python holds the bytes that are not as lone surrogates
    (PEP 383), and so may any name, word or error text. Each surrogate travels as the three bytes that UTF-8 would have
    for it; `unpack` gives the very same string back.
    """
    try:
        packed: bytes = msgpack.packb(value)
    except UnicodeEncodeError:
        packed = msgpack.packb(value, unicode_errors=_SURROGATES)
    return packed


def open_from(data: bytes | memoryview, what: str, whom: Any = "", *, allow_pickle: bool = True) -> Any:
    """Turn bytes from `encode` back into the value; what goes wrong names them.

    Args:
        data: the bytes.
        what: what they are, for the error: "the reply of process".
        whom: of which.
        allow_pickle: see `decode`.

    Raises:
        CannotOpen: unpickling has failed.
        RackError: what the value itself refuses, as the handle of a process of another group does.
    """
    try:
        return decode(data, allow_pickle=allow_pickle)
    except RackError:
        raise
    except Exception as error:
        raise cannot_open(what, whom, error) from error


def cannot_open(what: str, whom: Any, error: Exception) -> CannotOpen:
    """Return the error for what cannot be opened: see `open_from`."""
    thing = f"{what} {whom}" if whom != "" else what
    return CannotOpen(f"{thing} cannot be opened here: {type(error).__name__}: {words_of(error)}")


def unpack(data: bytes | memoryview) -> Any:
    """Unpack msgpack with the wire's settings (any map key, any string, no extension types).

    Raises:
        ProtocolError: not one whole msgpack value.
    """
    try:
        return msgpack.unpackb(data, strict_map_key=False, use_list=True, unicode_errors=_SURROGATES)
    except Exception as error:  # msgpack raises a handful of unrelated classes, all meaning the same
        raise ProtocolError(f"not a msgpack value: {type(error).__name__}: {error}") from None
