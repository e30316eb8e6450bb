"""Printing any string, and reading any argument: names are the operating system's, whatever the locale."""

from __future__ import annotations

import codecs
import io
import os
import sys

#: The error handler for characters that a file's encoding lacks: see `pass_or_escape`.
PASS_OR_ESCAPE = "rack-pass-or-escape"


def prepare() -> None:
    """Make standard output and error accept every string."""
    for file in (sys.stdout, sys.stderr):
        if isinstance(file, io.TextIOWrapper):
            file.reconfigure(errors=PASS_OR_ESCAPE)


def leave_ascii() -> None:
    """Start this command again in Python's UTF-8 mode if the locale is ASCII only, and Python was told to obey it.

    Otherwise an argument would be read as undecodable bytes, and no key, group or process would be found by it.
    """
    if sys.getfilesystemencoding() == "ascii" and not sys.flags.utf8_mode:
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def encode(text: str) -> bytes:
    """Return a string as bytes for standard output."""
    return text.encode("utf-8", PASS_OR_ESCAPE)


def pass_or_escape(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replace what an encoding lacks: an undecodable byte by that byte, a character by its escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    part = error.object[error.start : error.end]
    return b"".join(map(_byte_or_escape, part)), error.end


def _byte_or_escape(character: str) -> bytes:
    code = ord(character)
    return bytes([code - 0xDC00]) if 0xDC80 <= code <= 0xDCFF else character.encode("ascii", "backslashreplace")


codecs.register_error(PASS_OR_ESCAPE, pass_or_escape)
