"""fsspec's own tests for implementations of a file system, on the files of a group."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import fsspec.tests.abstract as abstract
import pytest
from fsspecs import Words
from support import acquainted

import rackactor as rack


@pytest.fixture(autouse=True)
def leaves_nothing() -> None:
    """Look at nothing after each of these hundreds: they only use files, and test_files has the proof."""


@pytest.fixture(scope="module")
def group_of_files() -> Iterator[rack.Group]:
    with rack.group("fsspec", provider_settings={"warm": 0}) as made:
        yield acquainted(made)


class Fixtures(Words):
    """Where the files are."""

    @pytest.fixture
    def fs(self, group_of_files: rack.Group) -> Any:
        return group_of_files.fs

    @pytest.fixture
    def fs_path(self, group_of_files: rack.Group) -> Iterator[str]:
        group_of_files.fs.makedirs("/tests")
        yield "/tests"
        group_of_files.fs.rm("/tests", recursive=True)


class TestCopy(abstract.AbstractCopyTests, Fixtures):
    pass


class TestGet(abstract.AbstractGetTests, Fixtures):
    pass


class TestPut(abstract.AbstractPutTests, Fixtures):
    pass


class TestOpen(abstract.AbstractOpenTests, Fixtures):
    pass


class TestPipe(abstract.AbstractPipeTests, Fixtures):
    pass
