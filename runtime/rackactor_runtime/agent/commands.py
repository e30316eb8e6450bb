"""Commands as processes: the agent starts the program, passes signals on, and reports how it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from rackactor.session import Session
from rackactor_runtime.agent.report import Report
from rackactor_runtime.agent.stdin import StdinPump

#: Codes of a shell for a command that is not there, or cannot be run.
NOT_FOUND, NOT_EXECUTABLE = 127, 126


def host_command(session: Session, words: Sequence[str], pump: StdinPump | None) -> Report:
    """Run a command to its end.

    Args:
        session: this process's membership.
        words: the program and its arguments.
        pump: its standard input, or None for an empty one.
    """
    try:
        child = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL if pump is None else pump.reader,
            start_new_session=True,
            restore_signals=True,
        )
    except (OSError, ValueError) as error:
        code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
        text = f"cannot run {words[0]!r}: {error.strerror if isinstance(error, OSError) else error}"
        if isinstance(error, FileNotFoundError) and error.filename != words[0]:
            text = f"cannot run {words[0]!r}: {error.filename}: {error.strerror}"
        print(f"rackactor: {text}", file=sys.stderr)
        return Report("load-failed", code, evidence=text)
    if pump is not None:
        os.close(pump.reader)
    _pass_signals(session, child)
    # The main thread turns the crank itself: the command's end wakes it.
    returncode = _await(session, child)
    if returncode < 0:
        return Report("signalled", 128 - returncode, -returncode)
    return Report("exited", returncode)


def _pass_signals(session: Session, child: subprocess.Popen[bytes]) -> None:
    """Give signals to the command and everything in its session, not to the agent."""

    def handle(fields: dict[str, Any], _: Sequence[Any]) -> None:
        sig = fields["signal"]
        if isinstance(sig, int) and child.returncode is None:
            try:
                os.killpg(child.pid, sig)
            except ProcessLookupError:
                pass  # it has just ended

    def forward(number: int, _: Any) -> None:
        handle({"signal": number}, ())

    session.kernel.on("signal", handle)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, forward)  # one that the operating system sends to the agent is meant for the command


def _await(session: Session, child: subprocess.Popen[bytes]) -> int:
    ended: list[int] = []

    def check(*_: Any) -> None:
        if not ended:
            code = child.poll()
            if code is not None:
                ended.append(code)
                session.kernel.poke()

    signal.signal(signal.SIGCHLD, check)
    check()
    session.kernel.wait(lambda: ended, None)
    return ended[0]
