"""What a process finds around it; imported by the processes of `test_surroundings.py`."""

from __future__ import annotations

import faulthandler
import os
import resource
import sys
import warnings
from typing import Any

import rackactor as rack

SHELL = ["sh", "-c", "pwd; umask; ulimit -c; echo $RACK_TEST_X ${RACK_TEST_GONE-unset}"]


def look() -> dict[str, Any]:
    umask = os.umask(0)
    os.umask(umask)
    return {
        "cwd": os.getcwd(),
        "umask": umask,
        "x": os.environ.get("RACK_TEST_X"),
        "gone": os.environ.get("RACK_TEST_GONE"),
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "files": resource.getrlimit(resource.RLIMIT_NOFILE),
        "flags": (sys.flags.optimize, sys.flags.dev_mode, sys.flags.ignore_environment, sys.flags.isolated),
        "warnoptions": sys.warnoptions,
        "faulthandler": faulthandler.is_enabled(),
        "unbuffered": sys.stdout.write_through,  # type: ignore[union-attr]
    }


class Looker(rack.Actor):
    def receiveMsg_str(self, _: str, sender: Any) -> None:
        self.send(sender, look())


def go_on(place: str) -> list[Any]:
    """Change everything, and look from a child's side."""
    os.environ["RACK_TEST_X"] = "nested"
    os.chdir(place)
    os.umask(0o77)
    return [rack.fork(look).result(), rack.fork(SHELL).stdout.read()]


def assertions() -> bool:
    try:
        assert False  # noqa: B011, PT015
    except AssertionError:
        return True
    return False


def warn() -> str:
    try:
        warnings.warn("look out", UserWarning, stacklevel=1)
    except UserWarning:
        return "raised"
    return "shown"


def speak() -> None:
    print("half a line", end="")
    rack.receive()


def report() -> None:
    """Be the program: say how it is here, and in a process."""
    found = [look(), assertions(), warn()]
    with rack.group() as g:
        there = [g.fork(look).result(), g.fork(assertions).result(), g.fork(warn).result()]
        nested = g.fork(lambda: rack.fork(look).result()).result()
    print(found == there and nested == there[0], found[0]["flags"], found[1:], there)


if __name__ == "__main__":
    import surroundtargets

    surroundtargets.report()
