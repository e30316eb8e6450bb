"""Text of processes, as a terminal may be given it: what would move its cursor or change its state is escaped."""

from __future__ import annotations

import unicodedata

_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def visible(text: str, *, keep: str = "") -> str:
    r"""Return a string in which every character that does not show as itself is escaped: `\n`, `\x1b`, `\u202e`.

    That is control characters, with them the beginnings of escape sequences and the ends of lines; what turns the
    direction of writing, joins or hides; halves of surrogates, by which Python has bytes that are no UTF-8.

    Args:
        text: of a process, a cloud, a person.
        keep: characters that stay as they are.
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
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
