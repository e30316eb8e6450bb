"""Run all peers in interleaved rounds, a driver process for each peer and round, each measure bounded."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from . import processes
from .results import PeerResult, Results
from .suite import SUITES

ROOT = Path(__file__).resolve().parent.parent
#: Seconds of the crowd that must start, answer and end: RackActor's own measure.
_MANY = {"many": 180.0}
#: Seconds for a driver's start, a peer's start or stop, and the end of workers.
BOUND = 60.0
#: Seconds that a peer's processes may take to end by themselves after it said that it stopped.
SETTLE = 3.0


class Runner:
    """Fill `results`; a failure is written into its cell, and that cell is not tried again."""

    def __init__(self, results: Results, effort: str, say: Callable[[str], None]) -> None:
        self.results = results
        self.suite = SUITES[results.suite]
        self.bounds = {m.name: m.bound for m in self.suite.measures} | _MANY
        self.effort = effort
        self.say = say

    def run(self) -> None:
        """Run the rounds. The peer that begins changes from round to round."""
        processes.adopt_orphans()
        names = list(self.results.peers)
        for number in range(self.results.rounds):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                self.say(f"{self.suite.name}, round {number + 1} of {self.results.rounds}: {name}")
                self._run_peer(name)

    def _run_peer(self, name: str) -> None:
        result = self.results.peers[name]
        wanted = [m.name for m in self.suite.measures]
        while wanted and not result.absent:
            wanted = [m for m in wanted if not result.cell(m).reason]
            wanted = self._drive(name, result, wanted) if wanted else []
        if self.suite.crowd and name == "rackactor" and not result.absent and not result.cell("many").reason:
            self._drive(name, result, ["many"])

    def _drive(self, name: str, result: PeerResult, wanted: list[str]) -> list[str]:
        """Run one driver; return the measures that it did not come to."""
        with Driver(self.suite.name, name, self.effort, wanted) as driver:
            current = "start"
            for event in driver.events():
                kind = event["event"]
                if kind == "begin":
                    current = event["measure"]
                    driver.bound = self.bounds.get(current, BOUND)
                elif kind in ("timeout", "died"):
                    return self._broken(result, current, event["reason"], wanted)
                else:
                    self._note(result, event)
        if driver.left_behind:
            result.remark(f"left behind after its stop: {', '.join(sorted(set(driver.left_behind)))}")
        return []

    def _broken(self, result: PeerResult, current: str, reason: str, wanted: list[str]) -> list[str]:
        """Write down why the driver is no more; return what another driver may still measure."""
        self.say(f"    {current}: {reason}")
        if current in wanted:
            result.cell(current).reason = reason
            return wanted[wanted.index(current) + 1 :]
        if current == "start":
            result.absent = f"did not start: {reason}"
            return []
        result.remark(f"{current}: {reason}")
        return []

    def _note(self, result: PeerResult, event: dict[str, Any]) -> None:
        match event["event"]:
            case "versions":
                result.versions, result.note, result.most = event["versions"], event["note"], event["most"]
            case "absent":
                result.absent = event["reason"]
                self.say(f"    {result.absent}")
            case "figures":
                result.cell(event["measure"]).figures += event["figures"]
                self.say(f"    {event['measure']}: {' '.join(f'{f:.4g}' for f in event['figures'])}")
            case "failed" | "unsupported" as kind:
                cell = result.cell(event["measure"])
                cell.reason, cell.unsupported = event["reason"], kind == "unsupported"
                self.say(f"    {event['measure']}: {cell.reason}")


class Driver:
    """A driver process, its private folder, and the end of everything that it started."""

    def __init__(self, suite: str, name: str, effort: str, wanted: list[str]) -> None:
        self.words = [suite, name, effort, *wanted]
        #: Names of the processes that had to be killed although the driver said that it had ended.
        self.left_behind: list[str] = []
        #: Seconds in which the next event must come.
        self.bound = BOUND

    def __enter__(self) -> Driver:
        self.folder = tempfile.TemporaryDirectory(prefix="rb", ignore_cleanup_errors=True)
        home = Path(self.folder.name)
        (home / "run").mkdir(mode=0o700)
        self.output = home / "output"
        self.read, write = os.pipe()
        suite, name, *words = self.words
        with open(self.output, "wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.driver", suite, name, str(write), *words],
                cwd=ROOT,
                env=_environment(home),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[write],
                start_new_session=True,  # Ctrl-C is the runner's to handle
            )
        os.close(write)
        self.ended = False
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.read)
        if self.ended:
            until = time.monotonic() + SETTLE
            while psutil.Process().children(recursive=True) and time.monotonic() < until:
                self.process.poll()
                processes.reap_adopted(self.process.pid)
                time.sleep(0.02)
        left = processes.end_all()
        self.process.wait()
        if self.ended:
            self.left_behind = left
        self.folder.cleanup()

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield what the driver tells, and at last `timeout` or `died` when it does not come to its end."""
        buffer = b""
        heard = time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(self.read, selectors.EVENT_READ)
            while True:
                # Workers may hold the pipe open, so its end is not what shows that the driver died.
                dead = self.process.poll() is not None
                if selector.select(0 if dead else 0.2):
                    data = os.read(self.read, 65536)
                    dead = dead or not data
                    *lines, buffer = (buffer + data).split(b"\n")
                    for line in lines:
                        heard = time.monotonic()
                        event: dict[str, Any] = json.loads(line)
                        yield event
                        if event["event"] in ("end", "absent"):
                            self.ended = True
                            return
                    if lines:
                        continue
                if dead:
                    yield {"event": "died", "reason": self._last_words()}
                    return
                if time.monotonic() - heard > self.bound:
                    yield {"event": "timeout", "reason": f"no end in {self.bound:g} s"}
                    return

    def _last_words(self) -> str:
        """Return the last line that a driver that died has printed."""
        lines = self.output.read_text("utf-8", "replace").strip().splitlines()
        words = lines[-1].strip()[:200] if lines else "without a word"
        return f"driver died with status {self.process.wait(BOUND)}: {words}"


def _environment(home: Path) -> dict[str, str]:
    """Return an environment in which whatever a peer writes lands in the private folder."""
    return os.environ | {
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(home),
        "XDG_RUNTIME_DIR": str(home / "run"),
        "THESPLOG_FILE": str(home / "thespian.log"),
    }
