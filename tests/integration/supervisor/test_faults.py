"""Faults of the operating system in supervisor, fork server and services: a slice of `make faults`."""

from __future__ import annotations

import pytest
from faults import driver

#: Operations that are tried in one group; seconds that they may take.
OPERATIONS, SECONDS = 25, 20.0


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("seed", "transport"), [(1, "ipc"), (2, "tcp"), (3, "ipc")])
def test_each_fault_costs_one_answer(seed: int, transport: str) -> None:
    figures = driver.Figures()
    driver.run(figures, seed, OPERATIONS, transport, SECONDS)
    print(figures.text())
    assert not figures.violations, figures.text()
    assert sum(figures.injected.values()) > 5
