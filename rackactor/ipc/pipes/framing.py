"""The contents of a pipe: values encoded as messages, and back.

A small message is one string of bytes, as between actors (see `rackactor.wire.codec`). A large one is a `Bundle`: a
head, and frames that are not copied in Python: bytes, memoryviews, and the buffers that pickle's protocol 5 passes out
of band (the memory of NumPy arrays).
"""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgpack

from rackactor.errors import InvalidCall, ProtocolError, RackError
from rackactor.wire import codec, pickling
from rackactor.wire.codec import unpack
from rackactor.wire.plain_values import is_plain

#: Buffers up to this size are copied into the message, bytes: a separate frame would cost more.
INLINE = 16 << 10
#: The most that one entry of a stream holds, bytes; a larger message is sent in parts.
PART = 8 << 20
#: Frames that are handed over are cut into pieces of this size, bytes.
CUT = 16 << 20
#: A parcel up to this size is one message, bytes. Each piece of a larger one is a message, with room for heartbeats.
AT_ONCE = 32 << 20
#: The most frames of one message.
MAX_FRAMES = 256
#: Cost of each message beside its size, bytes: empty messages are not free.
OVERHEAD = 64

_BYTES, _VIEW, _PICKLE, _MSGPACK = b"b", b"v", b"p", b"m"
#: The first byte of a small message that holds bytes.
BYTES = _BYTES[0]


class Bundle:
    """A large message: a head that describes it, and frames."""

    __slots__ = ("frames", "size")

    def __init__(self, frames: Sequence[Any]) -> None:
        self.frames = frames
        self.size = sum(map(len, frames))

    def __len__(self) -> int:
        return self.size

    def copy(self) -> Bundle:
        """Return a copy with memory of its own."""
        return Bundle([bytes(self.frames[0]), *(bytearray(frame) for frame in self.frames[1:])])


Message = bytes | Bundle


def pack(value: Any, *, allow_pickle: bool = True) -> Message:
    """Turn a value into a message.

    Raises:
        InvalidCall: it cannot be sent, with the reason.
    """
    kind = type(value)
    if kind is bytes:
        return _BYTES + value if len(value) <= INLINE else Bundle([_BYTES, value])
    if kind is memoryview:
        view = value.cast("B") if value.contiguous and value.nbytes else memoryview(value.tobytes())
        return _VIEW + bytes(view) if len(view) <= INLINE else Bundle([_VIEW, view])
    if is_plain(value):
        packed = codec.encode(value, allow_pickle=allow_pickle)
        return packed if len(packed) <= INLINE or packed[:1] != _MSGPACK else Bundle([_MSGPACK, packed[1:]])
    return _pickle(value, allow_pickle)


def _pickle(value: Any, allow_pickle: bool) -> Message:
    kind = type(value)
    if not allow_pickle:
        raise InvalidCall(f"this group refuses pickle, and msgpack cannot carry a {kind.__name__} unchanged")
    frames: list[Any] = [b""]

    def keep(buffer: pickle.PickleBuffer) -> bool:
        """Take a buffer out of band; True: leave it in."""
        try:
            view = buffer.raw()
        except BufferError:
            return True
        if len(view) <= INLINE or len(frames) >= MAX_FRAMES:
            return True
        frames.append(view)
        return False

    try:
        # An array of numbers needs no classes by value, and the plain pickler is much faster.
        simple = kind.__module__ == "numpy" and kind.__name__ == "ndarray" and not value.dtype.hasobject
        if simple:
            frames[0] = _PICKLE + pickle.dumps(value, protocol=5, buffer_callback=keep)
        else:
            frames[0] = _PICKLE + pickling.dumps(value, buffer_callback=keep)
    except Exception as error:
        raise InvalidCall(f"a {kind.__name__} cannot be sent to another process: {error}") from error
    return Bundle(frames) if len(frames) > 1 or len(frames[0]) > INLINE else frames[0]


def unpack_message(message: Any, end: Any = "a pipe", *, allow_pickle: bool = True) -> Any:
    """Turn a message back into its value.

    Args:
        message: as received.
        end: the end that it came out of, for errors.
        allow_pickle: see `codec.decode`.

    Raises:
        ProtocolError: it is not of this codec, or pickled where pickles are refused.
        CannotOpen: unpickling has failed.
    """
    try:
        if type(message) is Bundle:
            return _open(message.frames, allow_pickle)
        if message[:1] == _VIEW:
            return memoryview(message)[1:]
        return codec.decode(message, allow_pickle=allow_pickle)
    except RackError:
        raise
    except Exception as error:
        raise codec.cannot_open("a message out of", end, error) from error


def _open(frames: Sequence[Any], allow_pickle: bool) -> Any:
    head = frames[0]
    kind = bytes(head[:1])
    if kind == _PICKLE:
        if not allow_pickle:
            raise codec.PickleRefused(sum(map(len, frames)) - 1)
        return pickle.loads(memoryview(head)[1:], buffers=frames[1:])
    if len(frames) != 2 or len(head) != 1:
        raise ProtocolError("a message of too many frames")
    if kind == _BYTES:
        return frames[1] if type(frames[1]) is bytes else bytes(frames[1])
    if kind == _VIEW:
        return memoryview(frames[1])
    if kind == _MSGPACK:
        return unpack(frames[1])
    raise ProtocolError(f"a message begins with {kind!r}, which no codec of this wire knows")


