"""Names of the program's `__main__` that have not come with anything yet: they are asked for.

What travels by value brings what it uses. What is looked up by its name only may be missing: a class in a file that
pickle has written, `from __main__ import name`. The script does not run again for it. A process asks its
parent, which has the name or asks its own, up to the program. It gets the value that the name has there at that moment.
"""

from __future__ import annotations

import pickle
import threading
from typing import Any

import msgpack

from rackactor import codec, mainmodule, pickling
from rackactor.errors import InvalidCall, RackError, RackTimeout
from rackactor.kernel import Kernel
from rackactor.peers import Delivery
from rackactor.stream import EntryKind

#: Seconds that the answer may take.
PATIENCE = 20.0


def serve(kernel: Kernel) -> None:
    """Answer what this process's children ask for."""
    kernel.on("name", lambda fields, _: _in_a_thread(kernel, fields["delivery"]))


def _in_a_thread(kernel: Kernel, delivery: Delivery) -> None:
    # Pickling takes time, may run the program's own code, and may have to ask in turn: nothing to do at the crank.
    threading.Thread(target=_answer, args=(kernel, delivery), name="rackactor-names", daemon=True).start()


def _answer(kernel: Kernel, delivery: Delivery) -> None:
    try:
        answer = (True, _find(*codec.unpack(delivery.entry.payload)))
    except Exception as error:
        answer = (False, f"{type(error).__name__}: {error}".encode("utf-8", "backslashreplace"))
    try:
        kernel.consume(delivery.pid, delivery.entry.cost)
        kernel.answer(delivery.pid, delivery.entry.rid, msgpack.packb(answer))
    except RackError:
        pass  # nobody is left to hear it


def _find(number: str, name: str) -> bytes:
    if mainmodule.home().number != number:
        raise LookupError("this is another program")
    return pickling.dumps_itself(getattr(mainmodule.main_module(), name))


def look_up(kernel: Kernel, name: str) -> Any:
    """Ask the parent for what a name means in its `__main__`.

    Raises:
        AttributeError: it has no such name, cannot send it, or does not answer.
    """
    if name in _asked():
        raise AttributeError(
            f"module '__main__' has no attribute {name!r} here, and its parent sends nothing but the name"
        )
    question = msgpack.packb((mainmodule.home().number, name), unicode_errors="surrogatepass")
    try:
        if not kernel.allow_pickle:
            raise InvalidCall("this group refuses pickle")
        pending = kernel.ask(kernel.welcome["ppid"], question, kind=EntryKind.NAME)
        if not kernel.wait(lambda: pending.done, PATIENCE):
            kernel.forget_ask(pending)
            raise RackTimeout(f"no answer within {PATIENCE:g} s")
        found, data = codec.unpack(pending.get())
    except RackError as error:
        raise AttributeError(f"module '__main__' has no attribute {name!r} here, and its parent: {error}") from None
    if not found:
        said = data.decode("utf-8", "replace")
        raise AttributeError(f"module '__main__' has no attribute {name!r} (its parent says: {said})")
    _asked().add(name)
    try:
        return pickle.loads(data)
    finally:
        _asked().discard(name)


_local = threading.local()


def _asked() -> set[str]:
    """Return the names whose answers this thread is opening."""
    names: set[str] = _local.__dict__.setdefault("names", set())
    return names
