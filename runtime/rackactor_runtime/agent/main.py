"""From birth data to exit code: an agent's life in one function."""

from __future__ import annotations

import gc
import logging
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn

from rackactor import current
from rackactor.errors import GroupEnded, RackError
from rackactor.kernel import coroutines
from rackactor.kernel.kernel import EXPECTED_TIMEOUT, Kernel
from rackactor.kernel.news import GroupOver
from rackactor.launch import process_context
from rackactor.syscalls import mail, main_names
from rackactor.syscalls.session import Session
from rackactor.wire import main_module, outcomes
from rackactor.wire.calls.results import ResultPart
from rackactor.wire.target import unpack_target
from rackactor.wire.welcome import Welcome
from rackactor_runtime import memory_reserve
from rackactor_runtime.agent import finishing, program_code
from rackactor_runtime.agent import report as _report
from rackactor_runtime.agent.actors import ActorHost, host_actor
from rackactor_runtime.agent.cli_socket import open_if_needed
from rackactor_runtime.agent.commands import Relay, host_command
from rackactor_runtime.agent.report import Report
from rackactor_runtime.agent.stdin import StdinPump
from rackactor_runtime.agent.stdio_pipes import Piping

#: Seconds that messages of an exiting process have to be sent.
DRAIN = 10.0
#: The slowest network that is expected, bytes a second: a large result gets more time accordingly.
SLOWEST = 4 << 20
#: The exit code of a program that ended well, but whose output was lost: Python's own, if standard output is full.
NOT_WRITTEN = 120

#: Environment variables of a process, by the supervisor's names for their values.
VARIABLES = {"RACK_GID": "gid", "RACK_PID": "pid", "RACK_PPID": "ppid"}
#: The frames of a failed target: its open pipes count as broken, so their objects must not close them.
_kept: list[Any] = []
#: The result of `prepare`.
_ready: Kernel | None = None


def prepare() -> None:
    """Do ahead of time, in a process that waits for its birth, everything that does not need the birth data."""
    global _ready
    _ready = Kernel()


def expect(common: dict[str, Any]) -> None:
    """Connect to the supervisor ahead of time, where that needs no key: on one host.

    The supervisor ignores a connection until a token, which comes with the birth data, was presented on it.
    """
    if _ready is not None and not common["server_key"] and not _ready.sockets.endpoint:
        _ready.connect(common["endpoint"])


def main(birth: dict[str, Any]) -> int:
    """Join the group, run the target in this (the main) thread, report its end.

    Args:
        birth: `endpoint`, `server_key`, `token`, `pid`, `incarnation`.

    Returns: the exit code of the OS process.
    """
    kernel = Kernel() if _ready is None else _ready
    kernel.sockets.heed_signals()
    kernel.join(birth, EXPECTED_TIMEOUT)
    # A command gets its signals itself, instead of its agent, from the first one on.
    relay = Relay() if kernel.welcome.kind == "command" else None
    session = Session(kernel, process_context.base, None if relay is None else relay.hear)
    current.enter(session)
    main_module.look_up = partial(main_names.look_up, kernel)
    # The process ends when it loses the supervisor, whatever the target does and whichever thread notices it.
    kernel.on(GroupOver, lambda *_: _give_up())
    kernel.out_of_memory = memory_reserve.give_up
    welcome = kernel.welcome
    announce(welcome)
    piping = None
    try:
        open_if_needed(session, birth)
        pump = StdinPump(session) if welcome.stdin else None
        piping = Piping(session, welcome.streams) if welcome.streams else None
    except GroupEnded:
        raise
    except (OSError, RuntimeError) as error:  # no descriptor is left, or no thread: the target has not begun
        report = _tell(_report.raised(error, how="load-failed"))
    else:
        report = _run(session, partial(_run_target, session, welcome, pump, relay, piping))
    code = _leave(session, report, piping, own=relay is None)
    program_code.remove()
    return code


def _give_up() -> NoReturn:
    program_code.remove()
    os._exit(1)


def announce(welcome: Welcome) -> None:
    """Tell programs started by this process which process it is, by the environment."""
    for variable, field in VARIABLES.items():
        os.environ[variable] = str(getattr(welcome, field))


def _run(session: Session, target: Callable[[], Report]) -> Report:
    """Run the target; return how it ended, also if it raises."""
    try:
        return target()
    except coroutines.CalledOff:
        return Report("signalled", 128 + signal.SIGTERM, int(signal.SIGTERM), "its coroutine was cancelled")
    except SystemExit as error:
        code, text = _report.exit_code(error)
        if text is not None:
            _say(text + "\n")
        return Report("exited", code, evidence=text or "")
    except KeyboardInterrupt as error:
        _kept.append(error.__traceback__)
        return _show(error, Report("signalled", 130, int(signal.SIGINT)))
    except GroupEnded:
        raise
    except BaseException as error:
        if isinstance(error, MemoryError):
            memory_reserve.release()
        _kept.append(error.__traceback__)
        program_code.advise(session, error)
        trace = _report.strip(error).__traceback__
        report = _report.raised(error)
        return _show(error.with_traceback(trace), report)