class Part(NamedTuple):
    """A piece of a large message: the number of its frame, and whether it is the last piece of the message."""

    frame: int
    last: bool
    data: Any


def split(bundle: Bundle) -> Iterator[Part]:
    """Cut a large message into parts."""
    final = len(bundle.frames) - 1
    for index, frame in enumerate(bundle.frames):
        view = memoryview(frame)
        for start in range(0, max(1, len(view)), PART):
            data = view[start : start + PART]
            yield Part(index, index == final and start + PART >= len(view), data)


class Assembly:
    """A large message of which some parts have arrived."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._frames: list[list[Any]] = []

    def add(self, part: Part) -> Bundle | None:
        """Add the next part; returns the message when it was the last one."""
        if part.frame == len(self._frames):
            self._frames.append([])
        elif part.frame != len(self._frames) - 1:
            raise ProtocolError("a part of a message is out of order")
        self._frames[-1].append(part.data)
        if not part.last:
            return None
        head = bytes(self._frames[0][0])
        join = b"".join if head == _BYTES else bytearray().join
        return Bundle([head if not i else f[0] if len(f) == 1 else join(f) for i, f in enumerate(self._frames)])


#: The meaning of the blobs of a parcel, in order: 0: small messages; n: the n frames of a large one; a list: the
#: same, with the number of pieces of each frame.
Shape = list[int | list[int]]


def pack_parcel(messages: Iterable[Message]) -> tuple[Shape, list[Any]]:
    """Encode messages as (shape, blobs)."""
    shape: Shape = []
    blobs: list[Any] = []
    small: list[bytes] = []
    size = 0

    def close() -> None:
        if small:
            shape.append(0)
            blobs.append(msgpack.packb(small))
            small.clear()

    for message in messages:
        if isinstance(message, Bundle):
            close()
            pieces = [_cut(frame) for frame in message.frames]
            whole = all(len(each) == 1 for each in pieces)
            shape.append(len(pieces) if whole else [len(each) for each in pieces])
            blobs.extend(itertools.chain(*pieces))
        else:
            small.append(message)
            size += len(message)
            if size > 1 << 20:
                close()
                size = 0
    close()
    return shape, blobs


class Pieces:
    """A frame that came in pieces, and is passed on in them."""

    def __init__(self, pieces: Sequence[Any]) -> None:
        self.pieces = pieces
        self._size = sum(map(len, pieces))

    def __len__(self) -> int:
        return self._size


def to_record(message: Message) -> Any:
    """Return a message as plain values: bytes, or a list of frames, each bytes or a list of pieces."""
    if not isinstance(message, Bundle):
        return message
    return [list(map(bytes, frame.pieces)) if isinstance(frame, Pieces) else bytes(frame) for frame in message.frames]


def from_record(record: Any) -> Message:
    """Return the message of a record that `to_record` made."""
    if isinstance(record, bytes):
        return record
    return Bundle([Pieces(frame) if isinstance(frame, list) else frame for frame in record])


def _cut(frame: Any) -> Sequence[Any]:
    if type(frame) is Pieces:
        return frame.pieces
    if len(frame) <= CUT:
        return [frame]
    view = memoryview(frame)
    return [view[begin : begin + CUT] for begin in range(0, len(view), CUT)]


def _whole(counts: list[Any], blobs: Sequence[Any], position: int, join: bool) -> list[Any]:
    """Return the frames of a message, joined from their pieces."""
    if not all(type(count) is int and count > 0 for count in counts) or position + sum(counts) > len(blobs):
        raise ProtocolError("the pieces of a message do not fit their description")
    frames: list[Any] = []
    for count in counts:
        pieces = blobs[position : position + count]
        frames.append(pieces[0] if count == 1 else bytearray().join(pieces) if join else Pieces(pieces))
        position += count
    return frames


def parse_parcel(shape: Sequence[Any], blobs: Sequence[Any], *, join: bool = True) -> list[Message]:
    """Return the messages of a parcel; without `join`, frames stay in pieces, to be passed on.

    Raises:
        ProtocolError: shape and blobs do not match.
    """
    messages: list[Message] = []
    position = 0
    for count in shape:
        if type(count) is list:
            messages.append(Bundle(_whole(count, blobs, position, join)))
            position += sum(count)
            continue
        if type(count) is not int or count < 0 or position + max(1, count) > len(blobs):
            raise ProtocolError("the messages of a pipe do not fit their description")
        if count == 0:
            messages.extend(small_messages(unpack(blobs[position])))
            position += 1
        else:
            messages.append(Bundle(list(blobs[position : position + count])))
            position += count
    if position != len(blobs):
        raise ProtocolError("more frames than the messages of a pipe have")
    return messages


def small_messages(value: Any) -> list[bytes]:
    """Check that this is a list of small messages; the first byte of each is its kind."""
    if type(value) is not list or not set(map(type, value)) <= {bytes} or b"" in value:
        raise ProtocolError("the small messages of a pipe are a list of bytes, none of them empty")
    return value
