"""Pipes of the group as standard files of a process: a thread for each copies between it and a system pipe.

Output is cut into messages at line ends, so that a line is never split between two readers nor mixed with another
writer's. When the last reader is gone, the process's own pipe is closed: its next write gets it a SIGPIPE.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import termios
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from rackactor.errors import NoReader, PipeClosed, RackError
from rackactor.syscalls.session import Session
from rackactor.system import threads
from rackactor.system.readiness import readable

#: A line longer than this is split, bytes.
MAX_LINE = 1 << 20
_CHUNK = 256 << 10
#: How often a thread that waits for output checks whether the process has ended, seconds.
_PAUSE = 0.2
#: How long the descendants of an ended process may still write without a pause, seconds.
_AFTERWARDS = 2.0
_NUMBERS = {"stdin": 0, "stdout": 1, "stderr": 2}


class Piping:
    """The standard files of a process that are pipes of the group.

    Args:
        session: this process's membership.
        streams: which pipe each is, by the name of the file.

    Attributes:
        given: the descriptors for the process, by the name of the file.
    """

    def __init__(self, session: Session, streams: Mapping[str, Any]) -> None:
        from rackactor.ipc.pipes.ends import open_standard  # imported only where there are pipes

        self.given: dict[str, int] = {}
        self._threads: list[threading.Thread] = []
        self._lost: list[str] = []
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
                thread = threading.Thread(target=self._drain, args=(name, end, reader), daemon=True)
                self._threads.append(thread)
            thread.name = f"rackactor-{name}"
            threads.start(thread)

    def begun(self) -> None:
        """Close our copies of the descriptors that the process has now."""
        for descriptor in self.given.values():
            os.close(descriptor)
        self.given = {}

    def become_standard(self) -> None:
        """Make them the standard files of this process itself."""
        for name, descriptor in self.given.items():
            if name != "stdin":
                self._before[_NUMBERS[name]] = os.dup(_NUMBERS[name])
            os.dup2(descriptor, _NUMBERS[name])
        if "stdin" in self.given:
            sys.stdin = open(0, closefd=False)  # noqa: SIM115 - it lives as long as the process
        self.begun()

    def finish(self, *, clean: bool) -> list[str]:
        """Read what the process has left, and close.

        Args:
            clean: it ended by itself; otherwise the supervisor tells readers how it ended.

        Returns: what is lost of its output, a sentence for each file.
        """
        self._ended.set()
        self.begun()
        for number, descriptor in self._before.items():
            os.dup2(descriptor, number)  # later output goes where it would go without this
            os.close(descriptor)
        for thread in self._threads:
            thread.join()
        if clean:
            for writer in self._writers:
                writer.close()
        return self._lost

    def _drain(self, name: str, writer: Any, descriptor: int) -> None:
        """Send the process's output."""
        rest = b""
        try:
            for chunk in chunks(descriptor, self._ended):
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
        except Exception as error:  # no memory is left, or no descriptor: the reader must not take this for the end
            self._lost.append(f"the last of what was written to {name} is lost: {type(error).__name__}: {error}")
        finally:
            os.close(descriptor)


def chunks(descriptor: int, ended: threading.Event) -> Iterator[bytes]:
    """Yield what is written into a pipe until there is no writer, or the process has ended.

    All that the process has written is read. Its descendants may keep the pipe open without end: of their later output
    only what comes without a pause is read, and for `_AFTERWARDS` at most.

    Args:
        descriptor: the reading end.
        ended: set after the process's last write.
    """
    while not ended.is_set():
        if readable([descriptor], _PAUSE):
            chunk = os.read(descriptor, _CHUNK)
            if not chunk:
                return
            yield chunk
    left = _unread(descriptor)  # data seen before `ended` was set would not count
    while left > 0:
        chunk = os.read(descriptor, min(left, _CHUNK))
        left -= len(chunk)
        yield chunk
    until = time.monotonic() + _AFTERWARDS
    while time.monotonic() < until and readable([descriptor], _PAUSE) and (chunk := os.read(descriptor, _CHUNK)):
        yield chunk


def _unread(descriptor: int) -> int:
    """Return how many bytes lie in a pipe."""
    return int(struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)))[0])


def _feed(reader: Any, descriptor: int) -> None:
    """Copy the pipe's contents to the process; any end of the pipe is an end of file."""
    try:
        while chunk := reader.read_some():
            view = memoryview(chunk)
            while view:
                view = view[os.write(descriptor, view) :]
    except (BrokenPipeError, PipeClosed):
        pass  # the process does not read any more, or has ended
    except RackError as error:
        sys.stderr.write(f"rackactor: standard input: {error}\n")
    finally:
        reader.close()
        os.close(descriptor)
