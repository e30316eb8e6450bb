"""Print docs/wire.md from the dataclasses of the wire: `python -m rackactor.wire.page > docs/wire.md`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from dataclasses import MISSING
from types import ModuleType

from rackactor.wire import events, frames
from rackactor.wire.calls import (
    actor_system,
    connections,
    fork,
    group,
    logs,
    machine,
    memory,
    operators,
    pipes,
    processes,
    results,
    services,
)
from rackactor.wire.schema import Call, Event, Message, fields_of

#: In the order of the page.
ROOMS = (
    fork,
    processes,
    results,
    group,
    operators,
    services,
    logs,
    pipes,
    memory,
    connections,
    actor_system,
    machine,
)
_HEAD = f"""# The wire: system calls and events

*This page is printed from the code: `python -m rackactor.wire.page > docs/wire.md`. A test compares the two.*

How messages are framed is told in `rackactor/wire/frames.py` (protocol {frames.PROTOCOL}). Each call and each event is
a frozen dataclass in `rackactor/wire/calls/` or `rackactor/wire/events.py`, which both ends import. On the wire it is
its name and a map of its fields.

- A field that is None is left out. A field that is missing has its default.
- A field that the receiver does not know has no consequence.
- Whatever else does not fit is refused: the error (`InvalidCall`) names the field and says what it may be.

Opaque frames may go with a message: the target of a fork, a large value, a piece of a pipe. The supervisor does not
look into them.
"""
_COLUMNS = "| | what it may be | default | meaning |\n|---|---|---|---|"


def page() -> str:
    """Return the page."""
    return "\n".join([_HEAD, *_calls(), *_events()])


def _calls() -> Iterator[str]:
    yield "## System calls\n\nA member asks the supervisor; the answer is a map, or an error by its name.\n"
    for room in ROOMS:
        yield f"### {room.__name__.rpartition('.')[2].replace('_', ' ').capitalize()}\n\n{_about(room)}\n"
        yield from _table(room, Call)


def _events() -> Iterator[str]:
    yield f"## Events\n\n{_about(events)}\n"
    yield from _table(events, Event)


def _table(module: ModuleType, kind: type[Message]) -> Iterator[str]:
    yield _COLUMNS
    for cls in vars(module).values():
        if isinstance(cls, type) and issubclass(cls, kind) and cls.__module__ == module.__name__:
            yield f"| **`{cls.op}`** | | | {_cell(inspect.getdoc(cls) or '')} |"
            notes = _notes(cls)
            for field in fields_of(cls):
                default = "*needed*" if field.default is MISSING else f"`{field.default!r}`"
                yield f"| `{field.name}` | {_cell(field.check.words)} | {default} | {_cell(notes[field.name])} |"
    yield ""


def _notes(cls: type[Message]) -> dict[str, str]:
    """Return what the comments above the fields say: `#: ...`."""
    notes: dict[str, str] = {}
    said: list[str] = []
    for line in map(str.strip, inspect.getsource(cls).splitlines()):
        if line.startswith("#:"):
            said.append(line.removeprefix("#:").strip())
        else:
            name, colon, _ = line.partition(":")
            if colon and name.isidentifier():
                notes[name] = " ".join(said)
            said = []
    return notes


def _about(module: ModuleType) -> str:
    return (module.__doc__ or "").partition("\n")[0].removesuffix(" `docs/wire.md` lists it.")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(page())
