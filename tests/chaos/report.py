"""What a run has found, for people (`docs/chaos.md`) and as raw figures (`docs/chaos.json`)."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, field

from .parts import Outcome

HEAD = """# Chaos

Written by `make chaos` (`python -m chaos`): pipes and shared memory under load, while processes are killed (`kill -9`)
and stopped and paths are cut, at times that a seed decides. What the processes write down is judged afterwards
(`tests/chaos`); the raw figures are in `chaos.json` beside this page.
"""

METHOD = """## What is judged

- **Pipes**: writers number their messages, readers write down each as they take it, in a way that survives their being
  killed. No message may be lost, come twice, or come after a later one of its writer. What the killing of a process
  excuses is counted: what a killed writer had not handed over, at the end of its numbers only (with several readers
  side by side, what was under way to one of them may be missing too); the one message that a killed reader had in its
  hands, taken and not yet written down; what a killed reader had been given and had not confirmed, which another one is
  given.
- **Shared memory**: every operation is written down with the times of its call and its return. There must be one order
  of all of them that explains every result and agrees with real time and with each process's own order (strict
  serializability; for single keys, linearizability). A read without `sync` may be of an earlier time, but never older
  than what its own process has seen. No update lost, no element of a list lost or taken twice or overtaken, no revision
  missed or told twice by a watch, and all replicas the same in the end.
- **Memory**: anonymous memory of each process, looked at every second.
- **Left behind**: processes, groups' directories, files in `/dev/shm`, networks, open sockets.
"""


@dataclass
class Run:
    """One run."""

    seed: int
    messages: int
    operations: int
    outcomes: list[Outcome] = field(default_factory=list)
    #: What was left behind.
    left: list[str] = field(default_factory=list)
    #: The most memory that a process of a kind had, MB; that all had together; that one may have.
    memory: dict[str, float] = field(default_factory=dict)
    total: float = 0.0
    bound: float = 0.0
    seconds: float = 0.0
    #: Why nothing was tried in network namespaces, or "".
    hindrance: str = ""

    @property
    def violations(self) -> list[str]:
        """All that should not be."""
        found = [f"{outcome.title}: {violation}" for outcome in self.outcomes for violation in outcome.violations]
        found += [f"left behind: {each}" for each in self.left]
        return found + [f"memory: {kind}, {peak:.0f} MB" for kind, peak in self.memory.items() if peak > self.bound]


def markdown(run: Run) -> str:
    """Return the whole page."""
    violations = run.violations
    verdict = f"**{len(violations)} violations.**" if violations else "**No violation.**"
    parts = [HEAD, f"{_facts(run)} {verdict}\n", _table(run), _memory(run)]
    if violations:
        parts.append("## Violations\n\n" + "\n".join(f"- {each}" for each in violations) + "\n")
    return "\n".join([*parts, METHOD])


def as_json(run: Run) -> str:
    """Return everything."""
    return json.dumps(asdict(run) | {"violations": run.violations}, indent=1, sort_keys=True) + "\n"


def _facts(run: Run) -> str:
    machine = f"{os.cpu_count()} CPUs, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    words = f"{machine}; seed {run.seed}, {run.seconds / 60:.0f} minutes."
    return f"{words} Nothing was tried in network namespaces ({run.hindrance})." if run.hindrance else words


def _table(run: Run) -> str:
    lines = ["## What was done", "", "| part | seconds | counted | faults | violations |", "|---|---|---|---|---|"]
    for outcome in run.outcomes:
        cells = [outcome.title, f"{outcome.seconds:.0f}", _words(outcome.counts), _words(outcome.faults)]
        lines.append("| " + " | ".join([*cells, str(len(outcome.violations))]) + " |")
    return "\n".join(lines) + "\n"


def _words(counts: dict[str, int]) -> str:
    return "; ".join(f"{what}: {count:,}" for what, count in counts.items()) or "–"


def _memory(run: Run) -> str:
    peaks = "; ".join(f"{kind}: {peak:.0f} MB" for kind, peak in sorted(run.memory.items()))
    left = "; ".join(run.left) or "nothing"
    return f"The most memory that one had: {peaks}; all together {run.total:.0f} MB.\n\nLeft behind: {left}.\n"
