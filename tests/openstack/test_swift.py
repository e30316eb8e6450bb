"""Files in a real Swift: fsspec's own tests of implementations, and what they do not ask about."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec.tests.abstract as abstract
import pytest
from fsspecs import Words

import rackactor as rack
from rackactor_runtime.providers.nova.swift.filesystem import SwiftFileSystem

CLOUD = os.environ.get("RACK_TEST_CLOUD", "")
pytestmark = pytest.mark.skipif(not CLOUD, reason="RACK_TEST_CLOUD names no cloud (make test-openstack brings one up)")


@pytest.fixture(scope="module")
def container() -> Iterator[str]:
    """A container of the tests' own, which is gone afterwards, segments too."""
    fs, name = SwiftFileSystem(cloud=CLOUD), f"rack-test-{secrets.token_hex(4)}"
    fs.mkdir(name)
    yield name
    for each in (name, f"{name}_segments"):
        if fs.exists(each):
            fs.rm(each, recursive=True)
    assert not [each for each in fs.ls("", detail=False) if each.startswith(name)]


@pytest.fixture
def swift(container: str) -> SwiftFileSystem:
    return SwiftFileSystem(cloud=CLOUD, segment=5 << 20)


class Fixtures(Words):
    """Where the files are."""

    @pytest.fixture
    def fs(self, swift: SwiftFileSystem) -> Any:
        return swift

    @pytest.fixture
    def fs_path(self, swift: SwiftFileSystem, container: str) -> Iterator[str]:
        swift.makedirs(f"{container}/tests")
        yield f"{container}/tests"
        swift.rm(f"{container}/tests", recursive=True)


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


def test_a_large_file_goes_in_segments_and_leaves_none(swift: SwiftFileSystem, container: str, tmp_path: Path) -> None:
    data = os.urandom(12 << 20)
    (tmp_path / "large").write_bytes(data)
    place = f"{container}/dir/large"
    for _ in range(2):  # over itself, too
        swift.put_file(str(tmp_path / "large"), place)
        assert swift.info(place)["size"] == len(data)
        assert len(swift.find(f"{container}_segments")) == 3
    with swift.open(place, "rb") as file:
        file.seek(-5, 2)
        assert file.read() == data[-5:]
    assert swift.cat_file(place, start=(5 << 20) - 3, end=(5 << 20) + 3) == data[(5 << 20) - 3 : (5 << 20) + 3]
    swift.mv(place, f"{container}/dir/moved")
    assert swift.cat_file(f"{container}/dir/moved") == data
    swift.pipe_file(f"{container}/dir/moved", b"small now")
    assert swift.find(f"{container}_segments") == []
    swift.rm(f"{container}/dir", recursive=True)
    assert not swift.exists(f"{container}/dir")


def test_words_of_what_is_not_there(swift: SwiftFileSystem, container: str) -> None:
    with pytest.raises(FileNotFoundError):
        swift.cat_file(f"{container}/nothing")
    with pytest.raises(FileNotFoundError):
        swift.info("rack-test-no-container/x")
    with pytest.raises(FileNotFoundError, match="container"):
        swift.pipe_file("rack-test-no-container/x", b"1")
    swift.pipe_file(f"{container}/once", b"1", mode="create")
    with pytest.raises(FileExistsError):
        swift.pipe_file(f"{container}/once", b"2", mode="create")
    swift.rm(f"{container}/once")
    with pytest.raises(ValueError, match="cannot be reached"):
        SwiftFileSystem(cloud="no-such-cloud")


def test_names_that_need_care(swift: SwiftFileSystem, container: str) -> None:
    for name in ("ä ö", "a%2Fb", "q?x=1&y", "c;d#e", "'\""):
        swift.pipe_file(f"{container}/care/{name}", name.encode())
        assert swift.cat_file(f"{container}/care/{name}") == name.encode()
    assert len(swift.ls(f"{container}/care", detail=False)) == 5
    swift.rm(f"{container}/care", recursive=True)


def test_many_files_are_listed_page_by_page(
    swift: SwiftFileSystem, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(25):
        swift.pipe_file(f"{container}/many/{number:02}", b"")
    asked = swift._wire.page
    monkeypatch.setattr(swift._wire, "page", lambda container, query: asked(container, {"limit": 10, **query}))
    assert len(swift.ls(f"{container}/many")) == 25
    swift.rm(f"{container}/many", recursive=True)


def test_a_group_of_machines_keeps_its_files_there(container: str) -> None:
    """The supervisor's credential is good for it; the processes have none."""
    settings = {"image": os.environ.get("RACK_TEST_IMAGE", "rackactor"), "flavor": "t256", "network": "provider"}
    files = f"swift://{container}/machines"
    with rack.group("swift", cloud=CLOUD, deadline="20m", provider_settings=settings, files=files) as g:
        writer = ["sh", "-c", "echo from a machine | rack fs cp - rack:/x.txt; env | grep -c OS_ || true"]
        child = g.fork(writer)
        assert child.stdout.read() == b"0\n"
        assert child.wait().ok
        assert g.fs.cat("/x.txt") == b"from a machine\n"
    swift = SwiftFileSystem(cloud=CLOUD)
    assert swift.cat_file(f"{container}/machines/x.txt") == b"from a machine\n"


def test_a_group_keeps_its_files_there(container: str) -> None:
    """What holds on a disk holds there; that the processes have no credential is the same as for any backend."""
    with rack.group("swift", files={"url": f"swift://{container}/group", "cloud": CLOUD}) as g:
        with rack.open("/data/x.txt", "w") as file:
            file.write("kept in Swift\n")
        assert g.fork(lambda: rack.open("/data/x.txt").read()).result() == "kept in Swift\n"
        with pytest.raises(FileExistsError):
            rack.open("/data/x.txt", "x")
        with rack.open("/data/x.txt", "a") as file:
            file.write("and more\n")
        assert g.fs.cat("/data/x.txt") == b"kept in Swift\nand more\n"
        assert g.listdir("/data") == ["x.txt"]
        g.fs.mv("/data/x.txt", "/data/y.txt")
        assert g.listdir("/data") == ["y.txt"]
        g.fs.rm("/data", recursive=True)
        assert g.listdir("/") == []
