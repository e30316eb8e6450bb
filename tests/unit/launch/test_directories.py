"""Where the files of groups lie that have no other backend, and that they are gone with them."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from pathlib import Path

import pytest

from rackactor.launch import directories


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a group whose supervisor is this very process."""
    for name in ("XDG_RUNTIME_DIR", "TMPDIR"):
        (tmp_path / name).mkdir(mode=0o700)
        monkeypatch.setenv(name, str(tmp_path / name))
    directory = directories.base() / "abcdefabcdef"
    directory.mkdir()
    card = {"os_pid": os.getpid(), "os_started": directories.start_time(os.getpid())}
    (directory / directories.CARD).write_text(json.dumps(card))
    return directory


def old(path: str) -> None:
    """Make something look as if it had lain there for long."""
    os.utime(path, (1, 1))


def test_they_go_with_the_group(group: Path) -> None:
    files = directories.make_files_dir(str(group))
    assert directories.make_files_dir(str(group)) == files
    assert os.stat(files).st_mode & 0o077 == 0
    assert files.startswith(os.environ["TMPDIR"])
    Path(files, "root").mkdir()
    directories.remove(group)
    assert not os.path.exists(files)
    assert not group.exists()


def test_nothing_else_goes_with_it(group: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    os.symlink(tmp_path / "precious", group / directories.FILES)
    directories.remove(group)
    assert (tmp_path / "precious").exists()


def test_what_a_living_group_has_is_not_swept(group: Path) -> None:
    files = directories.make_files_dir(str(group))
    old(files)
    directories.sweep()
    assert os.path.exists(files)


def test_what_was_left_with_its_group_is_swept(group: Path) -> None:
    files = directories.make_files_dir(str(group))
    (group / directories.CARD).write_text(json.dumps({"os_pid": os.getpid(), "os_started": 1}))
    directories.sweep()
    assert not os.path.exists(files)
    assert not group.exists()


def test_what_outlived_its_groups_directory_is_swept_unless_somebody_holds_it(group: Path) -> None:
    files = directories.make_files_dir(str(group))
    os.unlink(group / directories.FILES)
    os.unlink(group / directories.CARD)  # the runtime directory was in memory, and there was a boot
    directories.sweep()
    assert os.path.exists(files)  # it may be a new one
    old(files)
    holder = os.open(files, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_SH)
    directories.sweep()
    assert os.path.exists(files)
    os.close(holder)
    directories.sweep()
    assert not os.path.exists(files)


def test_code_of_processes_that_were_killed_is_swept(group: Path) -> None:
    """A lock tells who lives: it goes with the process, however that ends, and in every pid namespace."""
    mine, held = directories.make_code_directory()
    left, lock = directories.make_code_directory()
    os.close(lock)  # as the end of its process does
    young = Path(os.environ["TMPDIR"], "rackactor-code-young")
    young.mkdir()  # it may be about to be locked
    for each in (mine, left):
        old(each)
    directories.sweep()
    try:
        assert [os.path.exists(each) for each in (mine, left, young)] == [True, False, True]
    finally:
        os.close(held)
        shutil.rmtree(mine)
