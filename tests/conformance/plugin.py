"""A pytest plugin that points Thespian's own tests, which come with its package, at RackActor's system base.

It selects the tests that are made for a system base (they take the fixture `asys`), and notes how each ended.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from rackactor.actors.system_base import NAME, ActorSystemBase

#: File that takes a line of JSON for each phase of each test: [id, phase, outcome, text].
OUTCOMES = "RACKACTOR_CONFORMANCE_OUTCOMES"
#: File with the ids of the only tests to run, if not all.
ONLY = "RACKACTOR_CONFORMANCE_ONLY"

# Thespian's test modules import pytest: an eighth of a second, which the fork server spends once for all actors.
ActorSystemBase.options = {"provider_settings": {"preload": ["thespian.test"]}}


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give the fixture `asys` our base instead of its own list: the first parametrization counts."""
    if "asys" in metafunc.fixturenames:
        metafunc.definition.add_marker(pytest.mark.parametrize("asys", [NAME], indirect=True))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what has nothing to do with a base."""
    only = set(Path(os.environ[ONLY]).read_text().splitlines()) if ONLY in os.environ else None
    chosen = [item for item in items if "asys" in getattr(item, "fixturenames", ())]
    chosen = [item for item in chosen if only is None or item.nodeid in only]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note how a phase of a test ended (a worker of pytest-xdist leaves that to its controller)."""
    if OUTCOMES in os.environ and "PYTEST_XDIST_WORKER" not in os.environ:
        line = [report.nodeid, report.when, report.outcome, _text(report)]
        with open(os.environ[OUTCOMES], "a") as file:
            file.write(json.dumps(line) + "\n")


def _text(report: pytest.TestReport) -> str:
    if report.skipped and isinstance(report.longrepr, Sequence):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    if report.failed:
        crash = getattr(report.longrepr, "reprcrash", None)
        return str(crash.message if crash is not None else report.longrepr).splitlines()[0]
    return ""
