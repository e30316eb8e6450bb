"""The end of a program as in Python: its work is finished, and its open files are closed.

A process is a fork of a large interpreter, and ends by `os._exit`: Python's own finalization of that interpreter would
cost a thousand times what most programs do. So the steps that matter are done here, for the program's own objects
only, in Python's order. Its threads are waited for. Its hooks run (`atexit`, and with it `logging`,
`multiprocessing`, `weakref.finalize`). Its modules are released, so that files are closed and `__del__` runs.
"""

from __future__ import annotations

import atexit
import gc
import io
import os
import signal
import sys
import threading
import traceback
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from rackactor.system import threads
from rackactor.wire import main_module

#: Seconds of silent waiting for threads; after that the process says what it waits for.
SILENCE = 5.0
#: Seconds for writing out files that a daemon thread may hold: as long as Python waits.
_LAST_PATIENCE = 1.0
#: Prefix of the names of this package's own threads.
_OURS = "rackactor"
#: Modules that the end itself still needs, or that contain nothing of a program's.
_KEPT = frozenset(
    {"cloudpickle", "fsspec", "lmdb", "msgpack", "rackactor", "rackactor_runtime", "thespian", "zmq"}
) | frozenset(sys.stdlib_module_names)
_SIGNALS = [int(number) for number in signal.valid_signals()]
#: `signal.getsignal` without the conversion to an enumeration, which takes longer than all the rest.
_get_handler: Callable[[int], Any] = getattr(signal, "_signal").getsignal  # noqa: B009
_FILES = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)

_names: frozenset[str] = frozenset()
_newest = ""
_main: Any = None


def note_modules() -> None:
    """Note the modules imported before any program; done once, for all children, where it would be expensive."""
    global _names, _newest, _main
    _names, _newest, _main = frozenset(sys.modules), next(reversed(sys.modules)), sys.modules.get("__main__")


def finish(waiting: Callable[[list[threading.Thread]], object], hooks: Callable[[], object]) -> None:
    """Wait for non-daemon threads, then run the hooks: `hooks`, and those of atexit.

    Args:
        waiting: called with the threads that the process waits for, before it waits.
        hooks: runs the program's hooks that are not atexit's.
    """
    threads = [each for each in threading.enumerate() if not each.daemon and each is not threading.main_thread()]
    if threads:
        waiting(threads)
    _guarded(threading, getattr(threading, "_shutdown"))  # noqa: B009 - as multiprocessing does
    _guarded(hooks, hooks)
    garbage = sys.modules.get("zmq.utils.garbage")
    if garbage is not None:
        atexit.unregister(garbage.gc._atexit)  # after that hook nothing large could be sent any more
    _guarded(atexit, atexit._run_exitfuncs)


def clear() -> None:
    """Release the program's modules, and everything else that keeps its objects alive.

    No code of the program runs after this. Its daemon threads, which Python would stop, find their names gone.
    """
    threading.excepthook = _ignore
    _leave_signals()
    sys.excepthook = sys.__excepthook__
    for name in ("last_type", "last_value", "last_traceback"):
        vars(sys).pop(name, None)
    flush()
    sys.stdout, sys.stderr, sys.stdin = sys.__stdout__, sys.__stderr__, sys.__stdin__
    _flush_files()
    marks = _pop_modules()
    gc.collect()
    alive = [mark for mark in marks if mark() is not None]
    if alive:  # something outside the program refers to them: a handler, a registry, a thread
        _clear_names(alive)
        gc.collect()
    _flush_files()
    flush()


def flush() -> None:
    """Flush the standard streams; a reader that is gone is no error."""
    files: tuple[Any, ...] = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    for file in files:
        try:
            file.flush()
        except Exception:
            pass  # the program's own object: its errors change no exit status


def _guarded(what: Any, step: Callable[[], object]) -> None:
    """Do a step; if it is interrupted, or fails, the other steps are still done."""
    try:
        step()
    except BaseException:
        with suppress(Exception):
            sys.stderr.write(f"Exception ignored in: {what!r}\n{traceback.format_exc()}")


