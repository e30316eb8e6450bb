"""What the tests of several files start with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from localdriver import Driver, drive
from strangers import House, open_house


@pytest.fixture
def driver() -> Iterator[Driver]:
    """The local provider, driven without a supervisor; each end is told once, and nothing is left."""
    with drive() as made:
        yield made


@pytest.fixture
def house(transport: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """A group that strangers come to."""
    with open_house(transport, monkeypatch) as made:
        yield made
