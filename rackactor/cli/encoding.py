"""Every text can be printed, and every word be read: names are those of the operating system, not those of a locale."""

from __future__ import annotations

import codecs
import io
import os
import sys

#: What files do with text that their encoding cannot carry: see `pass_or_escape`.
PASS_OR_ESCAPE = "rack-pass-or-escape"


def prepare() -> None:
    """Have standard output and error take every text."""
    for file in (sys.stdout, sys.stderr):
        if isinstance(file, io.TextIOWrapper):
            file.reconfigure(errors=PASS_OR_ESCAPE)


def leave_ascii() -> None:
    """Start this command anew in Python's UTF-8 mode where the locale knows ASCII only, and Python was told to obey.

    A word of the command line would be read as bytes that are no text, and no key, group or process be found by it.
    """
    if sys.getfilesystemencoding() == "ascii" and not sys.flags.utf8_mode:
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def encode(text: str) -> bytes:
    """Return text as standard output takes it."""
    return text.encode("utf-8", PASS_OR_ESCAPE)


def pass_or_escape(error: UnicodeError) -> tuple[str | bytes, int]:
    """Give what an encoding cannot carry: for a byte that was no UTF-8 that byte, for a character its escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    part = error.object[error.start : error.end]
    return b"".join(map(_byte_or_escape, part)), error.end


def _byte_or_escape(character: str) -> bytes:
    code = ord(character)
    return bytes([code - 0xDC00]) if 0xDC80 <= code <= 0xDCFF else character.encode("ascii", "backslashreplace")


codecs.register_error(PASS_OR_ESCAPE, pass_or_escape)
