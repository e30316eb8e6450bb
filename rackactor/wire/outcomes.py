"""What a function returned or raised, encoded for the process that asks for its result.

It is sent as frames: a head of plain values, then its pickle in parts, since one frame holds no more than 1 GiB. A
value that cannot be rebuilt from its own pickle is detected where it was made: a returned value is refused there, with
the reason. An exception is sent with a *description*: its class and its base classes, its arguments and attributes,
each pickled by itself. If the exception cannot be rebuilt, the asker gets a `ProcessDied` that is also an instance of
the first of these classes that it knows, so that `except` clauses find it.
"""

from __future__ import annotations

import functools
import pickle
from collections.abc import Iterator, Sequence
from typing import Any

from rackactor.errors import InvalidCall, ProcessDied, RemoteTraceback
from rackactor.status import ExitStatus
from rackactor.strings import show, words_of
from rackactor.wire import pickling
from rackactor.wire.codec import pack, unpack
from rackactor.wire.plain_values import is_plain

Frames = Sequence[bytes | memoryview]

#: Size of a part, bytes.
PART = 16 << 20
#: Bytes that are sent at once, with the end of the process; more is sent in parts, which leave room for heartbeats.
AT_ONCE = 32 << 20
#: Pickles up to this size are tried where they are made, bytes: for a larger one that would double the cost.
TRIED = 64 << 20
#: The longest message of an exception in its description, characters.
_LONGEST = 1 << 20
#: How deeply exceptions within exceptions are described.
_DEPTH = 8
#: Base classes of every exception.
_COMMON = (object, BaseException, Exception)


def pack_returned(value: Any) -> Frames:
    """Return the frames of what a function returned.

    Raises:
        InvalidCall: it cannot be sent, or cannot be rebuilt; with the reason.
        MemoryError: there is no room for its pickle.
    """
    kind = type(value).__name__
    try:
        data = pickling.dumps(value)
    except MemoryError:
        raise
    except Exception as error:
        raise InvalidCall(
            f"what the function returned (of the type {kind}) cannot be sent to another process: {_why(error)}"
        ) from error
    if len(data) <= TRIED and not is_plain(value):
        try:
            pickle.loads(data)
        except Exception as error:
            raise InvalidCall(
                f"what the function returned (of the type {kind}) cannot be rebuilt from its pickle: {_why(error)}"
            ) from error
    return [pack({"returned": True, "what": kind}), *_parts(data)]


def pack_raised(error: BaseException, text: str) -> Frames:
    """Return the frames of an exception; this always succeeds.

    Args:
        error: the exception.
        text: its traceback.
    """
    error = error.with_traceback(None)
    data = b""
    try:
        pickled = pickling.dumps(error)
        if isinstance(pickle.loads(pickled), type(error)):
            data = pickled
    except Exception:
        pass  # the description replaces it
    about = describe(error)
    head = {"returned": False, "what": _name(type(error)), "text": text, "about": about if len(about) <= PART else b""}
    return [pack(head), *_parts(data)]


def pack_lost(text: str) -> Frames:
    """Return the frames that say why a value could not be sent."""
    return [pack({"returned": False, "what": "", "text": text, "about": b""})]


def take(frames: Frames, pid: int, status: ExitStatus | None) -> Any:
    """Return what a function returned, or raise what it raised, with the remote traceback as its cause.

    Raises:
        ProcessDied: the result cannot be opened here; for an exception, the error may be an instance of its class, too.
    """
    head = unpack(frames[0])
    if not head["returned"]:
        raise raised(frames, pid, status)
    try:
        return pickle.loads(_joined(frames[1:]))
    except Exception as error:
        raise ProcessDied(
            f"what process {pid} returned (of the type {head['what']}) cannot be opened here: {_why(error)}",
            pid=pid,
            status=status,
        ) from error


def raised(frames: Frames, pid: int, status: ExitStatus | None) -> BaseException:
    """Return the exception that a function raised."""
    head = unpack(frames[0])
    text = head["text"]
    if not head["what"]:
        return ProcessDied(f"process {pid}: {text}", pid=pid, status=status)
    error: Any = None
    try:
        error = pickle.loads(_joined(frames[1:])) if len(frames) > 1 else None
    except Exception:
        pass  # a module is missing here, for example: the description may do
    if not isinstance(error, BaseException):
        error = described(head["about"], pid, status)
    if error is None:
        return ProcessDied(f"process {pid} raised:\n{text}", pid=pid, status=status)
    BaseException.__dict__["__cause__"].__set__(error, RemoteTraceback(text))
    return error  # type: ignore[no-any-return]


def _parts(data: bytes) -> Iterator[bytes | memoryview]:
    if len(data) <= PART:
        if data:
            yield data
        return
    view = memoryview(data)
    for begin in range(0, len(data), PART):
        yield view[begin : begin + PART]


