"""Logins that cannot be repeated are refused for groups that may outlive them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackactor_runtime.providers.nova.access.logins import MARGIN, objection, repeatable

NOW = 1_800_000_000.0


@pytest.mark.parametrize("kind", ["password", "v3password", "v3applicationcredential", "v3oidcclientcredentials"])
def test_logins_that_can_be_repeated(kind: str) -> None:
    assert repeatable(kind)
    assert not repeatable(kind, renews=False)


@pytest.mark.parametrize("kind", ["token", "v3token", "v3totp", "v3websso", "v3oidcdeviceauthz"])
def test_logins_that_cannot(kind: str) -> None:
    assert not repeatable(kind)
    assert not repeatable("v3multifactor", ["v3password", kind])


def test_what_is_said() -> None:
    words = objection("v3totp", NOW + 3600.0, None, NOW)
    assert "auth_type v3totp" in words
    assert "2027-01-15 09:00 UTC" in words
    assert f"deadline= of at most {3600 - MARGIN:.0f} s" in words
    assert "deadline=" not in objection("v3totp", NOW + MARGIN / 2, None, NOW)  # there is no time for any


@given(st.floats(0.0, 1e6), st.one_of(st.none(), st.floats(0.0, 1e6)))
def test_a_group_that_ends_before_the_token_is_fine(ends: float, group: float | None) -> None:
    refused = objection("v3token", NOW + ends, None if group is None else NOW + group, NOW)
    assert bool(refused) == (group is None or NOW + group + MARGIN > NOW + ends)
    assert objection("password", None, None if group is None else NOW + group, NOW) == ""


@pytest.mark.parametrize("plugin, ends", [("v3token", True), ("v3totp", True), ("password", False)])
def test_a_session_knows_when_it_ends(plugin: str, ends: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openstack")
    from datetime import UTC, datetime

    from rackactor_runtime.providers.nova.session import Session

    session = object.__new__(Session)
    until = datetime(2027, 1, 15, tzinfo=UTC)
    login = SimpleNamespace(reauthenticate=True, get_access=lambda session: SimpleNamespace(expires=until))
    config = SimpleNamespace(config={"auth_type": plugin}, get_auth_args=dict)
    made: Any = SimpleNamespace(session=SimpleNamespace(auth=login), config=config)
    session.connection = made
    assert session.kind == plugin
    assert session.ends == (until.timestamp() if ends else None)
