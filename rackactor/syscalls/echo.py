"""The output of a group's processes, shown on this program's own standard output and error."""

from __future__ import annotations

import codecs
import sys
from typing import Any


class Echo:
    """Writes output of processes to `sys.stdout` and `sys.stderr`, whatever the program has put there.

    The original file objects of Python get the bytes unchanged. A replacement gets text: a redirection of rich or tqdm,
    a notebook, `contextlib.redirect_stdout`, pytest's `capsys`. Bytes written to the file below would bypass it.
    """

    #: See `rackactor.syscalls.output.Sink`: what cannot be shown here is still in the log.
    broken = False

    def __init__(self) -> None:
        self._decoders: dict[tuple[int, int], codecs.IncrementalDecoder] = {}

    def show(self, pid: int, stream: int, data: bytes) -> None:
        """Show output of a process; a character may be split between two pieces of output."""
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
            pass  # the reader is gone, or the program's own file fails; the log still has the output

    def finish(self) -> None:
        """Show the incomplete characters that are left, since there will be no more output."""
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
