"""The public suite for providers, on those that this machine can have."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from support import acquainted, place_of

import rackactor as rack
from rackactor_runtime.providers.conformance import *  # noqa: F403


@pytest.fixture(scope="module", params=["ipc", "tcp", "machines"])
def provider_place(request: pytest.FixtureRequest) -> dict[str, Any]:
    return place_of(request, request.param)


@pytest.fixture(scope="module")
def conforming_group(provider_place: dict[str, Any]) -> Iterator[rack.Group]:
    with rack.group("conformance", **provider_place, grace=3.0, end_grace=0.5, echo=False) as made:
        # Services that a test is the first to need are there before, for they stay when it has ended.
        assert made.fork(lambda: rack.shm.get("nothing")).wait(30.0).ok
        yield acquainted(made)
