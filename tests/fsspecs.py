"""What fsspec's own tests of implementations want to know of each of ours."""

from __future__ import annotations

import posixpath
from collections.abc import Callable

import fsspec.tests.abstract as abstract
import pytest


class Words(abstract.AbstractFixtures):
    """Paths are POSIX's."""

    @pytest.fixture
    def fs_join(self) -> Callable[..., str]:
        return posixpath.join

    @pytest.fixture
    def fs_sanitize_path(self) -> Callable[[str], str]:
        return str
