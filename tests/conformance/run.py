"""Run Thespian's own tests on RackActor's system base, print the pass table, write docs/conformance.md.

    python tests/conformance/run.py [--jobs N] [words for pytest]

Words for pytest (-k globalName) make it a partial run, which leaves the page alone.

Each test that does not pass needs a reason in reasons.toml; one without makes the run fail, as does a process that
is left behind. A test that fails without a reason is run once more by itself, since some of Thespian's measure time.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "conformance.md"
#: Seconds that one test may take; Thespian's longest sleeps for half of it.
TIMEOUT = 90
#: Seconds that the processes of the last test may take to be gone.
PATIENCE = 10.0
#: Marks every process of the run, wherever it is in the tree.
MARK = "RACKACTOR_CONFORMANCE_RUN"


@dataclass
class Outcome:
    """How a test ended."""

    id: str
    #: "passed", "failed" or "skipped".
    outcome: str
    text: str = ""
    again: bool = False

    @property
    def file(self) -> str:
        """The module it is in."""
        return self.id.partition("::")[0]

    @property
    def name(self) -> str:
        """Its name, without the base that all are run on."""
        return self.id.replace("[rackprocBase]", "").replace("-rackprocBase]", "]")


def main() -> int:
    """Run everything; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2, help="tests at a time: most of them sleep a lot (default: 2)")
    options, words = parser.parse_known_args()
    place = Path(tempfile.mkdtemp(prefix="rkc-", dir="/tmp"))  # short: there will be sockets below it
    try:
        return _main(words, options.jobs, place)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _main(words: list[str], jobs: int, place: Path) -> int:
    env = _environment(place)
    outcomes = _run([*words, "-n", str(jobs)] if jobs > 1 else words, place, env)
    if not outcomes:
        print("no test was run")
        return 1
    reasons = _reasons()
    unexplained = [o for o in outcomes.values() if o.outcome == "failed" and not _reason(o, reasons)]
    if unexplained:
        print(f"once more, by themselves: {len(unexplained)}")
        (place / "only").write_text("\n".join(o.id for o in unexplained))
        for outcome in _run(words, place, {**env, "RACKACTOR_CONFORMANCE_ONLY": str(place / "only")}).values():
            outcome.again = True
            outcomes[outcome.id] = outcome
    left = _left(env[MARK])
    results = sorted(outcomes.values(), key=lambda outcome: outcome.id)
    table = _table(results)
    print("\n".join(table))
    missing = [o for o in results if o.outcome != "passed" and not _reason(o, reasons)]
    for outcome in missing:
        print(f"no reason is known for {outcome.name}: {outcome.outcome}: {outcome.text}")
    for process in left:
        print(f"left behind: {process}")
    if not words:
        PAGE.write_text(_page(results, reasons, table))
        print(f"written: {PAGE.relative_to(Path.cwd()) if PAGE.is_relative_to(Path.cwd()) else PAGE}")
    return 1 if missing or left else 0


def _environment(place: Path) -> dict[str, str]:
    env = dict(os.environ)
    # One of Thespian's tests counts on its command's output being buffered.
    env.pop("PYTHONUNBUFFERED", None)
    (place / "run").mkdir(mode=0o700)
    env.update(
        {
            MARK: place.name,
            "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, [env.get("PYTHONPATH")])]),
            "RACKACTOR_CONFORMANCE_OUTCOMES": str(place / "outcomes"),
            "XDG_RUNTIME_DIR": str(place / "run"),
            "THESPLOG_FILE": str(place / "thespian.log"),
        }
    )
    return env


def _run(words: list[str], place: Path, env: dict[str, str]) -> dict[str, Outcome]:
    (place / "outcomes").write_text("")
    options = ["-q", "--timeout", str(TIMEOUT), "--tb=short", "-p", "no:cacheprovider", "-c", os.devnull]
    command = [sys.executable, "-m", "pytest", "-p", "plugin", *options, "--rootdir", str(place), *words]
    subprocess.run([*command, "--pyargs", "thespian.test"], cwd=place, env=env, check=False)
    outcomes: dict[str, Outcome] = {}
    for line in (place / "outcomes").read_text().splitlines():
        name, when, result, text = json.loads(line)
        known = outcomes.get(name)
        counts = when == "call" or result != "passed"  # a failed setup or teardown is a failure of the test
        if counts and (known is None or known.outcome == "passed"):
            outcomes[name] = Outcome(name, result, text)
    return outcomes


def _reasons() -> list[tuple[str, str]]:
    with open(HERE / "reasons.toml", "rb") as file:
        return [(each["tests"], each["reason"]) for each in tomllib.load(file)["reasons"]]


def _reason(outcome: Outcome, reasons: list[tuple[str, str]]) -> str:
    return next((reason for pattern, reason in reasons if fnmatch.fnmatchcase(outcome.name, pattern)), "")


def _left(mark: str) -> list[str]:
    """Return the processes of the run that are still there."""
    until = time.monotonic() + PATIENCE
    wanted = f"{MARK}={mark}".encode()
    while found := [line for name in os.listdir("/proc") if (line := _marked(name, wanted))]:
        if time.monotonic() > until:
            return found
        time.sleep(0.1)
    return []


def _marked(name: str, wanted: bytes) -> str:
    try:
        if name.isdecimal() and wanted in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
            command = Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ")
            return f"{name} {command.decode(errors='replace')}"
    except OSError:
        pass  # it has just ended, or is not ours
    return ""


def _table(results: list[Outcome]) -> list[str]:
    rows = ["| tests of | passed | failed | skipped |", "|---|--:|--:|--:|"]
    for file in sorted({o.file for o in results}):
        rows.append(_row(f"`{file}`", [o for o in results if o.file == file]))
    return [*rows, _row("**all**", results)]


def _row(name: str, results: list[Outcome]) -> str:
    count = Counter(o.outcome for o in results)
    return f"| {name} | {count['passed']} | {count['failed']} | {count['skipped']} |"


def _page(results: list[Outcome], reasons: list[tuple[str, str]], table: list[str]) -> str:
    count = Counter(o.outcome for o in results)
    again = [o.name for o in results if o.again and o.outcome == "passed"]
    text = (
        (HERE / "page.md")
        .read_text()
        .format(
            thespian=version("thespian"),
            python=platform.python_version(),
            passed=count["passed"],
            failed=count["failed"],
            skipped=count["skipped"],
            all=len(results),
            table="\n".join(table),
            again="".join(f"Passed only when it was run once more, by itself: `{name}`.\n" for name in again),
        )
    )
    lines = []
    for reason in dict.fromkeys(_reason(o, reasons) for o in results if o.outcome != "passed"):
        lines += ["", f"**{reason or 'No reason is known.'}**", ""]
        others = [o for o in results if o.outcome != "passed" and _reason(o, reasons) == reason]
        lines += [f"- `{o.name}`: {o.outcome}" for o in others]
    return text + "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
