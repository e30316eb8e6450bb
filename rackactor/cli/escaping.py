"""Text of processes for a terminal: characters that would move the cursor or change the state are escaped."""

from __future__ import annotations

import unicodedata

_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def visible(text: str, *, keep: str = "") -> str:
    r"""Return a string in which every character that does not show as itself is escaped: `\n`, `\x1b`, `\u202e`.

    Escaped are control characters (including escape sequences and line ends), characters that change the writing
    direction, join or hide others, and the surrogates that represent bytes which are not UTF-8.

    Args:
        text: of a process, a cloud, a person.
        keep: characters that are not escaped.
    """
    if text.isprintable():
        return text
    return "".join(character if _shows(character) or character in keep else _escape(character) for character in text)


def block(text: str) -> str:
    """Return a string of several lines, with everything else escaped."""
    return visible(text.replace("\r\n", "\n"), keep="\n\t")


def _shows(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"


def _escape(character: str) -> str:
    short = _SHORT.get(character)
    if short is not None:
        return short
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
