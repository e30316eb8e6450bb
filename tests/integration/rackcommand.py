"""The `rack` command as a person runs it: a program of its own, with a place of its own for its groups."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
RACK = BIN / "rack"
#: Seconds that any one command may take, on a machine with much else to do; some of them are scripts of many commands.
BOUND = 120.0


class Rack:
    """Run `rack` commands that see only each other's groups."""

    def __init__(self, place: str) -> None:
        self.groups = Path(place) / "rackactor"
        self.env = {**os.environ, "XDG_RUNTIME_DIR": place, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
        for name in [name for name in self.env if name.startswith("RACK_")]:
            del self.env[name]

    def __call__(self, *words: Any, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run one to its end."""
        given = {"input": ""} | options
        return subprocess.run(
            [RACK, *map(str, words)], env=self.env, text=True, capture_output=True, timeout=BOUND, check=False, **given
        )

    def start(self, *words: Any, **options: Any) -> subprocess.Popen[str]:
        """Start one; its streams are pipes."""
        pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        return subprocess.Popen([RACK, *map(str, words)], env=self.env, text=True, bufsize=1, **pipe)

    def left(self) -> list[str]:
        """Return what groups have left behind."""
        return sorted(path.name for path in self.groups.iterdir()) if self.groups.exists() else []

    def nothing_left_within(self, seconds: float) -> bool:
        """Tell whether everything goes within this time."""
        until = time.monotonic() + seconds
        while self.left() and time.monotonic() < until:
            time.sleep(0.02)
        return not self.left()


@contextmanager
def a_rack() -> Iterator[Rack]:
    """Give a place for groups (a short path: sockets lie in it), and see that nothing is left in it."""
    place = tempfile.mkdtemp(prefix="rack-")
    try:
        rack = Rack(place)
        yield rack
        assert rack.nothing_left_within(5), rack.left()
    finally:
        shutil.rmtree(place, ignore_errors=True)
