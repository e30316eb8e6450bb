"""The command line of `rack pipeline`: options, then commands, each followed by its number of processes."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from rackactor.cli.plan import Plan, for_command
from rackactor.errors import InvalidCall
from rackactor.records import dataclass


@dataclass
class Stage:
    """One command of a pipeline: a string for `sh -c`."""

    text: str
    count: int = 1

    @property
    def plan(self) -> Plan:
        """The plan for its processes."""
        words = self.text.split()
        name = for_command(words[:1]).name if words else "sh"
        return Plan(["sh", "-c", self.text], (), name, script=False)


class StageParser(argparse.ArgumentParser):
    """Parse options anywhere on the line, and `-n K` as belonging to the command before it."""

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Return the options, and `stages`."""
        words = list(sys.argv[1:] if args is None else args)
        options: list[str] = []
        stages: list[Stage] = []
        while words:
            word = words.pop(0)
            if word == "--":
                stages += map(Stage, words)
                break
            if word.startswith("-n") and not word.startswith("--"):
                self._multiply(stages, word[2:] or (words.pop(0) if words else ""))
            elif word.startswith("-") and word != "-":
                options.append(word)
                action = self._option_string_actions.get(word)
                if action is not None and action.nargs is None and words:
                    options.append(words.pop(0))
            else:
                stages.append(Stage(word))
        known = super().parse_args(options, namespace)
        known.stages = stages
        return known

    def _multiply(self, stages: list[Stage], count: str) -> None:
        if not stages:
            self.error("-n K stands behind the command that is to run K times")
        if not count.isascii() or not count.isdigit() or int(count) < 1:
            self.error(f"-n {count}: a number of processes, from 1 on")
        stages[-1].count = int(count)


def check(stages: Sequence[Stage]) -> None:
    """Check the stages of a pipeline.

    Raises:
        InvalidCall: there is no command, or an empty one.
    """
    if not stages:
        raise InvalidCall("what is to run? `rack pipeline 'command one' 'command two' -n 4 'command three'`")
    for number, stage in enumerate(stages, 1):
        if not stage.text.strip():
            raise InvalidCall(f"command {number} of the pipeline is empty")
