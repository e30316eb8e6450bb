"""The store against a dict, replicas against the store, and what happens when the map is full."""

from __future__ import annotations

import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memorymodel import Model, operations, packed, unpacked

from rackactor.errors import InvalidCall, MemoryFull
from rackactor.ipc.memory import layout, snapshots, values
from rackactor.ipc.memory.frozen import Frozen
from rackactor.ipc.memory.reader import Reader
from rackactor.ipc.memory.replica import Gap, Replica
from rackactor_runtime.stores.memory import Store
from rackactor_runtime.supervisor.decisions.memory.operations import Operations

LOG = 1 << 20


class Memory:
    """A store, and operations on it."""

    def __init__(self, path: Path, size: int = 64 << 20) -> None:
        self.store = Store(path, size, LOG)
        self.operations = Operations(lambda pid: True)
        self.reader = Reader(self.store._env)
        self.records: list[tuple[int, bytes]] = []

    def __call__(self, *op: Any, reserve: bool = False) -> Any:
        store = self.store
        store.begin(reserve=reserve)
        try:
            result, changes = self.operations.decide(store, store.revision + 1, op)
            if changes:
                record = store.apply(time.time(), changes)
            store.commit()
        except BaseException:
            store.abort()
            raise
        if changes:
            self.records.append((store.revision, record))
        return result

    def content(self) -> dict[str, Any]:
        return content(self.reader)

    def chunks(self) -> list[bytes]:
        return [bytes(part) for part in snapshots.copy_environment(self.store._env, compact=False)]


def _is_taken(path: Path) -> bool:
    """Tell whether another process finds that somebody has the environment open (LMDB asks so for the first one)."""
    program = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'r+b'), fcntl.LOCK_EX | fcntl.LOCK_NB, 1)"
    done = subprocess.run([sys.executable, "-c", program, str(path / "lock.mdb")], capture_output=True, check=False)
    assert done.returncode == 0 or b"BlockingIOError" in done.stderr, done.stderr
    return done.returncode != 0


def test_the_writer_never_loses_its_lock(tmp_path: Path) -> None:
    """Without it the next process that reads begins the table of transactions anew, and changes are lost."""
    memory = Memory(tmp_path / "m", 1 << 20)
    memory("put", b"k", b"1")
    assert _is_taken(tmp_path / "m")
    with pytest.raises(MemoryFull):
        memory("put", b"large", bytes(2 << 20))
    memory("delete", b"k", reserve=True)
    assert _is_taken(tmp_path / "m")
    replica = Replica(64 << 20, LOG)
    replica.load(memory.chunks())
    replica.close()
    memory.store.sweep()
    assert _is_taken(tmp_path / "m")
    memory.store.close()
    memory.store._env = None  # as after a map that could not be made
    memory("put", b"k", b"1")
    assert _is_taken(tmp_path / "m")
    memory.store.close()
    assert not _is_taken(tmp_path / "m")


def content(reader: Reader) -> dict[str, Any]:
    with reader.reading() as reading:
        return dict(reading.items())


@pytest.fixture
def make(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Memory]]:
    made: list[Memory] = []

    def one(size: int = 64 << 20) -> Memory:
        made.append(Memory(tmp_path_factory.mktemp("memory") / "m", size))
        return made[-1]

    yield one
    for each in made:
        each.store.close()


