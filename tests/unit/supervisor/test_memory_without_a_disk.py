"""Shared memory where the operating system refuses: an error for who asked, never a signal, and it goes on."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path
from typing import Any

import lmdb
import pytest

from rackactor.errors import MemoryFull, RackError
from rackactor.ipc.memory import allocation, layout
from rackactor.ipc.memory.frozen import Frozen
from rackactor_runtime.stores import memory
from rackactor_runtime.stores.memory import Store
from rackactor_runtime.supervisor.clock import Clock
from rackactor_runtime.supervisor.decisions.settings import Settings
from rackactor_runtime.supervisor.memory.service import MemoryService

SIZE, LOG = 16 << 20, 1 << 20


def test_the_table_of_readers_has_no_holes(tmp_path: Path) -> None:
    """A reader that touches one on a full disk is killed by SIGBUS."""
    store = Store(tmp_path / "m", SIZE, LOG)
    with (tmp_path / "m" / "lock.mdb").open("rb") as file:
        found = os.fstat(file.fileno())
        assert found.st_blocks * 512 >= found.st_size > layout.READERS * 64
    store.close()


def test_a_snapshot_of_a_file_with_holes_reads_them_without_touching_them(tmp_path: Path) -> None:
    store = Store(tmp_path / "m", SIZE, LOG)
    env = store._env
    with env.begin(write=True) as txn:
        txn.put(b"large", bytes(1 << 20), db=store._dbs.entries)
    whole = b"".join(bytes(part) for part in _parts(env))
    path = tmp_path / "m" / "data.mdb"
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        zeros = next(at for at in range(8192, size, 4096) if not any(whole[at : at + 8192]))
        punch(file.fileno(), zeros, 4096)
        assert allocation.has_hole(file.fileno(), zeros, zeros + 4096)
    assert b"".join(bytes(part) for part in _parts(env)) == whole
    with path.open("rb") as file:
        assert allocation.has_hole(file.fileno(), zeros, zeros + 4096)  # nobody has filled it
    store.close()


def _parts(env: Any) -> list[bytes]:
    frozen = Frozen(env)
    try:
        return [bytes(part) for part in frozen.parts(1 << 16)]
    finally:
        frozen.close()


def punch(descriptor: int, at: int, size: int) -> None:
    """Make a hole in a file (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
    if libc.fallocate(descriptor, 3, at, size) != 0:
        pytest.skip(f"this file system knows no holes: {os.strerror(ctypes.get_errno())}")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (lmdb.MemoryError("mmap: Cannot allocate memory"), "ulimit -v"),
        (lmdb.DiskError("No space left on device"), "the disk is full"),
        (OSError(errno.EFBIG, "File too large"), "ulimit -f"),
        (OSError(errno.EIO, "Input/output error"), "failed: .*Input/output error"),
    ],
)
def test_a_memory_that_cannot_be_opened_is_an_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    answers: list[tuple[int, bool, dict[str, Any]]] = []

    class Post:
        def reply(self, pid: int, rid: int, fields: dict[str, Any], blobs: Any = (), *, ok: bool = True) -> None:
            answers.append((rid, ok, fields))

    service = MemoryService(tmp_path, Settings(), Post(), lambda pid: True, Clock())
    real = memory.lmdb.open

    def refuse(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(memory.lmdb, "open", refuse)
    service.call(2, 1, "shm_open", {}, ())
    service.call(2, 2, "shm", {"ops": [["get", b"k"], ["delete", b"k"]]}, ())
    while service.turn():
        pass
    assert [answer[:2] for answer in answers] == [(1, False), (2, True)]
    told = [answers[0][2], *answers[1][2]["results"]]
    for each in told:
        with pytest.raises(RackError, match=words):
            raise {"MemoryFull": MemoryFull}.get(each["type"], RackError)(each["message"])
    monkeypatch.setattr(memory.lmdb, "open", real)
    service.call(2, 3, "shm_open", {}, ())
    assert answers[-1][:2] == (3, True)
    service.close()


def test_a_map_that_cannot_be_resized_is_opened_anew(tmp_path: Path) -> None:
    store = Store(tmp_path / "m", SIZE, LOG)
    real = store._env

    class Env:
        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        def set_mapsize(self, size: int) -> None:
            raise lmdb.MemoryError("mmap: Cannot allocate memory")

    store._env = Env()
    with pytest.raises(MemoryFull, match="ulimit -v"):
        store.begin(reserve=True)
    store.begin()
    store.commit()
    store.close()
