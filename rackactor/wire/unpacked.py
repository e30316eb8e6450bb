"""Where the program's files lie in a process that does not see the program's disk: see `rackactor.program.shipping`."""

from __future__ import annotations

import os

#: The directories into which this process has unpacked what came with it, in the order of sys.path.
directories: list[str] = []


def home_of(path: str, source: bytes) -> str:
    """Return where a script lies in this process: beside what came with it, or else where its author has it."""
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
    """Return where a file of the program lies in this process: what came with it, or its author's."""
    parts = os.path.normpath(path).split(os.sep)
    for first in range(1, len(parts)):  # the longest part of its path first
        for directory in directories:
            place = os.path.join(directory, *parts[first:])
            if os.path.isfile(place):
                return place
    return path
