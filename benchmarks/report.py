"""Write the results down: tables for people in `docs/benchmarks.md`, raw figures in `docs/benchmarks.json`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .measures import Measure
from .peer import LACKING
from .results import PeerResult, Results
from .suite import SUITES
from .targets import OURS, TARGETS, many_verdict

HEAD = """# Benchmarks

Written by `make bench` (`python -m benchmarks`): all peers in one run, in interleaved rounds, medians of all
rounds; the Redis column wants `apt-get install redis-server`. The figures are those of one machine at one time; what
lasts is the ratios. Raw figures: `benchmarks.json` beside this page.
"""

METHOD = """## What is measured

- **start**: what must run before the first worker can (a group, a cluster, an admin).
- **spawn**: 10 workers are asked for at once; the time until each has answered a message, divided by 10. Three times,
  right after the start: RackActor has processes ready for them. *Going on*: the seventh to ninth time without a
  pause, when each must be made while the last ones end.
- **round trip**: a worker asks another one 1 KB and waits for the answer, again and again. *Program to process* is the
  same from the program that made the worker. *Beside two busy loops*: two other programs compute all the while, so
  that on a machine of two processors nobody has one for itself.
- **spawn 100**: as above, 100 workers at once; *and wait until all are up*: by `fork(n, min_ok=n)`.
- **one way**: a worker sends to another one; the clock stops when the sender knows that the last was seen.
- **broadcast**: from the program to all workers, until the last answer is here.
- **unique memory**: USS, the memory that ending the process would give back; of 10 idle workers that have each
  answered. *Beside them* is the sum over all other processes that the peer started (supervisors, daemons), without
  the measuring program itself.
- **pipe, one way**: as above, from one process to another, the messages handed over one by one (what a way puts
  together by itself is its own matter). *A lone message* is sent when the last one has come back: half of the round
  trip. *Memory grown*: 256 messages of 1 MB are sent, as far as that goes, to a reader that is there and takes none;
  by how much the unique memory of all processes has grown two seconds later.
- **keys**: read and written one after the other by one process, on the host that holds them; *pipelined* writes are
  handed over without waiting, and the clock stops when the last is acknowledged.
- **watchers**: processes that watch one key; from before a write until the last of them has seen it, one write at a
  time.
- **1 GB** (10⁹ bytes): brought to a process that has nothing of it through one TCP connection over loopback under
  CURVE: for RackActor a new replica of the shared memory until it can be read, for bare pyzmq messages of 1 MiB until
  the last was seen. The file is written and read back in pieces of 1 MiB by one process.

A ratio above 1 says how many times better RackActor is, below 1 how much worse, whether small or large figures are
the better ones. A dash says that there is no such thing to measure.
"""


def markdown(run: Sequence[Results]) -> str:
    """Return the whole page: what holds for all of it, and each suite."""
    return "\n".join([HEAD, _facts(run), *(_suite(results) for results in run), METHOD])


def _suite(results: Results) -> str:
    parts = (_targets, _ratios, _medians, _notes)
    return "\n".join([f"## {SUITES[results.suite].title}\n", *(part(results) for part in parts)])


def table(rows: Iterable[Iterable[str]]) -> str:
    """Return rows as a Markdown table; the first is its head."""
    head, *body = [[word.replace("|", "\\|") for word in row] for row in rows]
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def figure(value: float | None) -> str:
    """Return three significant digits, thousands separated."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def title(measure: Measure, results: Results) -> str:
    """Return the measure's name, with the real size of the crowd."""
    return measure.title.replace("100,", f"{results.effort.crowd},")


def _facts(run: Sequence[Results]) -> str:
    facts, rounds = run[0].facts, run[0].rounds
    versions = {d: v for results in run for peer in results.peers.values() for d, v in peer.versions.items()}
    listed = ", ".join(f"{d} {v}" for d, v in sorted(versions.items()))
    machine = f"{facts['cpus']} CPUs, {facts['memory_gb']} GB, {facts['system']} {facts['architecture']}"
    python = f"Python {facts['python']}, {listed}" if listed else f"Python {facts['python']}"
    return f"{machine}; {python}; {rounds} rounds, load at the start {facts['load_at_start']}.\n"


def _targets(results: Results) -> str:
    rows = [["target", "asked for", "measured", "verdict"]]
    rows += [[t.words, t.shown, *t.verdict(results)] for t in TARGETS[results.suite]]
    if SUITES[results.suite].crowd:
        rows.append([f"{results.effort.many} processes start, answer and end", "nothing left", *many_verdict(results)])
    return "### Targets\n\n" + table(rows)


def _ratios(results: Results) -> str:
    others = [name for name in results.peers if name != OURS]
    rows = [["RackActor is so many times better than", *(_titles(results)[name] for name in others)]]
    for measure in SUITES[results.suite].measures:
        rows.append([title(measure, results), *(_ratio(results, measure, name) for name in others)])
    return "### Ratios\n\n" + table(rows)


def _ratio(results: Results, measure: Measure, name: str) -> str:
    ours, theirs = results.median(OURS, measure.name), results.median(name, measure.name)
    if not ours or not theirs:
        return "–"
    better = ours / theirs if measure.larger_is_better else theirs / ours
    return figure(better) + _smaller(results, measure.name, name)


def _medians(results: Results) -> str:
    rows = [["", *(_titles(results)[name] for name in results.peers)]]
    rows.append(["start, ms", *(_cell(results, "start", name) for name in results.peers)])
    for measure in SUITES[results.suite].measures:
        cells = [_cell(results, measure.name, name) for name in results.peers]
        rows.append([f"{title(measure, results)}, {measure.unit}", *cells])
    return "### Medians\n\n" + table(rows)


def _cell(results: Results, measure: str, name: str) -> str:
    result = results.peers[name]
    cell = result.cell(measure)
    if result.absent:
        return result.absent if measure == "start" else "–"
    if cell.reason:
        return "–" if cell.unsupported else f"failed: {cell.reason}"
    return figure(cell.median) + _smaller(results, measure, name)


def _smaller(results: Results, measure: str, name: str) -> str:
    """Return how large the crowd was for a peer that cannot have the others' crowd."""
    most = results.peers[name].most
    return f" ({most} workers)" if measure == "broadcast" and most < results.effort.crowd else ""


def _notes(results: Results) -> str:
    lines = []
    for name, result in results.peers.items():
        words = [result.absent, result.note, *result.remarks, *_reasons(result)]
        lines += [f"- {_titles(results)[name]}: {word}" for word in words if word]
    return "### Notes\n\n" + "\n".join(lines or ["- none"]) + "\n"


def _titles(results: Results) -> dict[str, str]:
    return SUITES[results.suite].titles


def _reasons(result: PeerResult) -> Iterable[str]:
    """Yield why there are no figures, one line for each reason."""
    columns: dict[tuple[bool, str], list[str]] = {}
    for measure, cell in result.cells.items():
        if cell.reason and cell.reason != LACKING:
            columns.setdefault((cell.unsupported, cell.reason), []).append(measure)
    for (unsupported, reason), measures in columns.items():
        yield f"{'no figure for' if unsupported else 'failed:'} {', '.join(measures)} ({reason})"
