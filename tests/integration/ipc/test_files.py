"""Files of a group: as on a local disk, from each of its processes, and nothing half-made, ever."""

from __future__ import annotations

import errno
import io
import os
import pickle
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.callbacks import Callback
from support import acquainted, eventually, place_of

import rackactor as rack
from rackactor.launch import directories

BIG = bytes(range(256)) * 12_000  # three megabytes: several chunks


@pytest.fixture(scope="module", params=["ipc", "tcp", "netns", "memory", "machines"])
def g(request: pytest.FixtureRequest) -> Iterator[rack.Group]:
    """A group for the tests of this module that leave nothing but files: by descriptor, by chunks, on a far backend."""
    transport, files = ("ipc", "memory://test") if request.param == "memory" else (request.param, None)
    with rack.group("files", files=files, end_grace=0.5, **place_of(request, transport)) as made:
        yield acquainted(made)


@pytest.fixture
def place(g: rack.Group, request: pytest.FixtureRequest) -> Iterator[str]:
    """A directory of the test's own."""
    path = f"/{request.node.originalname}"
    g.fs.makedirs(path)
    yield path
    g.fs.rm(path, recursive=True)


def test_written_and_read(g: rack.Group, place: str) -> None:
    with g.open(f"{place}/a", "w", encoding="utf-16", newline="\r\n") as file:
        assert file.write("ä\nb\n") == 4
        assert not g.fs.exists(f"{place}/a")
    with g.open(f"{place}/a", "rb") as file:
        assert file.read() == "ä\r\nb\r\n".encode("utf-16")
        assert (file.name, file.mode, file.seekable()) == (f"{place}/a", "rb", True)
    with g.open(f"{place}/a", encoding="utf-16") as file:
        assert list(file) == ["ä\n", "b\n"]
    with g.open(f"{place}/a", "a", encoding="utf-8") as file:
        file.write("c")
    assert g.fs.cat(f"{place}/a").endswith(b"c")
    assert g.listdir(place) == ["a"]


def test_large_files_anywhere(g: rack.Group, place: str) -> None:
    path = f"{place}/big"
    with g.open(path, "wb") as file:
        for at in range(0, len(BIG), 700_001):
            file.write(memoryview(BIG)[at : at + 700_001])
        assert file.tell() == len(BIG)
        file.seek(5)
        file.write(b"?")
        file.seek(0, 2)
    expected = BIG[:5] + b"?" + BIG[6:]
    with g.open(path, "rb") as file:
        assert file.read() == expected
        for at in (0, 2_000_000, 5, 2_999_990, len(BIG)):
            file.seek(at)
            assert file.read(100) == expected[at : at + 100]
        file.seek(-3, 2)
        assert file.read() == expected[-3:]
        assert file.read(1) == b""
    with g.open(path, "rb", buffering=0) as file:
        assert file.readall() == expected
    assert g.fs.cat_file(path, 10, -10) == expected[10:-10]
    assert g.fs.cat_file(path, start=-4) == expected[-4:]
    assert g.fs.info(path)["size"] == len(BIG)
    with g.open(path, "wb") as file:
        file.write(BIG)
        file.truncate(1_000_000)
    assert g.fs.cat(path) == BIG[:1_000_000]


