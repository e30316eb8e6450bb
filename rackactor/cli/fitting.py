"""Tables that fit the terminal: cells are wrapped, columns left out, or rows shown as blocks of lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

#: Width that a table adds to each column, and to the whole: a border and two blanks.
_EDGE, _LAST = 3, 1
#: A column of text is not made narrower than this while there is another way.
_NARROW = 10

Rows = list[list[Any]]


def fit(
    names: Sequence[str], rows: Sequence[Sequence[Any]], width: int, spare: Sequence[str]
) -> tuple[list[str], Rows] | None:
    """Return the names and the rows of a table of at most this width; None: there is no readable one.

    Args:
        names: of the columns.
        rows: cells; long ones may be wrapped.
        width: of the terminal, in cells of it.
        spare: columns that may be left out, in this order.
    """
    chosen = list(range(len(names)))
    for name in [None, *spare]:
        chosen = [index for index in chosen if names[index] != name]
        widths = _share([_wanted(names[index], [row[index] for row in rows]) for index in chosen], width)
        if widths is not None:
            wrapped = [[_wrap(row[index], room) for index, room in zip(chosen, widths, strict=True)] for row in rows]
            return [names[index] for index in chosen], wrapped
    return None


def _wanted(name: str, cells: Sequence[Any]) -> tuple[int, int]:
    """Return the natural width of a column, and the smallest readable one."""
    whole = max(map(_cells, (name, *map(str, cells))))
    least = whole if any(not isinstance(cell, str) for cell in cells) else max(_cells(name), min(whole, _NARROW))
    return whole, least


def _share(wanted: Sequence[tuple[int, int]], width: int) -> list[int] | None:
    """Return the width of each column: the widest are narrowed first."""
    room = width - _LAST - _EDGE * len(wanted)
    widths = [whole for whole, _ in wanted]
    while sum(widths) > room:
        loose = [index for index, (_, least) in enumerate(wanted) if widths[index] > least]
        if not loose:
            return None
        widest = max(loose, key=lambda index: widths[index])
        widths[widest] -= 1
    return widths


def as_blocks(names: Sequence[str], rows: Sequence[Sequence[Any]], width: int) -> Iterator[str]:
    """Yield the lines of a list as blocks of `name: value`, with an empty line between two."""
    for number, row in enumerate(rows):
        if number:
            yield ""
        for name, cell in zip(names, row, strict=True):
            if str(cell):
                yield from _wrap(f"{name}: {cell}", max(1, width)).split("\n")


def _wrap(cell: Any, room: int) -> Any:
    """Return a string in lines of at most this width, broken between words where these are short enough."""
    if not isinstance(cell, str) or _cells(cell) <= room:
        return cell
    lines: list[str] = []
    line: str | None = None
    for word in cell.split(" "):
        joined = word if line is None else f"{line} {word}"
        if _cells(joined) <= room:
            line = joined
            continue
        if line:
            lines.append(line)
        *full, line = _chop(word, room)
        lines += full
    return "\n".join([*lines, line or ""])


def _chop(word: str, room: int) -> list[str]:
    pieces, width = [""], 0
    for character in word:
        width += _cells(character)
        if width > room and pieces[-1]:
            pieces.append("")
            width = _cells(character)
        pieces[-1] += character
    return pieces


def _cells(text: str) -> int:
    """Return how many cells of a terminal a string takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)
