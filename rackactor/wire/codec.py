"""Values to bytes and back, for messages between processes.

msgpack carries what it can carry *unchanged* (a tuple, a bytearray or a subclass would come out as
something else, so they do not count); everything else is pickled by value, so that classes and
functions of `__main__` can be sent too. Only the process that a message is addressed to opens it: the
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
#: How strings with lone surrogates are sent: see `pack`.
_SURROGATES = "surrogatepass"
#: How errors name a value that a process sent: see `open_from`.
MESSAGE, REPLY = "the message from process", "the reply of process"


class PickleRefused(ProtocolError):
    """A value is pickled, and its reader refuses pickles.

    Attributes:
        size: of the pickle, bytes.
    """

    def __init__(self, size: int) -> None:
        super().__init__(f"a pickle of {size} bytes, and its reader refuses pickles")
        self.size = size


def encode(value: Any, *, allow_pickle: bool = True) -> bytes:
    """Turn a value into bytes.

    Args:
        value: any value that msgpack or pickle can encode.
        allow_pickle: False refuses values that msgpack cannot encode unchanged.

    Raises:
        InvalidCall: the value cannot be encoded, with the reason.
    """
    kind = type(value)
    if kind is bytes:
        return b"".join((_BYTES, value))
    if is_plain(value):
        try:
            return _MSGPACK + pack(value)
        except (OverflowError, ValueError):
            pass  # an int of more than 64 bits: pickle can encode it
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
        ProtocolError: the bytes are not of this codec, or pickled where pickles are refused.
        Exception: whatever unpickling raises (a module that this process lacks, ...).
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
    """Pack plain values, including strings that UTF-8 cannot encode.

    A file's name need not be UTF-8. Python represents the other bytes as lone surrogates (PEP 383), and they may occur
    in any name, argument or error message. Each surrogate is sent as the three bytes that UTF-8 would have for it;
    `unpack` gives the same string back.
    """
    try:
        packed: bytes = msgpack.packb(value)
    except UnicodeEncodeError:
        packed = msgpack.packb(value, unicode_errors=_SURROGATES)
    return packed


def open_from(data: bytes | memoryview, what: str, whom: Any = "", *, allow_pickle: bool = True) -> Any:
    """Turn bytes from `encode` back into the value; an error says which value it is about.

    Args:
        data: the bytes.
        what: what the value is, for the error: "the reply of process".
        whom: of which process, or the like.
        allow_pickle: see `decode`.

    Raises:
        CannotOpen: unpickling has failed.
        RackError: raised by the value itself, as by the handle of a process of another group.
    """
    try:
        return decode(data, allow_pickle=allow_pickle)
    except RackError:
        raise
    except Exception as error:
        raise cannot_open(what, whom, error) from error


def cannot_open(what: str, whom: Any, error: Exception) -> CannotOpen:
    """Return the error for a value that cannot be opened: see `open_from`."""
    thing = f"{what} {whom}" if whom != "" else what
    return CannotOpen(f"{thing} cannot be opened here: {type(error).__name__}: {words_of(error)}")


def unpack(data: bytes | memoryview) -> Any:
    """Unpack msgpack with the wire's settings (any map key, any string, no extension types).

    Raises:
        ProtocolError: not one whole msgpack value.
    """
    try:
        return msgpack.unpackb(data, strict_map_key=False, use_list=True, unicode_errors=_SURROGATES)
    except Exception as error:  # msgpack raises several unrelated classes, all meaning the same
        raise ProtocolError(f"not a msgpack value: {type(error).__name__}: {error}") from None