@given(st.lists(operations, max_size=40), st.integers(0, 40), st.integers(0, 40))
@settings(max_examples=40, deadline=None)
def test_store_and_replica_do_what_a_dict_does(ops: Sequence[Any], lost: int, late: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        memory, model = Memory(Path(directory) / "m"), Model()
        replica = Replica(memory.store.map_size, LOG)
        replica.load(memory.chunks())
        for number, op in enumerate(ops):
            before = len(memory.records)
            try:
                expected = model.do(op)
            except InvalidCall:
                with pytest.raises(InvalidCall):
                    memory(*packed(op))
            else:
                assert unpacked(op, memory(*packed(op))) == expected
            assert memory.content() == model.content
            fresh = memory.records[before:]
            if number == lost:
                continue
            try:
                replica.apply(fresh)
            except Gap:
                replica.load(memory.chunks())
                replica.apply(memory.records[late:])  # what it has already is passed over
            if number < lost:
                assert replica.revision == memory.store.revision
        if replica.revision == memory.store.revision:
            assert replica.reader is not None
            assert content(replica.reader) == model.content
            assert replica.reader.log(0, b"") == memory.reader.log(0, b"")
        replica.close()
        memory.store.close()


def test_a_full_map_is_an_error_and_leaves_everything(make: Callable[..., Memory]) -> None:
    memory = make(1 << 20)
    value = values.encode(b"x" * 5000)
    put = 0
    with pytest.raises(MemoryFull, match=r"1048576 bytes.*shm_size"):
        while True:
            memory("put", b"%d" % put, value)
            put += 1
    assert 50 < put < 300
    assert len(memory.content()) == put
    revision = memory.store.revision
    with pytest.raises(MemoryFull):
        memory("put", b"one more", value)
    assert memory.store.revision == revision
    for number in range(put):
        memory("delete", b"%d" % number, reserve=True)
    assert memory.content() == {}
    for number in range(put // 2):  # there is room again
        memory("put", b"%d" % number, value)
    assert len(memory.content()) == put // 2


def test_a_full_map_with_a_reader_that_stays(make: Callable[..., Memory]) -> None:
    memory = make(2 << 20)
    memory("put", b"a", values.encode(b"old"))
    with memory.reader.reading() as reading:
        with pytest.raises(MemoryFull):
            for _ in range(10_000):
                memory("put", b"a", values.encode(b"x" * 5000))
        assert reading["a"] == b"old"
        assert memory("delete", b"a", reserve=True)
    memory("put", b"b", values.encode(b"new"))


def test_the_log_keeps_within_its_bound(make: Callable[..., Memory]) -> None:
    memory = make()
    for number in range(300):
        memory("put", b"key", values.encode(bytes(10_000 + number)))
    found, reached, first = memory.reader.log(0, b"")
    assert (found, reached) == ([], 0)
    assert 190 < first <= memory.store.revision
    found, reached, _ = memory.reader.log(first - 1, b"")
    assert [each.revision for each in found] == list(range(first, memory.store.revision + 1))
    assert sum(len(each.data or b"") for each in found) <= LOG
    assert memory.reader.log(memory.store.revision, b"")[0] == []


def test_a_log_that_is_dropped_as_a_whole(make: Callable[..., Memory]) -> None:
    memory = make()
    memory.store._log.limit = 100
    memory("put", b"a", values.encode(bytes(10_000)))
    assert memory.reader.log(0, b"") == ([], 0, 2)
    assert memory.reader.log(1, b"") == ([], 1, 2)
    memory("put", b"a", values.encode(1))
    assert [each.revision for each in memory.reader.log(1, b"")[0]] == [2]


def test_large_values_are_not_in_the_log(make: Callable[..., Memory]) -> None:
    memory = make()
    memory("put", b"large", values.encode(bytes(1 << 20)))
    (change,), _, _ = memory.reader.log(0, b"")
    assert (change.code, change.data) == (layout.PUT_LARGE, None)


def test_snapshots_are_checked(make: Callable[..., Memory], tmp_path: Path) -> None:
    memory, other = make(), make()
    memory("put", b"a", values.encode([1, 2]))
    memory("append", b"l", [values.encode(3)])
    memory("put", b"mine", values.encode(1), 7)
    path = tmp_path / "snapshot"
    snapshots.write_snapshot(memory.store._env, path)
    assert [file.name for file in tmp_path.iterdir()] == ["snapshot"]
    data = path.read_bytes()
    for damaged in (b"", b"text", data[:-1], data[:9000], data[9000:], data[:5000] + b"!" + data[5001:]):
        (tmp_path / "damaged").write_bytes(damaged)
        with (tmp_path / "damaged").open("rb") as file, pytest.raises(InvalidCall, match="snapshot"):
            snapshots.check_snapshot(file, "it")
    with path.open("rb+") as file:
        file.truncate(snapshots.check_snapshot(file, "it"))
    other("put", b"b", values.encode(1))
    list(other.store.replace(str(path), lambda pid: True))
    assert other.content() == {"a": [1, 2], "l": [3]}  # without what went with a process of another group
    assert other.store.revision == 4
    other("append", b"l", [values.encode(4)])
    assert other.reader.log(4, b"")[0][0].revision == 5
    list(memory.store.replace(str(path), lambda pid: pid == 7))
    assert memory.content() == {"a": [1, 2], "l": [3], "mine": 1}


def test_a_snapshot_that_does_not_fit_changes_nothing(make: Callable[..., Memory], tmp_path: Path) -> None:
    memory, small = make(), make(1 << 20)
    memory("put", b"a", values.encode(bytes(3 << 20)))
    path = tmp_path / "snapshot"
    snapshots.write_snapshot(memory.store._env, path)
    with path.open("rb+") as file:
        file.truncate(snapshots.check_snapshot(file, "it"))
    small("put", b"b", values.encode(1))
    with pytest.raises(MemoryFull):
        list(small.store.replace(str(path), lambda pid: True))
    assert small.content() == {"b": 1}
    assert small.reader.log(0, b"")[0][0].key == "b"


def test_a_view_that_is_kept_is_an_error_and_stays_right(make: Callable[..., Memory]) -> None:
    memory = make()
    memory("put", b"a", values.encode(b"x" * 10_000))
    with memory.reader.reading() as reading:
        whole = reading.view("a")
        assert whole == b"x" * 10_000
    with pytest.raises(ValueError, match="released"):
        whole[0]
    with pytest.raises(BufferError, match="copy"), memory.reader.reading() as reading:
        part = reading.view("a")[5:10]
    for _ in range(50):
        memory("put", b"a", values.encode(b"y" * 10_000))
    assert part == b"xxxxx"  # its transaction goes on as long as it does
    assert memory.reader._kept
    del part
    memory.reader.reading().end()
    assert not memory.reader._kept
    with memory.reader.reading() as reading, pytest.raises(TypeError, match="int"):
        memory("put", b"i", values.encode(5))
        reading.view("a").release()
        memory.reader.reading().view("i")


class Array:
    """Has a buffer, as a NumPy array has."""

    def __init__(self, data: Any) -> None:
        self.data = memoryview(data)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Array, (pickle.PickleBuffer(self.data),)


def test_an_array_that_is_kept_is_an_error_too(make: Callable[..., Memory]) -> None:
    memory = make()
    memory("put", b"a", values.encode([Array(b"x" * 5000), Array(b"y" * 5000)]))
    with memory.reader.reading() as reading:
        assert [bytes(array.data[:2]) for array in reading.view("a")] == [b"xx", b"yy"]
    with memory.reader.reading() as reading:
        whole = reading.view("a")
    assert [bytes(array.data[:2]) for array in whole] == [b"xx", b"yy"], "its name may stay bound"
    del whole
    with pytest.raises(BufferError), memory.reader.reading() as reading:
        kept = reading.view("a")[1]
    memory.reader.close()  # the memory stays where it is as long as somebody looks at it
    assert kept.data[0] == ord("y")


def test_numpy_arrays_in_place(make: Callable[..., Memory]) -> None:
    numpy = pytest.importorskip("numpy")
    memory = make()
    memory("put", b"a", values.encode(numpy.arange(1e5)))
    with memory.reader.reading() as reading:
        array = reading.view("a")
        assert (array.sum(), array.ctypes.data % 64, array.flags.writeable) == (4999950000.0, 0, False)
        del array
    with memory.reader.reading() as reading:
        named = reading.view("a")
    memory("put", b"a", values.encode(numpy.zeros(100_000)))
    assert named[-1] == 99999.0
    assert memory.reader.sweep()
    del named
    assert not memory.reader.sweep()
    for keep in (lambda array: (array, array), lambda array: memoryview(array)):
        with pytest.raises(BufferError, match="copy"), memory.reader.reading() as reading:
            array = reading.view("a")
            kept = keep(array)
        assert kept is not None
        del array, kept
        assert not memory.reader.sweep()


def test_a_copy_in_place_is_of_one_revision_while_the_writer_goes_on(make: Callable[..., Memory]) -> None:
    memory = make()
    for number in range(300):
        memory("put", b"%d" % number, values.encode(b"x" * (number * 20)))
    for _ in range(3):
        expected, revision = memory.content(), memory.store.revision
        frozen = Frozen(memory.store._env)
        for number in range(0, 300, 2):
            memory("put", b"%d" % number, values.encode(b"y" * 3000))
            memory("delete", b"%d" % (number + 1))
        replica = Replica(memory.store.map_size, LOG)
        replica.load(frozen.parts(10_000))
        frozen.close()
        assert replica.reader is not None
        assert content(replica.reader) == expected
        assert replica.revision == revision
        replica.apply(memory.records[-300:])
        assert content(replica.reader) == memory.content()
        replica.close()
        for number in range(300):
            memory("put", b"%d" % number, values.encode(b"z" * number))
