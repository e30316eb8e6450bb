"""Where the program's files lie in a process that cannot see the program's disk: see `rackactor.program.shipping`."""

from __future__ import annotations

import os

#: The directories into which this process has unpacked the program's files, in the order of sys.path.
directories: list[str] = []


def home_of(path: str, source: bytes) -> str:
    """Return where a script lies in this process: among the unpacked files, or else at its author's path."""
    for directory in directories:
        place = os.path.join(directory, os.path.basename(path))
        try:
            with open(place, "rb") as file:
                if file.read() == source:
                    return place
        except OSError:
            continue
    return path


def place_of(path: str) -> str:
    """Return where a file of the program lies in this process: among the unpacked files, or at its author's path."""
    parts = os.path.normpath(path).split(os.sep)
    for first in range(1, len(parts)):  # longest part of the path first
        for directory in directories:
            place = os.path.join(directory, *parts[first:])
            if os.path.isfile(place):
                return place
    return path
