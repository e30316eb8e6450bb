"""Shared memory between real processes: on its own host, and by replicas."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import memorytargets as targets
import pytest
from linearizable import Op, linearizable
from support import Script, eventually, os_pid_of, place_of

import rackactor as rack
from rackactor.wire.calls.memory import Shm

MIB = 1 << 20


@pytest.fixture(params=["auto", "always"])
def replica(request: pytest.FixtureRequest) -> str:
    """Each test that takes it runs with the supervisor's memory, and with replicas."""
    how: str = request.param
    return how


@pytest.fixture
def make(transport: str, request: pytest.FixtureRequest) -> Iterator[Callable[..., rack.Group]]:
    """Make groups that end with the test."""
    made: list[rack.Group] = []

    def one(**settings: Any) -> rack.Group:
        group = rack.group("memory", grace=2.0, end_grace=0.5, **place_of(request, transport), **settings)
        made.append(group.__enter__())
        return group

    yield one
    for group in made:
        group.end()


def both_ways(params: str = "transport, replica") -> Any:
    """The memory itself, replicas, and what each process of another network finds out for itself."""
    return pytest.mark.parametrize(
        params, [("ipc", "auto"), ("tcp", "always"), ("netns", "auto"), ("machines", "auto")]
    )


@both_ways()
def test_a_mapping(make: Callable[..., rack.Group], replica: str) -> None:
    shm = make(shm_replica=replica).shm
    shm["a/1"] = {"x": [1, 2.5, None]}
    shm["a/2"] = (1, {2})
    shm["b"] = b"bytes"
    assert shm["a/1"] == {"x": [1, 2.5, None]}
    assert shm.get("a/2") == (1, {2})
    assert shm.get("c") is None
    assert shm.get("c", 5) == 5
    assert "b" in shm
    assert "c" not in shm
    assert 5 not in shm
    assert len(shm) == 3
    assert list(shm) == ["a/1", "a/2", "b"]
    assert shm.keys("a/") == ["a/1", "a/2"]
    assert dict(shm.items("b")) == {"b": b"bytes"}
    assert list(shm.values("b")) == [b"bytes"]
    del shm["b"]
    assert not shm.delete("b")
    with pytest.raises(KeyError):
        del shm["b"]
    with pytest.raises(KeyError):
        shm["b"]
    with pytest.raises(rack.InvalidCall, match="key"):
        shm["k" * 501] = 1
    with pytest.raises(rack.InvalidCall, match="cannot be kept"):
        shm["g"] = (x for x in "abc")
    assert shm.revision == shm.sync() == 4
    assert shm.lag() == (0, 0.0)
    assert shm.client.backing.is_replica == (replica == "always")


@both_ways()
def test_operations(make: Callable[..., rack.Group], replica: str) -> None:
    shm = make(shm_replica=replica).shm
    assert shm.incr("n") == 1
    assert shm.incr("n", 41) == shm["n"] == 42
    assert shm.cas("n", 42, 1)
    assert not shm.cas("n", 42, 2)
    assert not shm.cas("n", shm.ABSENT, 2)
    assert shm.cas("new", shm.ABSENT, None)
    assert shm["new"] is None
    entry = shm.entry("n")
    assert entry is not None
    assert shm.cas("n", new=5, revision=entry.revision)
    assert not shm.cas("n", new=6, revision=entry.revision)
    assert shm.update("n", lambda n: n * 2) == shm["n"] == 10
    assert shm.setdefault("n", 3) == 10
    assert shm.setdefault("m", 3) == 3
    assert [shm.append("l", x) for x in "abc"] == [1, 2, 3]
    assert shm.extend("l", ["y", "z"], left=True) == 5
    assert shm["l"] == shm.range("l") == ["z", "y", "a", "b", "c"]
    assert (shm.pop("l"), shm.pop("l", 0)) == ("c", "z")
    assert shm.remove("l", "a") == 1
    assert shm.range("l", -1) == ["b"]
    assert shm["l"] == ["y", "b"]
    assert shm.pop("nothing", default=7) == 7
    with pytest.raises(IndexError):
        shm.pop("nothing")
    with pytest.raises(rack.InvalidCall, match="integer"):
        shm.incr("l")
    with pytest.raises(rack.InvalidCall, match="append"):
        shm.append("n", 1)
    large = os.urandom(3 * MIB)
    shm["large"] = large
    assert shm["large"] == large
    with shm.view("large") as view:
        assert view[-5:] == large[-5:]
    with pytest.raises(BufferError), shm.view("large") as view:
        kept = view[:3]
    assert kept == large[:3]
    del kept, view
    np = pytest.importorskip("numpy")
    array = np.arange(100_000.0)
    shm["array"] = array

    def total() -> float:
        with shm.view("array") as found:
            return float(found.sum())

    with shm.view("array") as found:
        assert found.sum() == total() == array.sum()
    shm["array"] = np.zeros(100_000)
    assert found[-1] == 99_999.0
    assert shm.client.backing.reader.sweep()
    del found
    assert eventually(lambda: not shm.client.backing.reader._kept), "nobody reads, and it is let go all the same"


