"""What processes print reaches whoever reads it: all of it, however slowly it is read."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from rackcommand import Rack, a_rack

import rackactor

#: More than the supervisor keeps of a log that nobody follows, and than it sends at once.
LINES = 60_000
PRINTS = f"""
import rackactor as rack
def work():
    for number in range({LINES}): print("x" * 98, flush=False)
with rack.group() as g:
    g.fork(work).wait()
"""
#: Reads as a person in a pager does: long after everything has ended.
SLOWLY = """
import os, time
count = 0
while data := os.read(0, 65536):
    count += len(data)
    time.sleep(0.02)
print(count)
"""


@pytest.fixture
def rack() -> Iterator[Rack]:
    with a_rack() as made:
        yield made


@pytest.mark.parametrize("how", ["python", "rack run"])
def test_a_slow_reader_gets_all_of_it(rack: Rack, how: str) -> None:
    command = [sys.executable, "-c", PRINTS]
    if how == "rack run":
        text = PRINTS.replace("with rack.group() as g:\n    g.fork", "if True:\n    rack.fork")
        command = [sys.executable, "-m", "rackactor.cli.main", "run", "/dev/stdin"]
    else:
        text = ""
    printing = subprocess.Popen(command, env=rack.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert printing.stdin is not None
    printing.stdin.write(text.encode())
    printing.stdin.close()
    read = subprocess.run(
        [sys.executable, "-c", SLOWLY], stdin=printing.stdout, capture_output=True, timeout=40, check=True
    )
    assert printing.stdout is not None
    printing.stdout.close()
    assert printing.wait(10) == 0
    assert int(read.stdout) == LINES * 99


def test_output_and_errors_are_read_side_by_side() -> None:
    both = "i=0; while [ $i -lt 2000 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done"
    got: dict[str, list[bytes]] = {}
    with rackactor.group() as group:
        process = group.fork(["sh", "-c", both])
        files = {"out": process.stdout, "err": process.stderr}
        threads = [
            threading.Thread(target=lambda n=name, f=file: got.update({n: f.readlines()}), daemon=True)  # type: ignore[misc]
            for name, file in files.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert got == {name: [f"{name} {i}\n".encode() for i in range(2000)] for name in files}


def test_a_reader_that_closes_does_not_stop_the_other() -> None:
    with rackactor.group() as group:
        process = group.fork(["sh", "-c", "echo out; echo err >&2; read line; echo more >&2"])
        assert process.stdout.readline() == b"out\n"
        assert process.stderr.readline() == b"err\n"
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == b"more\n"