def _joined(parts: Frames) -> bytes | memoryview:
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _why(error: BaseException) -> str:
    return f"{type(error).__name__}: {words_of(error)}"


def _name(cls: type) -> str:
    return cls.__qualname__ if cls.__module__ in ("builtins", "__main__") else f"{cls.__module__}.{cls.__qualname__}"


# -- descriptions of exceptions ----------------------------------------------------------------------------------------


def describe(error: BaseException, depth: int = _DEPTH) -> bytes:
    """Return a description of an exception that does without its own pickle; b"" if even that fails."""
    try:
        classes = [cls for cls in type(error).__mro__ if issubclass(cls, BaseException) and cls not in _COMMON]
        # Not all arguments that OSError itself takes are in `args`: file names are not.
        given = OSError.__reduce__(error)[1] if isinstance(error, OSError) else error.args
        args = tuple(_portable(value, depth) for value in given)
        state = {str(name): _pickled(value) for name, value in _attributes(error).items()}
        return pack(
            {
                "message": f"{_name(type(error))}: {words_of(error)}"[:_LONGEST],
                "classes": [pickled for cls in classes if (pickled := _pickled(cls)) is not None],
                "args": _pickled(args) or _pickled(tuple(map(show, args))),
                "count": len(error.args),
                "state": {name: pickled for name, pickled in state.items() if pickled is not None},
            }
        )
    except Exception:
        return b""


def _attributes(error: BaseException) -> dict[str, Any]:
    found = dict(vars(error))
    for cls in type(error).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(error, name):
                found[name] = getattr(error, name)
    return found


def _portable(value: Any, depth: int) -> Any:
    """Return a replacement for a value that can be sent: the value itself if its pickle is good."""
    if _pickled(value) is not None:
        return value
    if isinstance(value, BaseException) and depth > 0:
        about = describe(value, depth - 1)
        return _Stand(about) if about else show(value)
    if type(value) in (list, tuple):
        return type(value)(_portable(each, depth) for each in value)
    return show(value)


class _Stand:
    """Replaces an exception within another one, and is rebuilt from its description."""

    def __init__(self, about: bytes) -> None:
        self._about = about

    def __reduce__(self) -> Any:
        return described, (self._about, 0, None)


def _pickled(value: Any) -> bytes | None:
    """Return a pickle that gives the value back, as far as can be told; None: it cannot be pickled."""
    try:
        data = pickling.dumps(value)
        again = pickle.loads(data)
    except Exception:
        return None
    return data if isinstance(value, _Stand) or isinstance(again, type(value)) else None


def described(about: bytes, pid: int, status: ExitStatus | None) -> ProcessDied | None:
    """Rebuild a described exception: a `ProcessDied` and an instance of its class; None: no class is known."""
    if not about:
        return None
    fields = unpack(about)
    args = _loaded(fields["args"]) or ()
    for pickled in fields["classes"]:
        cls = _loaded(pickled)
        try:
            error = _made(cls, args, fields["count"])
        except Exception:
            continue  # this class cannot be mixed in, or is missing here: the next one is more general
        vars(error).update(_also=(about, pid, status))
        for name, value in fields["state"].items():
            _set(error, name, _loaded(value))
        for name, own in (("pid", pid), ("status", status)):
            if not hasattr(cls, name) and name not in fields["state"]:  # those of its own class take precedence
                vars(error)[name] = own
        return error
    return None


def _made(cls: Any, args: tuple[Any, ...], count: int) -> ProcessDied:
    """Make an instance without the constructor of its class, which takes other arguments."""
    also = _also(cls)
    builtin: Any = next(base for base in cls.__mro__ if base.__module__ == "builtins")
    error: ProcessDied = builtin.__new__(also, *args)
    if builtin not in _COMMON:
        try:
            builtin.__init__(error, *args)  # errno, code, name, ...
        except TypeError:
            pass
    error.args = args[:count]
    return error


@functools.lru_cache(maxsize=256)
def _also(cls: Any) -> Any:
    """Return a class that is both a `ProcessDied` and this class."""
    if issubclass(cls, ProcessDied):
        return cls
    members = {
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__doc__": cls.__doc__,
        "__str__": _message,
        "__reduce__": _reduce,
        "__reduce_ex__": _reduce,
    }
    return type(cls)(cls.__name__, (ProcessDied, cls), members)


def _message(self: Any) -> str:
    about, pid, _ = self._also
    message = str(unpack(about)["message"])
    return f"process {pid} raised {message}" if pid else message


def _reduce(self: Any, _: int = 0) -> Any:
    return described, self._also


def _loaded(data: bytes | None) -> Any:
    try:
        return None if data is None else pickle.loads(data)
    except Exception:
        return None


def _set(error: BaseException, name: str, value: Any) -> None:
    try:
        object.__setattr__(error, name, value)
    except Exception:
        vars(error)[name] = value  # its class has a property of that name
