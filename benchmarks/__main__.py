"""`python -m benchmarks`: measure, print the tables, write them to `docs/`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import report
from .measures import FULL, QUICK
from .results import PeerResult, Results, as_json, facts
from .runner import ROOT, Runner
from .suite import SUITES, Suite


def main() -> int:
    """Run; the exit status is 0 unless it was interrupted, since a slow machine is no error."""
    options = _parse()
    suites = [suite for suite in SUITES.values() if options.suite in (None, suite.name)]
    asked = options.peers and options.peers.split(",")
    there = {name for suite in suites for name in suite.peers}
    if unknown := [name for name in asked or () if name not in there]:
        print(f"no such peer: {', '.join(unknown)}; there are {', '.join(sorted(there))}", file=sys.stderr)
        return 2
    run = [_results(suite, asked or list(suite.peers), options) for suite in suites]
    try:
        for results in run:
            Runner(results, "quick" if options.quick else "full", _say).run()
    except KeyboardInterrupt:
        print("interrupted: nothing written", file=sys.stderr)
        return 130
    page = report.markdown(run)
    print(page)
    if options.json:
        options.json.write_text(as_json(run), "utf-8")
    _publish(options, run, page)
    return 0


def _results(suite: Suite, asked: list[str], options: argparse.Namespace) -> Results:
    return Results(
        suite=suite.name,
        peers={name: PeerResult() for name in suite.peers if name in asked},
        effort=QUICK if options.quick else FULL,
        rounds=options.rounds or (1 if options.quick else 3),
        facts=facts(),
    )


def _publish(options: argparse.Namespace, run: list[Results], page: str) -> None:
    if options.no_write:
        return
    if options.quick or options.peers or options.suite:
        _say("a partial run: docs/ stays as it is")
        return
    (ROOT / "docs/benchmarks.md").write_text(page, "utf-8")
    (ROOT / "docs/benchmarks.json").write_text(as_json(run), "utf-8")
    _say("written: docs/benchmarks.md, docs/benchmarks.json")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, smaller crowds; docs/ is not written")
    parser.add_argument("--suite", choices=list(SUITES), help="one suite only; docs/ is not written")
    names = ",".join(dict.fromkeys(name for suite in SUITES.values() for name in suite.peers))
    parser.add_argument("--peers", help=f"some of {names}; docs/ is not written")
    parser.add_argument("--rounds", type=int, help="rounds (default 3, quick 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the raw figures there, too")
    parser.add_argument("--no-write", action="store_true", help="do not write docs/benchmarks.md and .json")
    return parser.parse_args()


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
