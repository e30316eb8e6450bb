"""Pipes of the group as the standard files of commands and functions, and pipelines of them."""

from __future__ import annotations

import os
import signal
import sys
import threading

import pytest

import rackactor as rack

ENOUGH = 30.0


@pytest.fixture
def group(pipe_group: rack.Group) -> rack.Group:
    return pipe_group


def test_a_command_between_two_pipes(group: rack.Group) -> None:
    r1, w1 = group.pipe()
    r2, w2 = group.pipe()
    child = group.fork(["tr", "a-z", "A-Z"], stdin=r1, stdout=w2)
    r1.close()
    w2.close()
    w1.write(b"one\ntwo\n")
    w1.close()
    assert r2.read() == b"ONE\nTWO\n"
    assert child.wait(ENOUGH).ok


def test_output_and_error_apart_and_whole_lines(group: rack.Group) -> None:
    out, w1 = group.pipe()
    err, w2 = group.pipe()
    text = "import sys\nfor i in range(2000): print('x' * 50, i)\nprint('wrong', file=sys.stderr)"
    children = group.fork([sys.executable, "-c", text], n=2, stdout=w1, stderr=w2)
    w1.close()
    w2.close()
    lines = out.read().splitlines()
    assert sorted(lines) == sorted([b"x" * 50 + b" %d" % i for i in range(2000)] * 2)
    assert err.read() == b"wrong\n" * 2
    assert all(child.wait(ENOUGH).ok for child in children)


def test_binary_is_safe(group: rack.Group) -> None:
    data = os.urandom(3 << 20)
    line = group.run("cat") | group.run(["cat"])
    line.stdin.write(data[: 1 << 20])

    def feed() -> None:
        line.stdin.write(data[1 << 20 :])
        line.stdin.close()

    thread = threading.Thread(target=feed)
    thread.start()
    assert line.stdout.read() == data
    thread.join(ENOUGH)
    assert [status.code for status in line.wait(ENOUGH)] == [0, 0]


def test_a_pipeline(group: rack.Group) -> None:
    words = [f"word{n:05}" for n in range(20_000)]
    line = group.run("seq -f word%05.0f 19999 -1 0") | group.run("tr a-z A-Z", n=3) | group.run("sort")
    assert line.result(ENOUGH) == ("\n".join(words).upper() + "\n").encode()
    assert line.status == 0
    assert [[p.name for p in stage] for stage in line.processes] == [["seq"], ["tr"] * 3, ["sort"]]


def test_who_has_enough_stops_the_rest(group: rack.Group) -> None:
    line = group.run("yes") | group.run("head -n 1")
    assert list(line) == [b"y\n"]
    first, last = line.wait(ENOUGH)
    assert (first.signal, first.code) == (signal.SIGPIPE, 141)
    assert last.ok
    assert line.status == 141, "as bash's pipefail"
    assert (group.run("yes") | group.run("head -n 1")).result(ENOUGH) == b"y\n"


def test_failures(group: rack.Group) -> None:
    line = group.run("sh -c 'exit 3'") | group.run("sh -c 'cat; exit 4'") | group.run("cat")
    assert [status.code for status in line.wait(ENOUGH)] == [3, 4, 0]
    assert line.status == 4
    with pytest.raises(rack.ProcessDied, match="sh of the pipeline"):
        (group.run("sh -c 'echo x; exit 3'") | group.run("cat")).result(ENOUGH)
    with pytest.raises(rack.ProcessDied):
        group.run("no-such-command-at-all").result(ENOUGH)
    with pytest.raises(rack.InvalidCall):
        group.run("")
    with pytest.raises(rack.InvalidCall, match="writing end"):
        group.fork(["true"], stdout=1)


def test_a_function_in_a_pipeline(group: rack.Group) -> None:
    def number() -> None:
        for index, line in enumerate(sys.stdin, 1):
            print(index, line, end="")

    line = group.run(["printf", "a\\nb\\n"]) | group.run(number)
    assert line.result(ENOUGH) == b"1 a\n2 b\n"


def test_a_fifo_as_a_standard_file(group: rack.Group) -> None:
    assert group.fork(["echo", "hello"], stdout=group.pipe("greeting")).wait(ENOUGH).ok
    assert group.pipe("greeting", "r", binary=True).read() == b"hello\n"
