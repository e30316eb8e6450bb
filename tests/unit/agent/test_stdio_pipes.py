"""Output that goes into a pipe of the group: how much of it is read when the process has ended."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from rackactor_runtime.agent import stdio_pipes


@pytest.fixture
def ends() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    try:
        yield reader, writer
    finally:
        os.close(reader)
        os.close(writer)


def test_what_is_written_right_before_the_end_is_read(ends: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The process writes, and ends, between a look that finds nothing and the question whether it has ended."""
    reader, writer = ends
    ended = threading.Event()
    looked = stdio_pipes.readable

    def look(files: list[int], timeout: float | None = None) -> list[int]:
        found = looked(files, 0)
        if not ended.is_set():
            os.write(writer, b"the only line\n")
            ended.set()
        return found

    monkeypatch.setattr(stdio_pipes, "readable", look)
    assert b"".join(stdio_pipes.chunks(reader, ended)) == b"the only line\n"


def test_all_that_fits_into_the_pipe_is_read(ends: tuple[int, int]) -> None:
    reader, writer = ends
    os.set_blocking(writer, False)
    size = 0
    while True:
        try:
            size += os.write(writer, bytes(4096))
        except BlockingIOError:
            break
    ended = threading.Event()
    ended.set()
    assert sum(map(len, stdio_pipes.chunks(reader, ended))) == size > 0


def test_descendants_that_write_without_end_do_not_keep_the_process(
    ends: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = ends
    monkeypatch.setattr(stdio_pipes, "_AFTERWARDS", 0.1)
    ended = threading.Event()
    ended.set()
    os.write(writer, b"x")
    count = 0
    for chunk in stdio_pipes.chunks(reader, ended):
        count += len(chunk)
        os.write(writer, b"x")
    assert count > 1