@both_ways()
def test_pipelines_and_transactions(make: Callable[..., rack.Group], replica: str) -> None:
    shm = make(shm_replica=replica).shm
    with shm.pipeline() as pipeline:
        for number in range(2000):
            pipeline.put(f"p/{number:04}", number)
        pipeline.incr("n", 5)
        pipeline.append("l", "x")
        pipeline.pop("l")
        pipeline.put("large", bytes(MIB))
        pipeline.delete("p/0000")
    assert pipeline.results[2000:] == [5, 1, "x", 2004, True]
    assert len(shm.keys("p/")) == 1999
    pipeline = shm.pipeline()
    pipeline.incr("large")
    pipeline.incr("n")
    refused, done = pipeline.execute()
    assert isinstance(refused, rack.InvalidCall)
    assert done == 6
    before = shm.revision
    with shm.transaction() as t:
        t["n"] = t["n"] + 1
        t["m"] = t.get("m", 0) + t["n"]
        del t["large"]
        t.append("l", 1)
    assert (shm["n"], shm["m"], "large" in shm, shm["l"]) == (7, 7, False, [1])
    assert shm.revision == t.revision == before + 1
    with pytest.raises(rack.ConflictError, match="'n'"), shm.transaction() as t:
        t["m"] = t["n"]
        shm["n"] = 0
    assert shm["m"] == 7
    with pytest.raises(ZeroDivisionError), shm.transaction() as t:
        t["n"] = 1 / 0
    assert shm["n"] == 0


@both_ways()
def test_many_processes_count(make: Callable[..., rack.Group], replica: str) -> None:
    group = make(shm_replica=replica)
    children = group.fork(targets.count, 100, n=3)
    others = group.fork(targets.write_and_read, each=["a", "b"], kwargs={"times": 50})
    assert sorted(child.result(30) for child in children) == [child.pid for child in children]
    for other in others:
        other.result(30)
    group.shm.sync()
    assert group.shm["count"] == 300


@pytest.mark.parametrize("transport", ["ipc"])
def test_histories_are_linearizable(make: Callable[..., rack.Group]) -> None:
    group = make()
    seeds = [random.randrange(1 << 30) for _ in range(3)]
    children = [group.fork(targets.operate, seed, 3, 150, "barrier") for seed in seeds]
    histories: dict[str, list[Op]] = defaultdict(list)
    for child in children:
        for key, *op in child.result(40):
            histories[key].append(Op(*op))
    assert sum(len(history) for history in histories.values()) == 450
    for key, history in histories.items():
        assert linearizable(history), (key, seeds)


@both_ways()
def test_keys_and_locks_go_with_their_process(make: Callable[..., rack.Group], replica: str) -> None:
    group = make(shm_replica=replica)
    shm = group.shm
    child = group.fork(targets.hold, ["mine/1", "mine/2"], "lock")
    assert eventually(lambda: shm.get("holding"))
    assert shm["mine/1"] == child.pid
    assert group.lock("lock").holder() == child.pid
    with pytest.raises(rack.RackTimeout, match="lock"):
        group.lock("lock").acquire(0)
    with pytest.raises(rack.RackTimeout, match="lock"):
        group.lock("lock", timeout=0.05).acquire()
    shm.put("mine/2", "another's now")
    with shm.watch("mine/") as changes:
        os.kill(os_pid_of(child), signal.SIGKILL)
        with group.lock("lock", timeout=10) as token:
            assert token == 2
        change = changes.next(10)
        assert (change.kind, change.key) == ("delete", "mine/1")
    assert shm.keys("mine/") == ["mine/2"]
    with pytest.raises(rack.NoSuchProcess):
        shm.put("k", 1, lease=child.pid)


