"""`python -m benchmarks`: measure, print the tables, write them to `docs/`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import report
from .measures import FULL, QUICK
from .peers import PEERS
from .results import PeerResult, Results, facts
from .runner import ROOT, Runner


def main() -> int:
    """Run; the exit status is 0 unless it was interrupted, since a slow machine is no error."""
    options = _parse()
    names = list(PEERS) if options.peers is None else options.peers.split(",")
    if unknown := [name for name in names if name not in PEERS]:
        print(f"no such peer: {', '.join(unknown)}; there are {', '.join(PEERS)}", file=sys.stderr)
        return 2
    results = Results(
        peers={name: PeerResult() for name in names},
        effort=QUICK if options.quick else FULL,
        rounds=options.rounds or (1 if options.quick else 3),
        facts=facts(),
    )
    try:
        Runner(results, "quick" if options.quick else "full", _say).run()
    except KeyboardInterrupt:
        print("interrupted: nothing written", file=sys.stderr)
        return 130
    page = report.markdown(results)
    print(page)
    if options.json:
        options.json.write_text(results.as_json(), "utf-8")
    _publish(options, results, page)
    return 0


def _publish(options: argparse.Namespace, results: Results, page: str) -> None:
    if options.no_write:
        return
    if options.quick or options.peers:
        _say("a partial run: docs/ stays as it is")
        return
    (ROOT / "docs/benchmarks.md").write_text(page, "utf-8")
    (ROOT / "docs/benchmarks.json").write_text(results.as_json(), "utf-8")
    _say("written: docs/benchmarks.md, docs/benchmarks.json")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, smaller crowds; docs/ is not written")
    parser.add_argument("--peers", help=f"some of {','.join(PEERS)}; docs/ is not written")
    parser.add_argument("--rounds", type=int, help="rounds (default 3, quick 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the raw figures there, too")
    parser.add_argument("--no-write", action="store_true", help="do not write docs/benchmarks.md and .json")
    return parser.parse_args()


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
