"""Paths of the group's files, as words of a command line: `rack:/a` where a path could also be a local one."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager

from rackactor.errors import RackError

#: What a path of the group begins with where it could be a local one.
SCHEME = "rack:"


def inside(path: str) -> str:
    """Return a path in the group's namespace: `rack:/a`, `/a` and `a` are the same there."""
    return posixpath.normpath("/" + path.removeprefix(SCHEME).lstrip("/"))


@contextmanager
def plainly(scheme: str = SCHEME) -> Iterator[None]:
    """Have the errors of an operating system say which file is meant, as the tools of a shell do.

    Args:
        scheme: what the paths in them begin with where they mix with others.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if isinstance(error, RackError) or error.strerror is None or error.filename is None:
            raise
        other = f" -> {scheme}{error.filename2}" if error.filename2 else ""
        raise RackError(f"{scheme}{error.filename}{other}: {error.strerror}") from error