@pytest.mark.parametrize("transport", ["ipc"])
def test_a_lock_outlives_its_holders(make: Callable[..., rack.Group]) -> None:
    group = make()
    children = [group.fork(targets.guarded, 20, die_at) for die_at in (5, 12, -1)]
    for child in children:
        child.wait(40)
    found = group.shm["tokens"]
    tokens = [token for token, _ in found]
    assert len(found) == 6 + 13 + 20
    assert tokens == sorted(set(tokens))
    assert {inside for _, inside in found} == {1}
    lock = group.lock("guard")
    with lock as token:
        assert token > tokens[-1]
        with pytest.raises(rack.LockError, match="already"):
            group.lock("guard").acquire()
    with pytest.raises(rack.LockError):
        lock.release()


@both_ways()
def test_watches_have_no_gaps(make: Callable[..., rack.Group], replica: str) -> None:
    group = make(shm_replica=replica)
    shm = group.shm
    watchers = group.fork(targets.collect, "w/", "last", n=3)
    expected = []
    for number in range(300):
        expected.append((shm.put(f"w/{number % 7}", number), f"w/{number % 7}", number))
        shm[f"other/{number}"] = number
    expected.append((shm.put("w/end", "last"), "w/end", "last"))
    for watcher in watchers:
        assert watcher.result(30) == expected
    with shm.watch("w/", timeout=0.05) as changes:
        assert list(changes) == []


@both_ways()
def test_changes_as_messages(make: Callable[..., rack.Group], replica: str) -> None:
    group = make(shm_replica=replica)
    actor = group.fork(targets.Watcher, "a/")
    assert actor.ask("begin", timeout=60) == "begun"
    group.shm["a/1"] = 5
    group.shm["b"] = 5
    group.shm.append("a/l", 6)
    del group.shm["a/1"]
    expected = [("put", "a/1", 5), ("append", "a/l", 6), ("delete", "a/1", None)]
    assert eventually(lambda: actor.ask("seen", timeout=60) == expected)
    delivered = group.shm.watch("m/", to=group.getpid())
    group.shm["m/1"] = "mine"
    change = group.receive(5).value
    assert isinstance(change, rack.Changed)
    assert (change.key, change.value) == ("m/1", "mine")
    delivered.close()
    group.shm["m/1"] = "not heard of"
    with pytest.raises(rack.RackTimeout):
        group.receive(0.05)


@pytest.mark.parametrize("transport", ["ipc"])
def test_a_watch_that_is_too_far_behind(make: Callable[..., rack.Group]) -> None:
    shm = make(shm_log=MIB).shm
    changes = shm.watch("k")
    shm["k"] = 0
    assert changes.next(5).value == 0
    shm["k"] = large = bytes(MIB)
    assert changes.next(5).value == large  # read where it is: the log has only its name
    shm["k"] = large
    shm["k"] = 1
    with pytest.raises(rack.RevisionGone, match="too large"):
        changes.next(5).value  # noqa: B018
    assert changes.next(5).value == 1
    for _ in range(20):
        shm["x"] = bytes(100_000)
    with pytest.raises(rack.RevisionGone, match="shm_log"):
        changes.next(5)
    changes.close()
    with shm.watch("k", shm.revision + 1) as changes:
        shm["k"] = 2
        assert changes.next(5).value == 2


