"""Files of a group without a group: paths, modes, handles, a local backend, and what fsspec offers as one."""

from __future__ import annotations

import errno
import io
import os
import posixpath
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackactor.errors import InvalidCall
from rackactor.ipc.files.paths import HIDDEN, is_hidden, normalize, parse_mode
from rackactor_runtime.services.files import local as _local
from rackactor_runtime.services.files.backend import local_place, open_backend
from rackactor_runtime.services.files.handles import Handle, Handles
from rackactor_runtime.services.files.local import LocalStore
from rackactor_runtime.services.files.remote import RemoteStore, _safe
from rackactor_runtime.supervisor.decisions.settings import Settings

# -- paths and modes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given_path, path",
    [
        ("rack:///data/x.csv", "/data/x.csv"),
        ("rack://data/x.csv", "/data/x.csv"),
        ("data//x.csv/", "/data/x.csv"),
        ("/../../etc/passwd", "/etc/passwd"),
        ("/a/./b/../c", "/a/c"),
        ("//a", "/a"),
        ("", "/"),
        ("rack://", "/"),
        (Path("/a/b"), "/a/b"),
        ("/ä/ b", "/ä/ b"),
    ],
)
def test_paths(given_path: Any, path: str) -> None:
    assert normalize(given_path) == path


@given(st.lists(st.sampled_from(["..", ".", "", "a", "b..", "...", " "]), max_size=12))
def test_no_path_leads_out(parts: list[str]) -> None:
    path = normalize("/".join(parts))
    assert path.startswith("/")
    assert ".." not in path.split("/")
    assert normalize(path) == path
    assert posixpath.commonpath(["/root", "/root" + path]) == "/root"


def test_what_is_no_path() -> None:
    with pytest.raises(ValueError, match="null byte"):
        normalize("/a\0b")
    assert normalize(b"/a/\xff") == "/a/\udcff"
    for thing in (3, None):
        with pytest.raises(TypeError):
            normalize(thing)
    assert is_hidden(f"/a/{HIDDEN}1/b")
    assert not is_hidden(f"/a/b{HIDDEN}")


def test_modes() -> None:
    assert parse_mode("r") == parse_mode("rt") == ("r", False)
    assert parse_mode("xb") == parse_mode("bx") == ("x", True)
    assert parse_mode("ab").writes
    for mode in ("", "b", "rw", "rbt", "rr", "U", "q", "+"):
        with pytest.raises(ValueError):
            parse_mode(mode)
    for mode in ("r+", "w+b", "a+"):
        with pytest.raises(io.UnsupportedOperation):
            parse_mode(mode)


# -- handles -------------------------------------------------------------------------------------------------


def opened(handles: Handles, pid: int, path: str, what: str) -> Handle:
    handle = handles.begin(pid, path, what)
    handle.behind = object()
    return handle


def test_an_exclusive_name_is_reserved_until_its_file_is_done() -> None:
    handles = Handles()
    first = opened(handles, 2, "/a", "x")
    with pytest.raises(FileExistsError) as caught:
        handles.begin(3, "/a", "x")
    assert (caught.value.errno, caught.value.filename) == (errno.EEXIST, "/a")
    writer = opened(handles, 3, "/a", "w")
    handles.end(writer)
    with pytest.raises(FileExistsError):
        handles.begin(3, "/a", "x")
    handles.end(first)
    handles.end(first)
    handles.begin(3, "/a", "x")


def test_a_handle_is_its_owners() -> None:
    handles = Handles(limit=2)
    handle = opened(handles, 2, "/a", "r")
    assert handles.get(2, handle.number) is handle
    for pid, number in ((3, handle.number), (2, 99), (2, None), (2, "1")):
        with pytest.raises(OSError) as caught:
            handles.get(pid, number)
        assert caught.value.errno == errno.EBADF
    opened(handles, 2, "/b", "r")
    with pytest.raises(OSError) as caught:
        handles.begin(2, "/c", "r")
    assert caught.value.errno == errno.EMFILE
    opened(handles, 3, "/c", "r")


def test_a_ticket_is_good_once() -> None:
    handles = Handles()
    handle = opened(handles, 2, "/a", "r")
    handles.issue(handle, b"ticket")
    assert handles.redeem(b"ticket") is handle
    assert handles.redeem(b"ticket") is None
    assert handles.redeem(b"") is None
    handles.issue(handle, b"other")
    handles.end(handle)
    assert handles.redeem(b"other") is None


@given(st.lists(st.tuples(st.integers(2, 4), st.sampled_from("abc"), st.sampled_from("rwxa"), st.booleans())))
def test_a_name_is_reserved_for_one_at_the_most(steps: list[tuple[int, str, str, bool]]) -> None:
    handles = Handles(limit=8)
    for pid, path, what, ends in steps:
        mine = handles.of(pid)
        exclusive = [handle.path for handle in handles.all() if handle.what == "x"]
        assert len(exclusive) == len(set(exclusive))
        if ends and mine:
            handles.end(mine[0])
            continue
        try:
            opened(handles, pid, path, what)
        except FileExistsError:
            assert what == "x"
            assert path in exclusive
        except OSError:
            assert len(mine) == 8
    for handle in handles.all():
        handles.end(handle)
    assert len(handles) == 0
    assert not handles.of(2)
    opened(handles, 2, "a", "x")


# -- backends ------------------------------------------------------------------------------------------------