def test_errors_are_those_of_a_disk(g: rack.Group, place: str, tmp_path: Path) -> None:
    """Each call is made in a group and on a disk, and fails alike: kind, number, name of the file."""
    local = fsspec.filesystem("file")
    for make, root in ((g.fs.makedirs, place), (local.makedirs, str(tmp_path))):
        make(f"{root}/d/e")
    g.fs.pipe(f"{place}/f", b"x")
    (tmp_path / "f").write_bytes(b"x")

    def failure(call: Callable[[], Any], root: str) -> tuple[Any, ...]:
        with pytest.raises(OSError) as caught:
            call()
        name = caught.value.filename
        return type(caught.value), caught.value.errno, caught.value.strerror, str(name).removeprefix(root)

    def on_disk(path: str, mode: str) -> None:
        with open(f"{tmp_path}{path}", mode):
            pass

    for path, mode in (("/no", "r"), ("/d", "r"), ("/d", "w"), ("/f/x", "r"), ("/f/x", "w"), ("/f", "x")):
        here = failure(lambda path=path, mode=mode: g.open(place + path, mode), place)  # type: ignore[misc]
        there = failure(lambda path=path, mode=mode: on_disk(path, mode), str(tmp_path))  # type: ignore[misc]
        assert here == there, (path, mode)
    for path in ("/no", "/f"):
        here = failure(lambda path=path: g.listdir(place + path), place)  # type: ignore[misc]
        assert here == failure(lambda path=path: os.listdir(f"{tmp_path}{path}"), str(tmp_path))  # type: ignore[misc]
        here = failure(lambda path=path: g.fs.rmdir(place + path), place)  # type: ignore[misc]
        assert here == failure(lambda path=path: os.rmdir(f"{tmp_path}{path}"), str(tmp_path))  # type: ignore[misc]
    assert failure(lambda: g.fs.rmdir(f"{place}/d"), place)[1] == errno.ENOTEMPTY
    assert failure(lambda: g.fs.mkdir(f"{place}/d"), place)[0] is FileExistsError
    assert failure(lambda: g.fs.rm(f"{place}/no"), place)[0] is FileNotFoundError
    assert failure(lambda: g.fs.mv(f"{place}/no", f"{place}/x"), place)[0] is FileNotFoundError
    assert failure(lambda: g.fs.rm(f"{place}/d"), place)[0] is IsADirectoryError
    assert g.fs.isdir(f"{place}/d/e")


def test_what_is_refused(g: rack.Group, place: str) -> None:
    for mode in ("r+", "w+", "rb+"):
        with pytest.raises(io.UnsupportedOperation, match="not changed in place"):
            g.open(f"{place}/a", mode)
    for args in (("q",), ("rb", 0, "utf-8"), ("r", 0)):
        with pytest.raises(ValueError):
            g.open(f"{place}/a", *args)
    with pytest.raises(ValueError, match="null byte"):
        g.open("/a\0b")
    with pytest.raises(FileNotFoundError):
        g.open("")
    with pytest.raises(PermissionError, match="unfinished"):
        g.open(f"{place}/.~rack-1", "w")
    with pytest.raises(LookupError):
        g.open(f"{place}/a", "w", encoding="no such encoding")
    assert g.listdir(place) == []


def test_a_file_left_by_an_exception_never_appears(g: rack.Group, place: str) -> None:
    g.fs.pipe(f"{place}/old", b"old")
    for path, mode, data in (("/new", "wb", BIG), ("/old", "w", "new"), ("/x", "xb", b""), ("/old", "a", "more")):
        with pytest.raises(ZeroDivisionError), g.open(place + path, mode) as file:
            file.write(data)
            _ = 1 / 0
        assert file.closed
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        file = g.open(f"{place}/lost", "w")
        file.write("nobody closes it")
        del file
    assert ["nothing of it is kept" in str(each.message) for each in caught] == [True]
    file = g.open(f"{place}/new", "wb")
    file.write(BIG)
    file.discard()
    assert g.listdir(place) == ["old"]
    assert g.fs.cat(f"{place}/old") == b"old"
    with g.open(f"{place}/x", "x"):
        pass  # the name is free again


def test_exclusive(g: rack.Group, place: str) -> None:
    first = g.open(f"{place}/a", "xb")
    with pytest.raises(FileExistsError):
        g.open(f"{place}/a", "x")
    first.write(b"first")
    first.close()
    with pytest.raises(FileExistsError):
        g.open(f"{place}/a", "x")
    with pytest.raises(FileExistsError):
        g.fs.pipe_file(f"{place}/a", b"", mode="create")
    assert g.fs.cat(f"{place}/a") == b"first"


