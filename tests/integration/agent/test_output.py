"""What processes print reaches whoever reads it: all of it, however slowly it is read."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from rackcommand import Rack, a_rack

import rackactor
from rackactor.system.readiness import readable

pytestmark = pytest.mark.timeout(180)

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
        [sys.executable, "-c", SLOWLY], stdin=printing.stdout, capture_output=True, timeout=120, check=True
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


#: Shows how far it is, as progress bars do, until its parent has read a line of standard input.
SHOWING = """
import sys, threading, time
import rackactor as rack
def work(form):
    told = threading.Event()
    threading.Thread(target=lambda: (rack.receive(None), told.set()), daemon=True).start()
    number = 0
    while not told.wait(0.05):
        number += 1
        print(form.format(number), end="", file=sys.stderr, flush=True)
def main(form):
    child = rack.fork(work, form)
    sys.stdin.readline()
    child.tell("enough")
    child.wait()
"""
FORMS = {"a bar": "\r step {}", "a bar that ends": " step {}\r", "dots": " step {}"}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("how", ["python", "rack run"])
def test_progress_shows_as_it_comes(rack: Rack, tmp_path: Path, how: str, form: str) -> None:
    path = tmp_path / "job.py"
    if how == "rack run":
        path.write_text(f"{SHOWING}\nmain({form!r})\n")
    else:
        path.write_text(f"{SHOWING}\nwith rack.group():\n    main({form!r})\n")
    words = [sys.executable, path] if how == "python" else [sys.executable, "-m", "rackactor.cli.main", "run", path]
    running = subprocess.Popen(words, env=rack.env, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert running.stderr is not None
    seen = b""
    try:
        while seen.count(b"step") < 10:  # its process goes on until it is told: none of this is the end's
            assert readable([running.stderr], 30), seen
            seen += os.read(running.stderr.fileno(), 4096)
    finally:
        running.communicate(b"\n", timeout=120)
    assert running.returncode == 0
    assert seen.startswith(form.format(1).encode() + form.format(2).encode())


#: What a program may have put in the place of its standard output; what children print comes there.
REPLACED = """
import contextlib, io, sys
import rackactor as rack
kept = io.StringIO()
below = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
class Proxy:  # as rich's: it has the real file's attributes, its buffer among them
    def __init__(self, file): self.file = file
    def write(self, text): kept.write(text)
    def flush(self): pass
    def __getattr__(self, name): return getattr(self.file, name)
def work(): print("one \\u00e9"); sys.stdout.buffer.write(b"two \\xff\\n")
for file in kept, Proxy(sys.stdout), below:
    with contextlib.redirect_stdout(file), rack.group() as g:
        g.fork(work).wait()
sys.stderr.write(repr((kept.getvalue(), below.buffer.getvalue())))
"""


def test_what_a_program_has_put_in_the_place_of_its_output_gets_text(rack: Rack) -> None:
    done = subprocess.run([sys.executable, "-c", REPLACED], env=rack.env, capture_output=True, text=True, timeout=120)
    assert done.stdout == ""
    assert ast.literal_eval(done.stderr) == ("one é\ntwo \\xff\n" * 2, b"one \\xe9\ntwo \\xff\n")
