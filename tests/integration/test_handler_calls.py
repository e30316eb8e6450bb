"""Signal handlers that make calls at the wrong moment, thousands of times: frames of two messages never mix."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "handlercalls.py"


def run(*words: str) -> dict[str, int]:
    done = subprocess.run([sys.executable, PROGRAM, *words], text=True, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    count: dict[str, int] = ast.literal_eval(done.stdout)
    return count


@pytest.mark.timeout(120)
@pytest.mark.parametrize("where", ["script", "process"])
@pytest.mark.parametrize("how", ["catches", "lets"])
def test_handlers_that_make_calls(transport: str, where: str, how: str) -> None:
    count = run(transport, where, how, "2")
    assert count.pop("worked") > 50
    assert all("interrupted a send" in words for words in count), count


@pytest.mark.timeout(120)
@pytest.mark.parametrize("where", ["script", "process"])
def test_handlers_that_raise(transport: str, where: str) -> None:
    """The crank is not turned where they run: what they raise comes out of the call, and tears nothing."""
    assert run(transport, where, "raises", "2")["raised"] >= 50
