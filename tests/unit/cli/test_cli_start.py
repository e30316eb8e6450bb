"""What the start of `rack` imports: the modules of commands that are not used cost each start their time."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

_STARTED = "import sys; from rackactor.cli.main import RackApp; RackApp(); print(*sys.modules)"


def test_a_start_imports_no_command() -> None:
    done = subprocess.run([sys.executable, "-c", _STARTED], capture_output=True, text=True, timeout=60, check=True)
    commands = {"rackactor.cli.commands.completing", *(found.module for found in entry_points(group="rack.commands"))}
    assert len(commands) > 5
    assert not commands & set(done.stdout.split())
