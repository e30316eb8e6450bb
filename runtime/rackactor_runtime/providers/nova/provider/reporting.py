"""What a launcher says: JSON to the program that wants the group, words to people; and how it is called off."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from typing import Any

from rackactor.errors import RackError
from rackactor_runtime import descriptors
from rackactor_runtime.providers.machines.cloud import CloudFault

_log = logging.getLogger(__name__)


class CalledOff(Exception):
    """The group is not wanted any more."""


def say_left(words: str) -> None:
    """Tell people what is left of a group, if anything is."""
    if words:
        print(f"rackactor: {words.strip()}", file=sys.stderr, flush=True)  # noqa: T201


def said(error: BaseException) -> str:
    """Return why a launch failed, for people."""
    if isinstance(error, CalledOff):
        return "the launch was called off"
    if isinstance(error, RackError | CloudFault | OSError):
        return str(error)
    _log.error("the launch", exc_info=error)
    return f"the launch failed: {type(error).__name__}: {error}"


def call_off(number: int, frame: object) -> None:
    """Call the launch off, as the handler of a signal."""
    raise CalledOff


def ignore_signals() -> None:
    """Ignore signals during the clean-up, which takes a limited time."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def write_line(fields: dict[str, Any]) -> None:
    """Write one line; nothing happens if its reader is gone."""
    try:
        os.write(1, json.dumps(fields).encode() + b"\n")
    except BrokenPipeError:
        pass  # the reader is gone: the owner's end will be noticed


def answer(fields: dict[str, Any]) -> None:
    """Write the one line, then close the pipe, so that nobody waits for more."""
    write_line(fields)
    descriptors.lead_nowhere(1)
