"""The public suite for providers, on machines of a real cloud."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from leftovers import everything

from rackactor_runtime.providers.conformance import *  # noqa: F403

CLOUD = os.environ.get("RACK_TEST_CLOUD", "")
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(autouse=True)
def leaves_nothing() -> None:
    """Look at nothing after each test: they share a group, and what is left of that is asked of the cloud."""


@pytest.fixture(scope="module")
def provider_place() -> dict[str, Any]:
    settings = {"image": os.environ.get("RACK_TEST_IMAGE", "rackactor"), "flavor": "t256", "network": "provider"}
    return {"cloud": CLOUD, "deadline": "40m", "provider_settings": settings}


@pytest.fixture(scope="module")
def provider_left(cloud: Any) -> Callable[[str], list[str]]:
    return lambda gid: [each for each in everything(cloud) if gid[:12] in each]