class _Mark:
    """An object among the names of a module, which vanishes together with them."""

    __slots__ = ("__weakref__", "names")

    def __init__(self, names: dict[str, Any]) -> None:
        self.names = names


_MARK = "__rackactor_mark__"


def _pop_modules() -> list[weakref.ref[_Mark]]:
    """Remove the program's modules, the newest last; return marks that show whether they are still referred to."""
    found: list[str] = []
    for name in reversed(sys.modules) if _newest else ():
        if name == _newest:
            break
        if name not in _names and name.partition(".")[0] not in _KEPT:
            found.append(name)
    if _newest and sys.modules.get("__main__") is not _main and "__main__" not in found:
        found.append("__main__")
    each = main_module.let_go()
    each += [getattr(sys.modules.pop(name, None), "__dict__", {}) for name in reversed(found)]
    marks = []
    while each:
        names = each.pop(0)
        if _MARK not in names:
            names[_MARK] = mark = _Mark(names)
            marks.append(weakref.ref(mark))
            del mark
    return marks


def _clear_names(marks: list[weakref.ref[_Mark]]) -> None:
    """Set the names of modules to None, those with an underscore first, as Python does."""
    for reference in reversed(marks):
        mark = reference()
        if mark is None:
            continue
        names = mark.names
        mark.names = {}
        for private in (True, False):
            for name in list(names):
                if name not in ("__builtins__", _MARK) and (name[:1] == "_" and name[:2] != "__") is private:
                    names[name] = None
        del names[_MARK], mark


def _flush_files() -> None:
    """Flush every open file, so that nothing depends on what is closed first: a text file or the buffer below it.

    A daemon thread may hold one locked for ever, so files that it might use are flushed within a time limit.
    """
    standard = [sys.__stdin__, sys.__stdout__, sys.__stderr__]
    standard += [getattr(stream, "buffer", None) for stream in standard]
    left = [each for each in gc.get_objects() if type(each) in _FILES and each not in standard and not each.closed]
    left.sort(key=lambda file: type(file) is not io.TextIOWrapper)
    shared = [file for file in left if _lies_on_disk(file)] if left and _has_daemons() else []
    _flush_each([file for file in left if file not in shared])
    if shared:
        thread = threading.Thread(target=_flush_each, args=(shared,), name=f"{_OURS}-flush", daemon=True)
        try:
            threads.start(thread).join(_LAST_PATIENCE)
        except OSError:
            _flush_each(shared)  # better without a time limit than not at all


def _has_daemons() -> bool:
    ours = (threading.main_thread(), threading.current_thread())
    return any(each not in ours and not each.name.startswith(_OURS) for each in threading.enumerate())


def _lies_on_disk(file: Any) -> bool:
    buffer = file.buffer if type(file) is io.TextIOWrapper else file
    return type(getattr(buffer, "raw", None)) is io.FileIO


def _flush_each(files: list[Any]) -> None:
    for file in files:
        try:
            file.flush()
        except Exception:
            pass  # a file, a pipe, or a replacement by the program: there is nobody left to tell


def _leave_signals() -> None:
    """Ignore signals that the program handles, since its handlers cannot run any more."""
    for number in _SIGNALS:
        handler = _get_handler(number)
        if callable(handler) and not str(getattr(handler, "__module__", "")).startswith(("_signal", "rackactor")):
            signal.signal(number, signal.SIG_IGN)


def _ignore(_: Any) -> None:
    pass


def say_what_it_waits_for(threads: list[threading.Thread]) -> None:
    """If it takes long, say which threads keep the process running."""

    def say() -> None:
        names = ", ".join(each.name for each in threads if each.is_alive())
        if names:
            words = f"rackactor: process {os.environ.get('RACK_PID', '')} has done its work, and waits for its threads"
            sys.stderr.write(f"{words}: {names} (as Python does for threads that are no daemons)\n")

    timer = threading.Timer(SILENCE, say)
    timer.daemon = True
    timer.start()
