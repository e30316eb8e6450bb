"""A faulty Nova over real HTTP, and sessions with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from faultynova import FaultyNova

if TYPE_CHECKING:  # openstacksdk may be missing
    from rackactor_runtime.providers.nova.session import Session


@pytest.fixture
def nova() -> Iterator[FaultyNova]:
    made = FaultyNova()
    yield made
    made.release.set()
    made.close()


@pytest.fixture
def log_in(nova: FaultyNova) -> Iterator[Callable[..., Session]]:
    from rackactor_runtime.providers.nova.session import Session

    made: list[Session] = []

    def log_in(project: str = "p", region: str = "R", **more: Any) -> Session:
        made.append(Session(credential={**nova.login(project, region), **more}))
        return made[-1]

    yield log_in
    for each in made:
        each.close()