@pytest.fixture(params=["nameless", "hidden", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore | RemoteStore:
    if request.param == "memory":
        fs = fsspec.filesystem("memory", skip_instance_cache=True)
        fs.store.clear()
        fs.pseudo_dirs[:] = [""]
        return RemoteStore(fs, "/root")
    if request.param == "hidden":

        def as_on_nfs(directory: str) -> tuple[int, str]:
            hidden = _local._hidden_name(directory)
            return os.open(hidden, os.O_CREAT | os.O_EXCL | os.O_RDWR), hidden

        monkeypatch.setattr(_local, "_open_nameless", as_on_nfs)
    return LocalStore(str(tmp_path))


Store = LocalStore | RemoteStore


def put(store: Store, path: str, data: bytes, what: str = "w") -> None:
    writing = store.write(path, what)
    writing.write(writing.start, memoryview(data))
    writing.commit()


def got(store: Store, path: str) -> bytes:
    reading = store.read(path)
    try:
        return bytes(reading.read(0, reading.size))
    finally:
        reading.close()


def names(store: Store, path: str = "/") -> list[str]:
    return [info["name"] for info in store.ls(path)]


def test_a_file_appears_when_it_is_done(store: Store) -> None:
    writing = store.write("/a", "w")
    writing.write(0, memoryview(b"half"))
    assert names(store) == []
    writing.commit()
    assert got(store, "/a") == b"half"
    assert names(store) == ["/a"]
    store.write("/a", "w").discard()
    assert got(store, "/a") == b"half"
    assert store.info("/a")["size"] == 4


def test_a_reader_keeps_its_version(store: Store) -> None:
    put(store, "/a", b"old")
    reading = store.read("/a")
    put(store, "/a", b"newer")
    assert bytes(reading.read(0, 10)) == b"old"
    assert got(store, "/a") == b"newer"
    reading.close()


def test_appending_loses_nothing(store: Store) -> None:
    put(store, "/a", b"1", "a")
    first, second = store.write("/a", "a"), store.write("/a", "a")
    first.write(first.start, memoryview(b"22"))
    second.write(second.start, memoryview(b"333"))
    second.commit()
    first.commit()
    assert got(store, "/a") == b"133322"


def test_exclusive_creation(store: Store) -> None:
    first, second = store.write("/a", "x"), store.write("/a", "x")
    first.write(0, memoryview(b"first"))
    first.commit()
    with pytest.raises(FileExistsError):
        second.commit()
    with pytest.raises(FileExistsError):
        store.write("/a", "x")
    assert got(store, "/a") == b"first"
    assert names(store) == ["/a"]


def test_writing_anywhere_and_cutting(store: Store) -> None:
    writing = store.write("/a", "w")
    writing.write(4, memoryview(b"efgh"))
    writing.write(0, memoryview(b"abcd"))
    writing.truncate(6)
    writing.commit()
    assert got(store, "/a") == b"abcdef"


def test_directories(store: Store) -> None:
    store.makedirs("/d/e")
    put(store, "/d/e/a", b"x")
    assert names(store, "/d") == ["/d/e"]
    assert store.info("/d")["type"] == "directory"
    with pytest.raises(OSError):
        store.rmdir("/d")
    with pytest.raises(IsADirectoryError):
        store.write("/d", "w")
    with pytest.raises(IsADirectoryError):
        store.read("/d")
    store.mv("/d/e/a", "/d/b")
    store.cp_file("/d/b", "/d/c")
    assert names(store, "/d") == ["/d/b", "/d/c", "/d/e"]
    store.rm_file("/d/b")
    store.rmdir("/d/e")
    store.rm_tree("/d")
    assert names(store) == []
    for missing in (store.info, store.read, store.rm_file, store.ls):
        with pytest.raises(FileNotFoundError):
            missing("/d")


def test_the_root_stays(store: Store) -> None:
    put(store, "/a", b"x")
    store.makedirs("/d/e")
    store.rm_tree("/")
    assert names(store) == []
    assert store.info("/")["type"] == "directory"


def test_permissions_stay_with_the_name(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    put(store, "/a", b"1")
    (tmp_path / "a").chmod(0o640)
    put(store, "/a", b"2")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


def test_which_backend(tmp_path: Path) -> None:
    assert local_place(f"file://{tmp_path}/x/../y") == str(tmp_path / "y")
    assert local_place("/srv/x") == "/srv/x"
    assert local_place("memory://") is None
    with pytest.raises(InvalidCall, match="absolute"):
        local_place("file://data")
    assert isinstance(open_backend("", str(tmp_path / "made")), LocalStore)
    assert (tmp_path / "made").is_dir()
    assert isinstance(open_backend("", {"url": "memory://x"}), RemoteStore)
    (tmp_path / "file").write_text("")
    for bad in ("nonsense://x", f"file://{tmp_path}/file/x", {"url": "memory://", "class": "nowhere:Nothing"}):
        with pytest.raises(InvalidCall, match="'files'"):
            open_backend("", bad)


def test_no_secret_is_shown() -> None:
    assert _safe("sftp://me:secret@host/x") == "sftp://host/x"
    assert _safe("s3://bucket/a@b") == "s3://bucket/a@b"
    with pytest.raises(InvalidCall) as caught:
        Settings.parse({"files": {"secret": "hidden"}})
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("setting", ["", 3, [], {"url": 3}, {}, "a\nb", True])
def test_settings_that_are_none(setting: Any) -> None:
    with pytest.raises(InvalidCall, match="files"):
        Settings.parse({"files": setting})
