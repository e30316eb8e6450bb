"""A pytest plugin that points Thespian's own tests, which come with its package, at RackActor's system base."""

from __future__ import annotations

import pytest

from rackactor.systembase import NAME, ActorSystemBase

# Thespian's test modules import pytest: an eighth of a second, which the fork server spends once for all actors.
ActorSystemBase.options = {"provider_settings": {"preload": ["thespian.test"]}}


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give the fixture `asys` our base instead of its own list: the first parametrization counts."""
    if "asys" in metafunc.fixturenames:
        metafunc.definition.add_marker(pytest.mark.parametrize("asys", [NAME], indirect=True))
