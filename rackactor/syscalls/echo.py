"""What a group's processes print, on this program's own standard output and error."""

from __future__ import annotations

import codecs
import sys
from typing import Any


class Echo:
    """Write what processes print to `sys.stdout` and `sys.stderr`, whatever the program has put there.

    The program's own file, as Python has made it, gets the bytes as they are. Anything else in its place takes text:
    rich's and tqdm's redirections, notebooks, `contextlib.redirect_stdout`, pytest's `capsys`. To write to the file
    below it would go past it.
    """

    def __init__(self) -> None:
        self._decoders: dict[tuple[int, int], codecs.IncrementalDecoder] = {}

    def show(self, pid: int, stream: int, data: bytes) -> None:
        """Show what a process has printed; characters may be cut in two between two pieces of it."""
        file, own = (sys.stdout, sys.__stdout__) if stream == 1 else (sys.stderr, sys.__stderr__)
        try:
            file.flush()
            buffer = getattr(file, "buffer", None) if file is own else None
            if buffer is None:
                file.write(_writable(self._decode(pid, stream, data), file))
            else:
                buffer.write(data)
            file.flush()
        except Exception:
            pass  # nobody looks any more, or the program's own file fails; the log still has it

    def finish(self) -> None:
        """Show the beginnings of characters that have not come to their end; nobody prints any more."""
        for pid, stream in list(self._decoders):
            self.show(pid, stream, b"")

    def _decode(self, pid: int, stream: int, data: bytes) -> str:
        decoder = self._decoders.get((pid, stream))
        if decoder is None:
            decoder = self._decoders[pid, stream] = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        text = decoder.decode(data, final=not data)
        if not decoder.getstate()[0]:
            del self._decoders[pid, stream]
        return text


def _writable(text: str, file: Any) -> str:
    """Return a string as a file can take it: characters that the file's encoding lacks are escaped."""
    encoding = getattr(file, "encoding", None)
    if not isinstance(encoding, str) or getattr(file, "errors", "strict") != "strict":
        return text
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.encode(encoding, "backslashreplace").decode(encoding)
    except LookupError:
        pass
    return text
