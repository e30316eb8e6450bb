"""A program that leaves everything open: run by Python, by `rack run`, as a function and as an actor."""

from __future__ import annotations

import atexit
import builtins
import concurrent.futures
import contextvars
import logging
import logging.handlers
import multiprocessing
import os
import sys
import tempfile
import threading
import time
import weakref
from pathlib import Path
from typing import Any

import rackactor as rack

#: What each of them has written when it has ended; what Python itself forgets is marked.
WRITTEN = {
    "global": "data",
    "text over bytes": "data",
    "class": "data",
    "cycle": "data",
    "deleted": "gone",
    "thread": "done",
    "hook": "done",
    "log": "logged\n",
    "finalized": "done",
    "child": "done",
    "pool": "done",
    "stdout": "printed\n",
    "builtin": "data",
    "context": "data",
    "rack hook": "done",
}
#: Python closes what lies in a cycle in any order, the buffer before the text that is still to go there; and it knows
#: no hooks of a group.
OURS = {"cycle", "rack hook"}
_open: dict[str, Any] = {}
_variable: contextvars.ContextVar[Any] = contextvars.ContextVar("endings")


class Holder:
    file: Any = None


class Deleted:
    def __init__(self, path: Path) -> None:
        self.path, self.write = path, Path.write_text

    def __del__(self) -> None:
        self.write(self.path, "gone")


def later(path: Path, seconds: float) -> None:
    time.sleep(seconds)
    path.write_text("done")


def leave_open(place: str, way: str = "return") -> Any:
    """Leave files open, threads running and hooks to be called below a directory, and end in some way."""
    where = Path(place)
    for name in ("global", "builtin", "cycle", "context"):
        _open[name] = open(where / name, "w")  # noqa: SIM115
        _open[name].write("data")
    setattr(builtins, "left_open", _open.pop("builtin"))  # noqa: B010
    _variable.set(_open.pop("context"))
    raw = open(where / "text over bytes", "wb")  # noqa: SIM115
    _open["raw"] = (raw, __import__("io").TextIOWrapper(raw))
    _open["raw"][1].write("data")
    Holder.file = open(where / "class", "w")  # noqa: SIM115
    Holder.file.write("data")
    cycle: list[Any] = [_open.pop("cycle")]
    cycle.append(cycle)
    _open["deleted"] = Deleted(where / "deleted")
    threading.Thread(target=later, args=(where / "thread", 0.2)).start()
    atexit.register((where / "hook").write_text, "done")
    handler = logging.handlers.MemoryHandler(1000, target=logging.FileHandler(where / "log"))
    logging.getLogger("endings").addHandler(handler)
    logging.getLogger("endings").warning("logged")
    _open["directory"] = tempfile.TemporaryDirectory(dir=place, prefix="temporary")
    weakref.finalize(Holder, (where / "finalized").write_text, "done")
    multiprocessing.get_context("fork").Process(target=later, args=(where / "child", 0.2)).start()
    concurrent.futures.ThreadPoolExecutor().submit(later, where / "pool", 0.3)
    if "RACK_PID" in os.environ:
        rack.on_exit(lambda: (where / "rack hook").write_text("done"))  # type: ignore[arg-type, return-value]
    sys.stdout = open(where / "stdout", "w")  # noqa: SIM115
    print("printed")
    if way == "raise":
        raise LookupError("it went wrong")
    if way == "exit":
        sys.exit(3)
    if way == "rack.exit":
        rack.exit(3)
    return way


def written(place: Path) -> dict[str, str]:
    """Return what lies in a directory: text by name."""
    return {path.name: path.read_text() if path.is_file() else "?" for path in place.iterdir()}


class Leaver(rack.Actor):
    """Leaves open what is told it; what it holds itself, too."""

    def receiveMsg_tuple(self, message: tuple[str, str], sender: Any) -> None:
        place, way = message
        self.file = open(Path(place) / "own", "w")  # noqa: SIM115
        self.file.write("data")
        self.me = self
        try:
            leave_open(place, way)
        except LookupError:
            pass
        self.send(sender, "left")
        if way == "exit itself":
            self.exit(3)


if __name__ == "__main__":
    leave_open(*sys.argv[1:])
