"""Descriptors in reserve: what must be opened is opened although none is left."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator

import pytest

from rackactor_runtime import descriptors


@pytest.fixture
def few() -> Iterator[list[int]]:
    """Give this process a soft limit that it has used up, and a hard one above it."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.dup(0)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken) + 20, before[1]))
    with pytest.raises(OSError, match="Too many open files"):
        while True:
            taken.append(os.dup(0))
    yield taken
    for descriptor in taken:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_call_that_finds_none_gets_one_from_the_reserve(few: list[int]) -> None:
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)
    few.append(descriptors.spared(os.open, os.devnull, os.O_RDONLY))
    assert few[-1] >= soft[0]
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == soft
    with pytest.raises(OSError, match="Too many open files"):
        os.dup(0)


def test_any_other_error_is_the_callers(few: list[int]) -> None:
    with pytest.raises(FileNotFoundError):
        descriptors.spared(os.open, "/no/such/file", os.O_RDONLY)


def test_an_empty_reserve_is_an_error() -> None:
    def refuse() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1] - 3, before[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            descriptors.spared(refuse)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == before[1] - 3
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_reserve_is_kept_below_the_hard_limit() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        descriptors.keep_reserve()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert hard == before[1]
        assert soft == max(hard // 2, hard - descriptors.RESERVE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
