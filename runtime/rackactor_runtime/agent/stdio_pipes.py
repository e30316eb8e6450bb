"""Pipes of the group as the standard files of a process: a thread for each pumps between it and a pipe of the system.

Output is cut into messages at line ends, so that a line is never torn between two readers nor mixed with another
writer's. When the last reader is gone, the process's own pipe is closed: its next write gets it a SIGPIPE.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

from rackactor.errors import NoReader, PipeClosed, RackError
from rackactor.syscalls.session import Session
from rackactor.system.readiness import readable

#: A line may be this long before it is torn, bytes.
MAX_LINE = 1 << 20
_CHUNK = 256 << 10
#: What a process leaves in its pipe when it ends is read; what its own descendants still write is not, seconds.
_PAUSE = 0.2
_NUMBERS = {"stdin": 0, "stdout": 1, "stderr": 2}


class Piping:
    """The standard files of a process that are pipes of the group.

    Args:
        session: this process's membership.
        streams: which pipe each is, by the name of the file.

    Attributes:
        given: the descriptors that the process is to have, by the name of the file.
    """

    def __init__(self, session: Session, streams: dict[str, Any]) -> None:
        from rackactor.ipc.pipes.ends import open_standard  # what has no pipes does not need it

        self.given: dict[str, int] = {}
        self._threads: list[threading.Thread] = []
        self._writers: list[Any] = []
        self._ended = threading.Event()
        self._before: dict[int, int] = {}
        for name, pipe in streams.items():
            end = open_standard(session.kernel, pipe["id"], pipe["name"], "r" if name == "stdin" else "w")
            reader, writer = os.pipe()
            if name == "stdin":
                self.given[name] = reader
                thread = threading.Thread(target=_feed, args=(end, writer), daemon=True)
            else:
                self.given[name] = writer
                self._writers.append(end)
                thread = threading.Thread(target=self._drain, args=(end, reader), daemon=True)
                self._threads.append(thread)
            thread.name = f"rackactor-{name}"
            thread.start()

    def begun(self) -> None:
        """Close our copies of what the process has now."""
        for descriptor in self.given.values():
            os.close(descriptor)
        self.given = {}

    def become_standard(self) -> None:
        """Make them the standard files of this very process."""
        for name, descriptor in self.given.items():
            if name != "stdin":
                self._before[_NUMBERS[name]] = os.dup(_NUMBERS[name])
            os.dup2(descriptor, _NUMBERS[name])
        if "stdin" in self.given:
            sys.stdin = open(0, closefd=False)  # noqa: SIM115 - it lives as long as the process
        self.begun()

    def finish(self, *, clean: bool) -> None:
        """Read what the process has left, and close.

        Args:
            clean: it ended by itself; else readers hear how it did, from the supervisor.
        """
        self._ended.set()
        self.begun()
        for number, descriptor in self._before.items():
            os.dup2(descriptor, number)  # whatever is still said goes where it went without us
            os.close(descriptor)
        for thread in self._threads:
            thread.join()
        if clean:
            for writer in self._writers:
                writer.close()

    def _drain(self, writer: Any, descriptor: int) -> None:
        """Send what the process writes."""
        rest = b""
        try:
            while chunk := self._read(descriptor):
                end = chunk.rfind(b"\n") + 1
                if end:
                    writer.send(rest + chunk[:end], timeout=None)
                    rest = chunk[end:]
                else:
                    rest += chunk
                if len(rest) >= MAX_LINE:
                    writer.send(rest, timeout=None)
                    rest = b""
            if rest:
                writer.send(rest, timeout=None)
        except NoReader:
            pass
        except RackError as error:
            sys.stderr.write(f"rackactor: {error}\n")
        finally:
            os.close(descriptor)

    def _read(self, descriptor: int) -> bytes:
        while not readable([descriptor], _PAUSE):
            if self._ended.is_set():
                return b""
        return os.read(descriptor, _CHUNK)


def _feed(reader: Any, descriptor: int) -> None:
    """Give the process what comes through the pipe; its end, however it comes, is the end of file."""
    try:
        while chunk := reader.read_some():
            view = memoryview(chunk)
            while view:
                view = view[os.write(descriptor, view) :]
    except (BrokenPipeError, PipeClosed):
        pass  # the process reads no more, or has ended: neither do we
    except RackError as error:
        sys.stderr.write(f"rackactor: standard input: {error}\n")
    finally:
        reader.close()
        os.close(descriptor)
