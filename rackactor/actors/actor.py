"""The base class of actors: Thespian's, with the system calls as methods."""

from __future__ import annotations

import numbers
from collections.abc import Iterator
from functools import cached_property
from types import AsyncGeneratorType, GeneratorType
from typing import TYPE_CHECKING, Any

from thespian.actors import ActorSystemMessage, ActorTypeDispatcher, WakeupMessage

from rackactor.address import RackAddress
from rackactor.errors import InvalidCall
from rackactor.kernel import coroutines
from rackactor.syscalls import functions
from rackactor.syscalls.fork_call import typed
from rackactor.syscalls.pipe_call import typed_pipe
from rackactor.syscalls.process import Process

if TYPE_CHECKING:
    from rackactor.ipc.files.filesystem import RackFileSystem
    from rackactor.ipc.memory.mapping import Memory


#: Prefix of the names of handlers.
HANDLER = "receiveMsg_"
#: How many handlers an error names.
_NAMED = 20


class NoHandler(Exception):
    """An actor has no handler for a message; the error says what it has handlers for."""


class Actor(ActorTypeDispatcher):  # type: ignore[misc]
    """An actor that is a process of a group.

    Write handlers as in Thespian's `ActorTypeDispatcher`: `receiveMsg_int(self, message, sender)` for an int,
    `receiveMsg_MyClass` for a MyClass, `receiveUnrecognizedMessage` for the rest. `self.send(sender, reply)`
    answers. The system calls are methods too.

    Handlers run one at a time, once for each message. A handler may be `async def`. If it raises, or if there is no
    handler for a message, the asker gets a `HandlerFailed`.
    """

    def receiveMessage(self, message: Any, sender: RackAddress) -> Any:
        """Call the handler for a message: that of its class, or else of the nearest base class that has one.

        Returns: what the handler returned. If that is `self.SUPER`, the handler of the next base class is called, too.

        Raises:
            NoHandler: there is none, and no `receiveUnrecognizedMessage` either.
            InvalidCall: the handler is a generator.
        """
        own = type(self)
        for kind in type(message).__mro__:  # inlined `_handlers`, since every message takes this path
            name = HANDLER + kind.__name__
            if hasattr(self, name):
                for cls in own.__mro__:
                    if name in cls.__dict__:
                        handler = getattr(cls, name)
                        result = handler(self, message, sender)
                        if result is None or (result := _settled(result, handler)) is None:
                            return None
                        if type(result) is not int or result != self.SUPER:
                            return result
        other = getattr(self, "receiveUnrecognizedMessage", None)
        if other is not None:
            return _settled(other(message, sender), other)
        if not isinstance(message, ActorSystemMessage) or isinstance(message, WakeupMessage):
            raise NoHandler(no_handler(self, message))
        return None

    def receiveSignal(self, sig: str, sender: int) -> None:
        """Handle a free-string signal; override this. POSIX signals arrive as real ones: see `rack.signal`.

        Args:
            sig: the string.
            sender: pid of the process that sent it.
        """

    # The functions of `rackactor`, with their types and docstrings.
    fork = typed(staticmethod(functions.fork))
    pipe = typed_pipe(staticmethod(functions.pipe))
    wait = staticmethod(functions.wait)
    kill = staticmethod(functions.kill)
    signal = staticmethod(functions.signal)
    ps = staticmethod(functions.ps)
    getpid = staticmethod(functions.getpid)
    getppid = staticmethod(functions.getppid)
    getgid = staticmethod(functions.getgid)
    lock = staticmethod(functions.lock)
    open = staticmethod(functions.open)
    listdir = staticmethod(functions.listdir)
    exit = staticmethod(functions.exit)
    on_exit = staticmethod(functions.on_exit)

    def process(self, who: int | RackAddress) -> Process[Any]:
        """Return a handle on a process, by pid or by address."""
        return functions.process(pid_of(who))

    @property
    def shm(self) -> Memory:
        """The group's shared memory: see `rack.shm`."""
        return functions.session().shm

    @cached_property
    def fs(self) -> RackFileSystem:
        """The group's files as an fsspec file system."""
        return functions.session().fs


def _handlers(actor: Any, message: Any) -> Iterator[Any]:
    """Yield the handlers for a message, the nearest one first, each as its class has it."""
    for kind in type(message).__mro__:
        name = HANDLER + kind.__name__
        if hasattr(actor, name):
            for cls in type(actor).__mro__:
                if name in cls.__dict__:
                    yield getattr(cls, name)


def _settled(result: Any, handler: Any) -> Any:
    if coroutines.is_coroutine(result):
        return coroutines.finish(result)
    if isinstance(result, (GeneratorType, AsyncGeneratorType)):
        name = getattr(handler, "__qualname__", repr(handler))
        raise InvalidCall(f"{name} has a `yield`, which makes it a generator: nothing of it has run")
    return result


def has_handler(actor: Any, message: Any) -> bool:
    """Tell whether one of Thespian's actors has a handler for a message."""
    return hasattr(actor, "receiveUnrecognizedMessage") or any(True for _ in _handlers(actor, message))


def no_handler(actor: Any, message: Any) -> str:
    """Return the message that an actor has no handler for a message, and what it has handlers for."""
    kind = type(message)
    handled = sorted({name.removeprefix(HANDLER) for name in dir(type(actor)) if name.startswith(HANDLER)})
    more = f" and {len(handled) - _NAMED} more" if len(handled) > _NAMED else ""
    has = f"it has handlers for {', '.join(handled[:_NAMED])}{more}" if handled else "it has none at all"
    said = f"{type(actor).__name__} has no handler for {_name(kind)}; {has}"
    if kind.__module__.partition(".")[0] == "numpy" and isinstance(message, numbers.Number):
        wanted = "int" if isinstance(message, numbers.Integral) else "float"
        said += f" (a number of NumPy is no {wanted}: send {wanted}(...), or write {HANDLER}{kind.__name__})"
    return said


def _name(kind: type) -> str:
    return kind.__name__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"


def pid_of(who: int | RackAddress) -> int:
    """Return the pid behind an address, or the pid itself."""
    if isinstance(who, RackAddress):
        return who.pid
    if isinstance(who, int):
        return who
    raise InvalidCall(f"a process is named by its pid or its address, not by {who!r}")