def _run_target(
    session: Session,
    welcome: Welcome,
    pump: StdinPump | None,
    relay: Relay | None,
    piping: Piping | None,
) -> Report:
    """Run the target; what it raises goes on."""
    try:
        program_code.unpack(session, welcome)
    except Exception as error:
        return _tell(_report.raised(error, how="load-failed"))
    if relay is not None:
        args, _ = pickle.loads(welcome.blobs[1])
        return host_command(session, [*welcome.words, *map(str, args)], pump, relay, piping)
    if pump is not None:
        pump.become_stdin()
    if piping is not None:
        piping.become_standard()
    process_context.enter_limits()
    gc.freeze()  # the garbage collector then looks only through the program's own objects
    try:
        what = "what it is to run"
        target = unpack_target(welcome.blobs[0], at_home=not welcome.remote)
        what = "the arguments of its birth"
        args, kwargs = pickle.loads(welcome.blobs[1])
    except Exception as error:
        error.add_note(f"{what} cannot be opened in process {session.getpid()}")
        program_code.advise(session, error)
        return _tell(_report.raised(error, how="load-failed"))
    if welcome.kind == "actor":
        return host_actor(session, target, args, kwargs)
    return _host_function(target, args, kwargs)


def _host_function(function: Any, args: Any, kwargs: Any) -> Report:
    value = function(*args, **kwargs)
    if coroutines.is_coroutine(value):
        value = coroutines.run_target(value)
    return _report.returned(value)


def _tell(report: Report) -> Report:
    """Show a traceback on standard error, too, as Python does."""
    _say(report.evidence)
    return report


def _say(text: str) -> None:
    """Write to standard error. The program may have replaced it; errors of the replacement change no exit status."""
    try:
        sys.stderr.write(text)
    except Exception:
        with suppress(OSError):
            os.write(2, text.encode("utf-8", "backslashreplace"))


def _show(error: BaseException, report: Report) -> Report:
    """Show an uncaught exception as Python does: by `sys.excepthook`, if the program has set one."""
    if sys.excepthook is sys.__excepthook__ and report.evidence:
        return _tell(report)
    trace = _report.strip(error).__traceback__
    try:
        sys.excepthook(type(error), error, trace)
    except SystemExit as leaving:
        code, text = _report.exit_code(leaving)
        if text is not None:
            _say(text + "\n")
        return replace(report, how="exited", code=code, signal=None)
    except BaseException as failure:
        words = "".join(traceback.format_exception(_apart(failure, error)))
        _say(f"Error in sys.excepthook:\n{words}\nOriginal exception was:\n")
        _say("".join(traceback.format_exception(error)))
    finally:
        error.with_traceback(None)
    return report


def _apart(failure: BaseException, error: BaseException) -> BaseException:
    """Return an exception without the one that was being shown when it was raised, and without our own frame."""
    last = failure
    while last.__context__ is not None and last.__context__ is not error:
        last = last.__context__
    last.__context__ = None
    return failure.with_traceback(failure.__traceback__ and failure.__traceback__.tb_next)


def _leave(session: Session, report: Report, piping: Piping | None, *, own: bool) -> int:
    """End the program, then the membership.

    Args:
        session: this process's membership.
        report: how the target has ended.
        piping: standard files that are pipes.
        own: the program runs in this interpreter, and is not a command.
    """
    kernel = session.kernel
    clean = report.how == "exited"
    memory_reserve.release()
    try:
        if own:
            finishing.finish(_wait_for, session.run_exit_hooks)
        finishing.flush()
        if own and clean:
            session.signals.drop()
            finishing.clear()  # files that lead into pipes must be closed before the pipes
        lost = []
        if piping is not None:
            lost += piping.finish(clean=clean or report.signal == signal.SIGPIPE)
        if kernel.pipe_table is not None:
            lost += kernel.pipe_table.leave(clean=clean)
        report = _with_losses(report, lost)
        if own and not clean:
            _kept.clear()
            session.signals.drop()
            finishing.clear()
        if kernel.welcome.kind == "actor":
            mail.return_letters(kernel)  # messages that have come while the program was finishing
        kernel.drain(DRAIN)
        result = report.result
        if sum(map(len, result)) > outcomes.AT_ONCE:
            for frame in result:
                kernel.call(ResultPart(), frame)
            result = ()
        kernel.call(report.call(), *result, timeout=DRAIN + outcomes.AT_ONCE / SLOWEST)
    except RackError as error:
        logging.getLogger("rackactor").warning("could not report the exit: %s", error)
    finishing.flush()
    return report.code if report.signal is None else 128 + report.signal


def _with_losses(report: Report, lost: list[str]) -> Report:
    """Report what of a program's output is lost: then it has not ended well, whatever it has returned."""
    if not lost:
        return report
    words = "".join(f"rackactor: {each}\n" for each in lost)
    _say(words)
    if report.how == "exited" and report.code == 0:
        return replace(report, code=NOT_WRITTEN, evidence=words)
    return replace(report, evidence=report.evidence + words)


def _wait_for(threads: list[threading.Thread]) -> None:
    """Leave an actor's mailbox while its threads go on: SIGTERM then ends the process, as it ends any program."""
    if getattr(signal.getsignal(signal.SIGTERM), "__module__", None) == ActorHost.__module__:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    finishing.say_what_it_waits_for(threads)
