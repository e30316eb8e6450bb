"""No thread can be started: it is an error of the operating system, and leaves nothing half-made behind."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lmdb
import msgpack
import pytest
from support import eventually

from rackactor.ipc.memory import snapshots
from rackactor.syscalls import main_names
from rackactor.system import threads
from rackactor.wire import codec
from rackactor_runtime.providers.machines.workers import WorkerPool


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        yield patch


def test_it_is_an_error_of_the_system(no_threads: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match="no thread can be started") as caught:
        threads.start(threading.Thread(target=print))
    assert caught.value.errno == errno.EAGAIN


def test_a_thread_that_starts_is_returned() -> None:
    done = threading.Event()
    threads.start(threading.Thread(target=done.set)).join(10)
    assert done.is_set()


def test_a_snapshot_leaves_no_descriptor(no_threads: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path), map_size=1 << 20) as env:
        before = os.listdir("/proc/self/fd")
        with pytest.raises(OSError, match="no thread"):
            list(snapshots.copy_environment(env, compact=True))
        assert os.listdir("/proc/self/fd") == before


class _Kernel:
    """Notes what is answered."""

    def __init__(self) -> None:
        self.take: Any = None
        self.answers: dict[int, Any] = {}

    def on(self, _: Any, take: Any) -> None:
        self.take = take

    def consume(self, pid: int, cost: int) -> None:
        pass

    def answer(self, pid: int, rid: int, answer: bytes) -> None:
        self.answers[rid] = codec.unpack(answer)


def test_who_asks_for_a_name_is_told(no_threads: pytest.MonkeyPatch) -> None:
    kernel = _Kernel()
    main_names.serve(kernel)  # type: ignore[arg-type]

    def ask(rid: int) -> None:
        entry = SimpleNamespace(payload=msgpack.packb(("no such program", "name")), rid=rid)
        kernel.take(SimpleNamespace(delivery=SimpleNamespace(pid=3, cost=1, entry=entry)), None)

    ask(1)
    ask(2)
    assert {rid: found for rid, (found, _) in kernel.answers.items()} == {1: False, 2: False}
    assert b"no thread can be started" in kernel.answers[1][1]
    no_threads.undo()  # from now on there are threads again
    ask(3)
    for thread in [each for each in threading.enumerate() if each.name == "rackactor-names"]:
        thread.join(10)
    assert b"another program" in kernel.answers[3][1]


def test_a_job_that_nobody_can_do_is_refused_and_not_kept(no_threads: pytest.MonkeyPatch) -> None:
    pool = WorkerPool(2)
    try:
        with pytest.raises(OSError, match="no thread"):
            pool.begin(lambda: lambda now: now)
        with pytest.raises(OSError, match="no thread"):
            pool.wake_at(1.0)
        no_threads.undo()
        pool.begin(lambda: lambda now: now)
        answers: list[Any] = []
        assert eventually(lambda: answers.extend(pool.answers()) or answers)
        assert [answer(5.0) for answer in answers] == [5.0]
    finally:
        pool.close()
