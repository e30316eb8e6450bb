"""The settings of a group."""

from __future__ import annotations

from typing import Any

import pytest

from rackactor.errors import InvalidCall
from rackactor_runtime.supervisor.decisions.settings import Settings


@pytest.mark.parametrize(
    "given",
    [
        {"grace": 0},
        {"grace": -1},
        {"grace": "10"},
        {"grace": True},
        {"grace": None},
        {"pickle": 1},
        {"direct": None},
        {"deadline": 0},
        {"heartbeat": float("nan")},
        {"no_such_setting": 1},
    ],
    ids=repr,
)
def test_a_setting_that_cannot_be(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidCall, match=repr(next(iter(given)))):
        Settings.parse(given)


def test_settings() -> None:
    assert Settings.parse({"grace": 1, "pickle": False, "deadline": None}).grace == 1
    assert Settings.parse({"deadline": 5.5}).deadline == 5.5
