"""Names of the program's `__main__` that have not been sent yet: a process asks its parent for them.

What is sent by value brings what it uses. What is only looked up by name may be missing: a class in a file that pickle
has written, `from __main__ import name`. The script does not run again for it. A process asks its parent, which has the
name or asks its own parent, up to the program. The answer is the value that the name has there at that moment.
"""

from __future__ import annotations

import pickle
import threading
from collections import deque
from typing import Any

import msgpack

from rackactor.errors import InvalidCall, RackError, RackTimeout
from rackactor.kernel.kernel import Kernel
from rackactor.kernel.news import NameAsked
from rackactor.kernel.peers import Delivery
from rackactor.system import threads
from rackactor.wire import codec, frames, main_module, pickling
from rackactor.wire.stream import EntryKind

#: Seconds within which the answer must come.
PATIENCE = 20.0
#: How many questions are answered at a time.
THREADS = 4


def serve(kernel: Kernel) -> None:
    """Answer the questions of this process's children."""
    desk = _Desk(kernel)
    kernel.on(NameAsked, lambda asked, _: desk.take(asked.delivery))


class _Desk:
    """Answers questions in its own threads, some at a time.

    Pickling takes time, may run the program's own code, and may itself have to ask: that must not happen in the loop.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._waiting: deque[Delivery] = deque()
        self._lock = threading.Lock()
        self._threads = 0

    def take(self, delivery: Delivery) -> None:
        """Have a question answered; called in the loop. The credit of the askers bounds the number of questions."""
        with self._lock:
            self._waiting.append(delivery)
            if self._threads == THREADS:
                return
            self._threads += 1
        try:
            threads.start(threading.Thread(target=self._work, name="rackactor-names", daemon=True))
        except OSError as error:
            self._refuse(error)

    def _refuse(self, error: OSError) -> None:
        """No thread can be started: where there is none, nobody answers."""
        with self._lock:
            self._threads -= 1
            refused = [] if self._threads else [self._waiting.popleft() for _ in range(len(self._waiting))]
        for delivery in refused:
            self._reply(delivery, _failed(error))

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._threads -= 1
                    return
                delivery = self._waiting.popleft()
            self._answer(delivery)

    def _answer(self, delivery: Delivery) -> None:
        try:
            answer = msgpack.packb((True, _find(*codec.unpack(delivery.entry.payload))))
            frames.check_size(answer)
        except Exception as error:
            answer = _failed(error)
        self._reply(delivery, answer)

    def _reply(self, delivery: Delivery, answer: bytes) -> None:
        try:
            self._kernel.consume(delivery.pid, delivery.cost)
            self._kernel.answer(delivery.pid, delivery.entry.rid, answer)
        except RackError:
            pass  # the asker is gone


def _failed(error: Exception) -> bytes:
    said = f"{type(error).__name__}: {error}".encode("utf-8", "backslashreplace")
    packed: bytes = msgpack.packb((False, said))
    return packed


def _find(number: str, name: str) -> bytes:
    if main_module.home().number != number:
        raise LookupError("this is another program")
    return pickling.dumps_itself(getattr(main_module.main_module(), name))


def look_up(kernel: Kernel, name: str) -> Any:
    """Ask the parent for the value of a name in its `__main__`.

    Raises:
        AttributeError: the parent has no such name, cannot send the value, or does not answer.
    """
    if name in _asked():
        raise AttributeError(
            f"module '__main__' has no attribute {name!r} here, and its parent sends nothing but the name"
        )
    question = msgpack.packb((main_module.home().number, name), unicode_errors="surrogatepass")
    try:
        if not kernel.allow_pickle:
            raise InvalidCall("this group refuses pickle")
        if (parent := kernel.welcome.ppid) == frames.SUPERVISOR:
            raise InvalidCall("the supervisor, which has no such thing")
        pending = kernel.ask(parent, question, kind=EntryKind.NAME)
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
    """Return the names whose answers this thread is unpickling now."""
    names: set[str] = _local.__dict__.setdefault("names", set())
    return names