def test_one_of_many_creates(g: rack.Group, place: str) -> None:
    def create(path: str) -> bool:
        try:
            with rack.open(path, "x") as file:
                file.write(str(rack.getpid()))
        except FileExistsError:
            return False
        return True

    children = g.fork(create, f"{place}/a", n=6)
    assert sum(child.result(20) for child in children) == 1
    assert int(g.fs.cat(f"{place}/a")) in [child.pid for child in children]


def test_close_to_open(g: rack.Group, place: str) -> None:
    """Who opens sees what was closed before; who reads goes on with what it opened."""
    path = f"{place}/a"
    g.fs.pipe(path, BIG)
    with g.open(path, "rb") as reader:
        assert reader.read(10) == BIG[:10]
        assert g.fork(lambda: rack.fs.pipe(path, b"new")).wait(20).ok
        assert g.fs.cat(path) == b"new"
        g.fs.rm(path)
        assert reader.read() == BIG[10:]
    assert not g.fs.exists(path)


def test_replaced_all_at_once(g: rack.Group, place: str) -> None:
    path = f"{place}/a"
    g.fs.pipe(path, b"0" * 100_000)

    def rewrite() -> None:
        for digit in b"123456789":
            with rack.open(path, "wb") as file:
                for _ in range(10):
                    file.write(bytes([digit]) * 10_000)

    writer = g.fork(rewrite)
    seen = set()
    while writer.is_alive():
        data = g.fs.cat(path)
        assert len(data) == 100_000
        assert len(set(data)) == 1
        seen.add(data[0])
    assert writer.wait(20).ok
    assert set(g.fs.cat(path)) == {ord("9")}
    assert seen


def test_the_death_of_a_writer_leaves_nothing(g: rack.Group, place: str) -> None:
    def write(path: str) -> None:
        file = rack.open(path, "xb")
        file.write(BIG)
        rack.process(rack.getppid()).tell("written")
        time.sleep(60)

    writer = g.fork(write, f"{place}/a")
    assert rack.receive(20).value == "written"
    with pytest.raises(FileExistsError):
        g.open(f"{place}/a", "x")
    writer.kill("KILL")
    writer.wait(20)

    def free() -> bool:
        try:
            g.open(f"{place}/a", "x").discard()
        except FileExistsError:
            return False
        return True

    assert eventually(free)
    assert g.listdir(place) == []


def test_the_file_system(g: rack.Group, place: str, tmp_path: Path) -> None:
    fs = g.fs
    fs.pipe({f"{place}/a.csv": b"1", f"{place}/d/b.csv": b"22", f"{place}/d/e/c.txt": b"333"})
    assert fs.find(place) == [f"{place}/a.csv", f"{place}/d/b.csv", f"{place}/d/e/c.txt"]
    assert fs.glob(f"rack:/{place}/**/*.csv") == [f"{place}/a.csv", f"{place}/d/b.csv"]
    assert fs.du(place) == 6
    assert [info["type"] for info in fs.ls(place)] == ["file", "directory"]
    assert fs.ls(place, detail=False) == [f"{place}/a.csv", f"{place}/d"]
    assert [root for root, _, _ in fs.walk(place)] == [place, f"{place}/d", f"{place}/d/e"]
    fs.mv(f"{place}/a.csv", f"{place}/d")
    assert fs.cat(f"{place}/d/a.csv") == b"1"
    fs.mv(f"{place}/d/a.csv", f"{place}/z.csv")
    fs.cp(f"{place}/d", f"{place}/copy", recursive=True)
    assert fs.cat(f"{place}/copy/e/c.txt") == b"333"
    assert fs.isdir(f"{place}/copy/e")
    assert fs.isfile(f"{place}/z.csv")
    before = fs.ukey(f"{place}/z.csv"), fs.checksum(f"{place}/z.csv")
    fs.pipe(f"{place}/z.csv", b"other")
    assert fs.ukey(f"{place}/z.csv") != before[0]
    assert abs(fs.modified(f"{place}/z.csv").timestamp() - time.time()) < 60
    fs.touch(f"{place}/t")
    fs.touch(f"{place}/z.csv", truncate=False)
    assert fs.cat(f"{place}/z.csv") == b"other"
    callback = Callback()
    fs.get(f"{place}/d", str(tmp_path / "d"), recursive=True)
    fs.get_file(f"{place}/z.csv", str(tmp_path / "z"), callback=callback)
    assert (callback.value, callback.size) == (5, 5)
    assert (tmp_path / "d/e/c.txt").read_bytes() == b"333"
    fs.put(str(tmp_path / "d"), f"{place}/back", recursive=True)
    assert fs.cat(f"{place}/back/e/c.txt") == b"333"
    fs.rm(f"{place}/back", recursive=True)
    assert not fs.exists(f"{place}/back")
    with fs.transaction:
        with fs.open(f"{place}/one", "wb") as file:
            file.write(b"1")
        assert not fs.exists(f"{place}/one")
    assert fs.cat(f"{place}/one") == b"1"


