"""Paths of the group's files on a command line: `rack:/a` where a path could also be a local one."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from contextlib import contextmanager

from rackactor.errors import RackError

#: Prefix of a path of the group where it could be a local one.
SCHEME = "rack:"


def inside(path: str) -> str:
    """Return a path in the group's namespace: `rack:/a`, `/a` and `a` are the same there."""
    return posixpath.normpath("/" + path.removeprefix(SCHEME).lstrip("/"))


@contextmanager
def plainly(scheme: str = SCHEME) -> Iterator[None]:
    """Make OSErrors name their file, as the tools of a shell do.

    Args:
        scheme: prefix of the paths in messages where they mix with local ones.
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
