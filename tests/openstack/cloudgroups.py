"""Groups on a real cloud, started as any program starts them, and what the cloud's lists say of one group."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from leftovers import KINDS

from rackactor_runtime.providers.nova.marks import names
from rackactor_runtime.providers.nova.provider import late

#: Seconds that a group has to begin, and that everything of it has to be gone.
BEGIN, GONE = 200.0, 120.0

#: What each of the programs begins with.
_HEAD = """
import json, sys
import rackactor as rack

settings = json.loads(sys.argv[1])

def say(word, **more):
    print(json.dumps({"word": word, **more}), flush=True)
"""

SCRIPT = """
import time

with rack.group("trial", cloud=settings.pop("cloud"), deadline="20m", provider_settings=settings,
                progress=lambda text: say("progress", text=text)) as group:
    say("up", gid=group.gid, keeper=group._supervisor.pid)
    child = group.fork(["sh", "-c", sys.argv[2]], **json.loads(sys.argv[3]))
    say("forked", pid=child.pid)
    while not child.info()["started"] and child.is_alive():
        time.sleep(0.2)
    say("running")
    status = child.wait(timeout=150)
    say("status", text=str(status), cause=str(status.cause), code=status.code, evidence=status.evidence)
say("ended")
"""

#: One process serves a port, another one tries it, and then the first writes into a pipe what the second reads.
PIPE_SCRIPT = """
import socket

def write(feed, count):
    served = socket.create_server(("", 5001))
    rack.receive().reply("served")
    for number in range(count):
        feed.send(number)

def read(numbers, address):
    try:
        socket.create_connection((address, 5001), 5).close()
        way = True
    except OSError:
        way = False
    return way, sum(numbers)

with rack.group("trial", cloud=settings.pop("cloud"), deadline="20m", provider_settings=settings) as group:
    say("up", gid=group.gid, keeper=group._supervisor.pid)
    sys.stdin.readline()
    numbers, feed = group.pipe()
    writer = group.fork(write, feed, int(sys.argv[2]))
    reached = writer.submit("go")
    feed.close()
    reached.result(150)
    reader = group.fork(read, numbers, writer.info()["address"])
    numbers.close()
    way, total = reader.result(timeout=150)
    say("read", way=way, total=total)
say("ended")
"""

#: A process that forks another one, and waits to be told to end.
PARENT_SCRIPT = """

def parent():
    message = rack.receive(None)
    child = rack.fork(["sleep", "600"])
    message.reply(child.pid)
    rack.receive(None)

with rack.group("trial", cloud=settings.pop("cloud"), deadline="20m", provider_settings=settings) as group:
    say("up", gid=group.gid, keeper=group._supervisor.pid)
    child = group.fork(parent, **json.loads(sys.argv[3]))
    say("forked", pid=child.pid, child=child.ask("fork", timeout=150))
    sys.stdin.readline()
say("ended")
"""


class Program:
    """A program that makes a group and waits for the one process in it.

    Attributes:
        gid: of its group, once that is up.
    """

    def __init__(self, place: Path, settings: dict[str, Any], command: str, text: str, fork: dict[str, Any]) -> None:
        self.gid = ""
        self.keeper = 0
        self.said: list[dict[str, Any]] = []
        script = place / "program.py"
        script.write_text(_HEAD + text)
        environment = {**os.environ, "XDG_RUNTIME_DIR": str(place)}
        self.groups = place / "rackactor"
        words = [sys.executable, str(script), json.dumps(settings), command, json.dumps(fork)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, env=environment)

    def go_on(self, text: str = "") -> None:
        """Have it do what it waits with, or what a text means to it."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{text}\n")
        self.process.stdin.flush()

    def hear(self, word: str) -> dict[str, Any]:
        """Return what it says with this word, or fail when it ends before."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            fields: dict[str, Any] = json.loads(line)
            self.said.append(fields)
            self.gid, self.keeper = fields.get("gid", self.gid), fields.get("keeper", self.keeper)
            if fields["word"] == word:
                return fields
        raise AssertionError(f"it ended before {word!r}: {self.said}")


@contextmanager
def a_program(settings: dict[str, Any], command: str = "exit 7", text: str = SCRIPT, **fork: Any) -> Iterator[Program]:
    """Run a program with a group; in the end it is not there any more, whatever the test did.

    Args:
        settings: of the group: `cloud`, and those of the provider.
        command: for the shell that is its process; or what another `text` takes.
        text: of the program, behind what all of them begin with.
        fork: what the fork is told.
    """
    with tempfile.TemporaryDirectory(prefix="rack-") as place:
        program = Program(Path(place), settings, command, text, fork)
        try:
            yield program
        finally:
            program.process.kill()
            program.process.wait()
            for stream in (program.process.stdin, program.process.stdout):
                if stream is not None:
                    stream.close()
            eventually(lambda: not program.keeper or not psutil.pid_exists(program.keeper), GONE)


def end_lookout(gid: str) -> None:
    """End the program that looks for what may still come of a group whose supervisor was gone without a last word.

    It would look for a quarter of an hour. There is none where the supervisor has had its last word.
    """
    found = [
        each for each in psutil.process_iter(["cmdline"]) if {late.__name__, gid} <= {*(each.info["cmdline"] or [])}
    ]
    assert len(found) <= 1, found
    for each in found:
        each.terminate()
        each.wait(60)


def of_group(cloud: Any, gid: str) -> set[str]:
    """Return what the cloud lists of a group, by names and descriptions."""
    found = set()
    for kind, listing in KINDS.items():
        for each in listing(cloud):
            claim = names.claim(each.name or "", getattr(each, "description", None) or "")
            if claim is not None and claim.gid12 == gid[:12]:
                found.add(f"{kind} {each.name or each.id}")
    return found


def server_of(cloud: Any, gid: str, pid: int) -> Any:
    """Return the server of a process, None before there is one."""
    rows = [row for row in cloud.compute.servers(name=f"^rack-{gid[:12]}-{pid}-") if row.metadata.get("gid") == gid]
    assert len(rows) <= 1, rows
    return rows[0] if rows else None


def active(cloud: Any, gid: str, pid: int) -> Any:
    """Wait until the server of a process runs, and return it."""
    found = eventually(
        lambda: (row := server_of(cloud, gid, pid)) is not None and row.status == "ACTIVE" and row, BEGIN
    )
    assert found, server_of(cloud, gid, pid)
    return found


def eventually(condition: Callable[[], Any], timeout: float) -> Any:
    """Wait until the cloud says so; return what it said last."""
    until = time.monotonic() + timeout
    while not (found := condition()) and time.monotonic() < until:
        time.sleep(0.5)
    return found


def gone(cloud: Any, gid: str, timeout: float = GONE) -> bool:
    """Tell whether nothing of a group is left, and say what is."""
    eventually(lambda: not of_group(cloud, gid), timeout)
    left = of_group(cloud, gid)
    assert not left, left
    return True