def test_whoever_knows_fsspec(g: rack.Group, place: str) -> None:
    url = f"rack:/{place}/x.csv"

    def write(url: str) -> None:
        with fsspec.open(url, "w") as file:
            file.write("a,b\n1,2\n")

    assert g.fork(write, url).wait(20).ok
    with fsspec.open(url) as file:
        assert file.read() == b"a,b\n1,2\n"
    with fsspec.open(url + ".gz", "wt", compression="infer") as file:
        file.write("packed")
    with fsspec.open(url + ".gz", "rt", compression="infer") as file:
        assert file.read() == "packed"
    with g.fs.open(url + ".gz", "w", compression="infer") as file:
        file.write("once more")
    with g.fs.open(url + ".gz", "rb", compression="gzip") as file:
        assert file.read() == b"once more"
    with pytest.raises(ZeroDivisionError), g.fs.open(url + ".gz", "wb", compression="gzip") as file:
        _ = file.write(b"half") / 0
    assert g.fs.size(url + ".gz") > 20
    assert pickle.loads(pickle.dumps(g.fs)).exists(url)
    fs, path = fsspec.core.url_to_fs(url)
    assert fs == g.fs
    assert fs.cat(path) == b"a,b\n1,2\n"


def test_pandas(g: rack.Group, place: str) -> None:
    pandas = pytest.importorskip("pandas")
    pandas.DataFrame({"a": [1, 3], "b": [2, 4]}).to_csv(f"rack:/{place}/x.csv.gz", index=False)
    assert pandas.read_csv(f"rack:/{place}/x.csv.gz").b.tolist() == [2, 4]
    assert g.fork(lambda: int(pandas.read_csv(f"rack:/{place}/x.csv.gz").a.sum())).result(30) == 4


def test_from_actors_and_outside(g: rack.Group, place: str) -> None:
    class Clerk(rack.Actor):
        def receiveMsg_str(self, path: str, sender: Any) -> None:
            with self.open(path, "w") as file:
                file.write(f"by {self.getpid()}")
            self.send(sender, (self.listdir(os.path.dirname(path)), self.fs.exists(path)))

    clerk = g.fork(Clerk)
    assert clerk.ask(f"{place}/a") == (["a"], True)
    [card] = [card for card in directories.cards() if card["gid"] == g.gid]
    visitor = rack.syscalls.group.attach(card)
    try:
        assert visitor.open(f"{place}/a").read() == f"by {clerk.pid}"
    finally:
        visitor.leave()
    clerk.kill()
    clerk.wait(20)


def test_true_listings_while_many_write(g: rack.Group, place: str) -> None:
    def write(path: str) -> None:
        for number in range(10):
            with rack.open(f"{path}/{rack.getpid()}-{number}", "wb") as file:
                file.write(b"x" * 200_000)

    writers = g.fork(write, place, n=2)
    while any(writer.is_alive() for writer in writers):
        assert {info["size"] for info in g.fs.ls(place)} <= {200_000}
    assert len(g.listdir(place)) == 20
