"""`python -m chaos`: run, judge, print the report and keep it in `docs/`."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import netlab
from support import MARK

from . import memoryload, pipeload, report
from .leftovers import Leftovers
from .parts import Orders, Outcome
from .weighing import Weighing

ROOT = Path(__file__).resolve().parents[2]
#: MB of memory of its own that a process of the run may have at the most.
BOUND = 128.0

Part = Callable[[Orders, str], Iterator[Outcome]]


def main() -> int:
    """Run; the exit status tells whether nothing was found."""
    options = _parse()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whatever ends it, what it has made goes
    home = Path(tempfile.mkdtemp(prefix="rackactor-chaos-", dir=options.folder))
    os.environ.update([MARK, ("XDG_RUNTIME_DIR", tempfile.mkdtemp(prefix="rk-", dir="/tmp"))])
    before = Leftovers.now()
    run = report.Run(options.seed, options.messages, options.operations)
    begin = time.monotonic()
    try:
        with Weighing() as weighing:
            for outcome in _outcomes(options, home, begin + options.minutes * 60, run):
                run.outcomes.append(outcome)
                _say(f"    {outcome.counts}; {len(outcome.violations)} violations")
                for violation in outcome.violations:
                    _say(f"    VIOLATION: {violation}")
    except KeyboardInterrupt:
        _say("interrupted: no report")
        return 130
    finally:
        shutil.rmtree(home, ignore_errors=True)
    run.left = before.left()
    run.memory, run.total, run.bound = weighing.peaks, weighing.total, BOUND
    run.seconds = time.monotonic() - begin
    shutil.rmtree(os.environ["XDG_RUNTIME_DIR"], ignore_errors=True)
    page = report.markdown(run)
    print(page)
    if not options.no_write and not options.only:
        (ROOT / "docs/chaos.md").write_text(page, "utf-8")
        (ROOT / "docs/chaos.json").write_text(report.as_json(run), "utf-8")
    return 1 if run.violations else 0


def _outcomes(options: argparse.Namespace, home: Path, until: float, run: report.Run) -> Iterator[Outcome]:
    """Run the parts; where networks can be had, a part of each in one with cables that are pulled."""
    hindrance = netlab.hindrance() if options.network else "not asked for"
    run.hindrance = hindrance
    apart = 0.0 if hindrance else 0.2
    for part, amount in ((pipeload.run, options.messages), (memoryload.run, options.operations)):
        if not amount:
            continue
        folder = home / part.__module__
        folder.mkdir()
        far = round(amount * apart)
        yield from part(Orders(options.seed, amount - far, until, folder, _say, options.only), "one host")
        if far:
            folder = home / f"{part.__module__}-far"
            folder.mkdir()
            with netlab.Lab(3) as lab:
                yield from part(
                    Orders(options.seed, far, until, folder, _say, options.only, lab.options, lab), "network namespaces"
                )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="which faults come when (default 1)")
    parser.add_argument("--messages", type=int, default=10_000_000, help="messages through pipes (default 10,000,000)")
    parser.add_argument("--operations", type=int, default=1_000_000, help="of shared memory (default 1,000,000)")
    parser.add_argument("--minutes", type=float, default=40.0, help="after which what is not done is a violation (40)")
    parser.add_argument("--no-network", dest="network", action="store_false", help="no network namespaces")
    parser.add_argument("--only", default="", metavar="WORDS", help="parts with these words in their title; no report")
    parser.add_argument("--no-write", action="store_true", help="do not write docs/chaos.md and .json")
    # Not below /tmp: what hosts usually share is hidden from processes in namespaces.
    default = "/var/cache" if os.geteuid() == 0 else None
    parser.add_argument("--folder", default=default, help="where journals are kept meanwhile, some 500 MB")
    return parser.parse_args()


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
