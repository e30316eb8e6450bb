"""Programs whose threads a library has replaced: they hear so at once, or work."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("gevent")

PROGRAM = """
import sys
{patch}
import rackactor as rack

class Next(rack.Actor):
    def receiveMsg_int(self, number, sender):
        self.send(sender, number + 1)

with rack.group() as g:
    actor = g.fork(Next)
    said = g.fork(["echo", "x"]).stdout.read()
    print(g.fork(sum, [1, 2]).result(30), actor.ask(1, 30), actor.submit(2).result(30), said)
"""
GEVENT = "import gevent.monkey; gevent.monkey.patch_all({})"
TOLD = "InvalidCall: a group needs real threads, queues and select.epoll, which were replaced in this program by "


def run(patch: str) -> tuple[str, str]:
    program = [sys.executable, "-c", PROGRAM.format(patch=patch)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout, done.stderr


@pytest.mark.parametrize("left", ["", "select=False", "thread=False", "thread=False, select=False"])
def test_green_threads_are_refused(left: str) -> None:
    out, error = run(GEVENT.format(left))
    assert out == ""
    assert TOLD + "gevent: call gevent.monkey.patch_all(thread=False, select=False, queue=False)" in error


def test_all_else_may_be_patched() -> None:
    assert run(GEVENT.format("thread=False, select=False, queue=False"))[0] == "3 2 3 b'x\\n'\n"


def test_whoever_takes_epoll_away() -> None:
    _, error = run("import select; del select.epoll")
    assert TOLD + "some library: have it leave the modules `threading`, `queue` and `select` alone" in error


def test_what_a_debugger_replaces_does_no_harm() -> None:
    patch = "import _thread; start = _thread.start_new_thread; _thread.start_new_thread = lambda *args: start(*args)"
    assert run(patch)[0] == "3 2 3 b'x\\n'\n"