@both_ways()
def test_a_full_memory(make: Callable[..., rack.Group], replica: str) -> None:
    shm = make(shm_size="1M", shm_replica=replica).shm
    with pytest.raises(MemoryError, match="shm_size"):
        for number in range(1000):
            shm[f"k/{number}"] = bytes(5000)
    assert issubclass(rack.MemoryFull, rack.RackError)
    count = len(shm)
    assert 50 < count < 300
    pipeline = shm.pipeline()
    pipeline.put("large", bytes(500_000))
    pipeline.delete("k/0")
    pipeline.incr("n")
    large, deleted, _ = pipeline.execute()
    assert isinstance(large, rack.MemoryFull)
    assert deleted is True
    for key in shm.keys("k/"):
        assert shm[key] == bytes(5000)
        del shm[key]
    for number in range(count // 2):
        shm[f"k/{number}"] = bytes(5000)


@both_ways()
def test_snapshot_and_restore(make: Callable[..., rack.Group], replica: str, tmp_path: Path) -> None:
    shm = make(shm_replica=replica).shm
    shm["a"] = 1
    shm.append("l", "x")
    shm["large"] = bytes(3 * MIB)
    shm.put("leased", 1, lease=True)
    file = tmp_path / "snapshot"
    shm.snapshot(file)
    changes = shm.watch("a")
    shm["a"] = 2
    shm["b"] = 3
    assert shm.restore(file) == shm.revision
    assert shm.keys() == ["a", "l", "large", "leased"]
    assert (shm["a"], shm["l"]) == (1, ["x"])
    with pytest.raises(rack.RevisionGone):
        changes.next(5)
    changes.close()
    shm.append("l", "y")
    assert shm["l"] == ["x", "y"]
    (tmp_path / "text").write_text("no snapshot")
    with pytest.raises(rack.InvalidCall, match="no snapshot"):
        shm.restore(tmp_path / "text")
    (tmp_path / "cut").write_bytes(file.read_bytes()[:-100])
    with pytest.raises(rack.InvalidCall, match="cut"):
        shm.restore(tmp_path / "cut")
    assert shm["l"] == ["x", "y"]


@pytest.mark.parametrize("transport", ["tcp"])
def test_a_replica_that_was_cut_off_comes_back(make: Callable[..., rack.Group]) -> None:
    group = make(shm_replica="always", lost_after=30.0, shm_size="400M")
    shm = group.shm
    shm["n"] = 0
    child = group.fork(targets.follow, "n", 100)
    assert eventually(lambda: child.info()["started"])
    time.sleep(0.3)
    os.kill(os_pid_of(child), signal.SIGSTOP)
    part = os.urandom(MIB)
    for number in range(80):  # more than may be on the way to it
        shm[f"part/{number % 20}"] = part
        shm["n"] = number
    os.kill(os_pid_of(child), signal.SIGCONT)
    for number in range(80, 101):
        shm["n"] = number
    revision, content, is_replica = child.result(40)
    assert is_replica
    assert revision == shm.revision
    assert content == dict(shm.items())


@pytest.mark.parametrize("transport", ["ipc"])
def test_lost_changes_are_noticed(make: Callable[..., rack.Group]) -> None:
    shm = make(shm_replica="always").shm
    shm["a"] = 1
    assert shm["a"] == 1
    backing = shm.client.backing
    take, lost = backing._take, []
    backing._take = lost.append  # type: ignore[method-assign, assignment]
    shm.client.kernel.cast(Shm([["put", b"a", b"m\x02", 0]]))
    assert eventually(lambda: shm.client.kernel.wait(lambda: lost, 0.05))
    backing._take = take  # type: ignore[method-assign]
    assert shm["a"] == 1
    shm.sync()  # hears that there is more than it has, and begins anew
    assert shm["a"] == 2
    shm["a"] = 3
    assert shm["a"] == 3


def test_nothing_is_left_of_a_killed_supervisor(script: Callable[..., Script]) -> None:
    program = script(
        """
        import os, signal, sys, rackactor as rack
        from rackactor.wire.calls.memory import ShmOpen
        with rack.group("short") as g:
            g.shm["a"] = 1
            print(os.path.realpath(g.shm.client.kernel.call(ShmOpen())[0]["path"]), flush=True)
            sys.stdin.readline()
            os.kill(g._supervisor.pid, signal.SIGKILL)
            g.kernel.wait(lambda: g.kernel.ended, 20)
        """
    )
    path = Path(program.line())
    assert path.exists()
    assert program.process.stdin is not None
    print(file=program.process.stdin, flush=True)
    assert eventually(lambda: not path.exists())
    assert not list(Path("/dev/shm").glob("rack-replica-*"))


def test_outside_a_group_it_makes_one(script: Callable[..., Script]) -> None:
    program = script(
        """
        import rackactor as rack
        rack.shm["a"] = 1
        print(rack.shm["a"], len(rack.shm), list(rack.shm), "a" in rack.shm, bool(rack.shm))
        """
    )
    code, out, err = program.end()
    assert (code, out, err) == (0, "1 1 ['a'] True True\n", "")


def test_importing_rackactor_imports_no_database(script: Callable[..., Script]) -> None:
    code, out, _ = script("import sys, rackactor; print('lmdb' in sys.modules)").end()
    assert (code, out) == (0, "False\n")
