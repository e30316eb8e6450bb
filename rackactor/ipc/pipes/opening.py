"""`rack.pipe`: checks its arguments, and opens the pipe."""

from __future__ import annotations

import codecs
from typing import Any

from rackactor import units
from rackactor.errors import InvalidCall
from rackactor.ipc.pipes.ends import open_named, open_pair
from rackactor.ipc.pipes.fifo import Pipe
from rackactor.kernel.kernel import Kernel


def open_pipe(kernel: Kernel, name: str | None, mode: str | None, options: dict[str, Any]) -> Any:
    """Open a pipe: see `Session.pipe`."""
    if options["text"] and options["binary"]:
        raise InvalidCall("a pipe carries lines of text, or of bytes: text=True or binary=True, not both")
    try:
        codecs.lookup(options["encoding"])
    except (LookupError, TypeError) as error:
        raise InvalidCall(f"encoding is the name of an encoding of text: {error}") from None
    named = options["timeout"]
    if named == "default":
        named = units.DEFAULT_TIMEOUT
    options = {**options, "timeout": named if named is units.DEFAULT_TIMEOUT else units.timeout(named)}
    if name is None:
        if mode is not None:
            raise InvalidCall("a pipe without a name is opened at both ends: pipe() gives (reader, writer)")
        return open_pair(kernel, options)
    if not isinstance(name, str) or not name or not name.isprintable() or len(name) > 255:
        raise InvalidCall(f"the name of a pipe is 1 to 255 printable characters, not {name!r}")
    if mode is None:
        return Pipe(kernel, name, options)
    if mode not in ("r", "w"):
        raise InvalidCall(f"a pipe is opened with 'r' or 'w', not {mode!r}")
    return open_named(kernel, name, mode, options)
