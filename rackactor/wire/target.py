"""What a process runs, made ready to send: an Actor class, a function, or a list of strings (a command)."""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Coroutine, Sequence
from typing import Any

from thespian.actors import Actor

from rackactor.errors import InvalidCall
from rackactor.records import dataclass
from rackactor.strings import os_text
from rackactor.wire import main_module, pickling, unpacked


@dataclass(frozen=True)
class Target:
    """A target, encoded."""

    #: "actor", "function" or "command".
    kind: str
    #: What it is, for people.
    what: str
    #: Two pickles: a description of its home, and the class or function; empty for a command.
    blob: bytes
    #: A command's arguments.
    words: list[str] | None = None


@dataclass(frozen=True)
class Creation:
    """The arguments of Thespian's createActor, for the process that makes the actor."""

    requirements: Any = None
    global_name: str | None = None
    source_hash: str | None = None


def pack_target(target: Any) -> Target:
    """Encode a target.

    Raises:
        InvalidCall: it is not something that a process can run, or cannot be pickled.
    """
    if isinstance(target, type) and issubclass(target, Actor):
        return Target("actor", target.__qualname__, _dump(target))
    if isinstance(target, (list, tuple)):
        words = command_words(target)
        return Target("command", " ".join(words), b"", words)
    if callable(target):
        return Target("function", getattr(target, "__qualname__", repr(target)), _dump(target))
    if isinstance(target, str):
        raise InvalidCall(f"a command is a list of strings: {target.split()!r}, not the string {target!r}")
    if isinstance(target, Coroutine):
        name = getattr(target, "__name__", "function")
        raise InvalidCall(
            f"a process runs an `async def` function, not a coroutine: fork({name}, ...), not fork({name}(...))"
        )
    raise InvalidCall(f"a process runs an Actor class, a function or a list of strings, not a {type(target).__name__}")


def command_words(words: Sequence[Any]) -> list[str]:
    """Return the arguments of a command as strings.

    Raises:
        InvalidCall: the list is empty, or an item is no str, bytes or path.
    """
    if not words:
        raise InvalidCall("a command is a list of at least one string")
    return more_words(words)


def more_words(words: Sequence[Any]) -> list[str]:
    """Return what `fork` adds to the arguments of a command."""
    return [os_text(word, "an argument of a command") for word in words]


def actor_target(actor: Any) -> Target:
    """Encode an actor class, or its dotted name (as Thespian's createActor allows).

    Raises:
        InvalidCall: it is neither, or cannot be pickled.
    """
    if isinstance(actor, str):
        module, _, name = actor.partition(".")
        # A main file cannot be imported elsewhere, but Thespian's troupes name their members by its name.
        found = main_module.home().find(name) if module in main_module.NAMES and name else None
        return Target("actor", actor, _dump(actor if found is None else found))
    if not (isinstance(actor, type) and issubclass(actor, Actor)):
        raise InvalidCall(f"an actor is a class made of Actor, or the dotted name of one, not {actor!r}")
    return pack_target(actor)


def pack_arguments(args: Sequence[Any], kwargs: dict[str, Any]) -> bytes:
    """Pickle the arguments of a call.

    Raises:
        InvalidCall: one of them cannot be pickled.
    """
    return _pickle((tuple(args), kwargs), "the arguments")


def unpack_target(blob: bytes | memoryview, *, at_home: bool = True) -> Any:
    """Return the class or function of a target's blob.

    Args:
        blob: see `Target.blob`.
        at_home: this process sees the disk of the target's home, so its import path becomes that of the home.

    `__main__` and `sys.argv` are set to those of the home.

    Raises:
        Exception: whatever importing or unpickling raises.
    """
    file = io.BytesIO(blob)
    path, main = pickle.load(file)
    if at_home:
        sys.path[:] = path  # before the target is unpickled, since it is found by that path
    main_module.enter(main, None if at_home else unpacked.place_of)
    return pickle.load(file)


def _dump(target: Any) -> bytes:
    # The path is that of the importing program; entries that do not exist here do no harm.
    return _pickle((sys.path, main_module.describe()), "the import path") + _pickle(target, repr(target))


def _pickle(value: Any, what: str) -> bytes:
    try:
        data = pickling.dumps(value)
    except Exception as error:
        raise InvalidCall(f"{what} cannot be sent to another process: {error}") from error
    return data
