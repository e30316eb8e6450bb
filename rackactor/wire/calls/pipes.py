"""The system calls of pipes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from rackactor.wire.checks import Check, Count, Flag, Items, Number, Text, list_of
from rackactor.wire.schema import Call

#: Characters of the name of a pipe at the most.
MAX_NAME = 255


def _is_mode(value: Any) -> bool:
    return type(value) is str and value in ("r", "w", "rw")


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME and value.isprintable()


def _is_pair(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and [*map(type, value)] == [int, int]


_MODE = Check("'r' (to read), 'w' (to write) or 'rw'", _is_mode)


class PipeOpen(Call, op="pipe_open"):
    """Open one end of a pipe, by its number or name; or make one without a name, and open both."""

    mode: Annotated[str, _MODE]
    id: Number | None = None
    name: Annotated[str, Check(f"1 to {MAX_NAME} printable characters", _is_name)] | None = None


class PipeClose(Call, op="pipe_close"):
    """Close an end; a reader says what it has taken, a writer if something of it was lost."""

    seat: Number
    #: [seat of a writer, messages] each.
    taken: Annotated[Sequence[tuple[int, int]], list_of(Check("[seat, count]", _is_pair))] | None = None
    #: Why what a writer had is not all there.
    lost: Text = ""


class PipeCredit(Call, op="pipe_credit"):
    """Say what a reader has taken of what the supervisor inherited, and what it may be sent."""

    #: Of the writer.
    seat: Number
    #: The reader's seat.
    reader: Number
    taken: Count
    received: Count
    limit: Count


class PipeRoom(Call, op="pipe_room"):
    """Tell whether there is room for so many bytes of messages that nobody has taken."""

    size: Count


class PipePiece(Call, op="pipe_piece"):
    """Take a piece, which goes with it, of what the caller is about to bequeath."""


class PipeBequeath(Call, op="pipe_bequeath"):
    """Leave what nobody has taken to the supervisor; answers whether it has room for it."""

    seat: Number
    #: The readers, and how far each is: see `rackactor.ipc.pipes.writing`.
    lanes: Items
    #: How the messages lie in the frames that go with it: see `rackactor.ipc.pipes.framing`.
    shape: Items
    #: The writer has ended in good order.
    clean: Flag


class ListPipes(Call, op="pipes"):
    """List the pipes."""
