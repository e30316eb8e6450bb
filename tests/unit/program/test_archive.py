"""Which files go with a program to machines that do not have them."""

from __future__ import annotations

import io
import os
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from rackactor.errors import InvalidCall
from rackactor.ipc.files.paths import is_kept
from rackactor.program import archive, shipping
from rackactor.program.archive import Tree
from rackactor.syscalls.fork_options import other_requirements, wanted_placement
from rackactor.wire import unpacked


def write(root: Path, **files: str) -> Path:
    """Make files; `__` in a name stands for a slash, `_py` for `.py`."""
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_py", ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def names(data: bytes) -> list[str]:
    return zipfile.ZipFile(io.BytesIO(data)).namelist()


def test_the_directory_of_a_script_goes_along(tmp_path: Path) -> None:
    write(tmp_path, job_py="", helper_py="", lib__deep_py="", words="of mine", lib__notes="no package, no data")
    for name in (".venv/x.py", "__pycache__/x.py", "env/pyvenv.cfg", "env/x.py", "fast.so", "pkg/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for name in (
        "pkg/table.csv",
        "pkg/data/more.csv",
        "pkg/.secret",
        "clouds.yaml",
        "mini-openrc.sh",
        "id_rsa",
        "a.pem",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    tree = archive.script_tree(str(tmp_path / "job.py"))
    assert tree == Tree(str(tmp_path))
    found = names(archive.pack(tree))
    modules = ["helper.py", "job.py", "lib/deep.py", "pkg/__init__.py"]
    assert sorted(found) == sorted([*modules, "pkg/table.csv", "pkg/data/more.csv", "words"])


def test_the_same_files_are_the_same_bytes(tmp_path: Path) -> None:
    one, other = write(tmp_path / "one", a_py="1", b_py="2"), write(tmp_path / "other", b_py="2", a_py="1")
    os.utime(one / "a.py", (0, 0))
    assert archive.pack(Tree(str(one))) == archive.pack(Tree(str(other)))
    assert archive.pack(Tree(str(one))) != archive.pack(Tree(str(one), ("a",)))


def test_only_the_named_modules_of_another_directory(tmp_path: Path) -> None:
    write(tmp_path, one_py="", other_py="", pkg__sub_py="", pkg__data="", unrelated__x_py="")
    assert names(archive.pack(Tree(str(tmp_path), ("one", "pkg")))) == ["one.py", "pkg/data", "pkg/sub.py"]


def test_programs_stay_executable(tmp_path: Path) -> None:
    write(tmp_path, run="#!/bin/sh\n").joinpath("run").chmod(0o700)
    (info,) = zipfile.ZipFile(io.BytesIO(archive.pack(Tree(str(tmp_path), files=("run",))))).infolist()
    assert info.external_attr >> 16 & 0o777 == 0o755


def test_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, a_py="", b_py="", c_py="")
    monkeypatch.setattr(archive, "MAX_FILES", 2)
    with pytest.raises(InvalidCall, match=rf"^{tmp_path} holds more than .* a directory of its own"):
        archive.pack(Tree(str(tmp_path)))


def test_too_many_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, large="x" * 100)
    monkeypatch.setattr(archive, "MAX_BYTES", 99)
    with pytest.raises(InvalidCall, match=rf"the files in {tmp_path} that the command names \(large\).*rack fs cp"):
        archive.pack(Tree(str(tmp_path), files=("large",)))


def test_a_search_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, a__one="", a__two="", job_py="")
    monkeypatch.setattr(archive, "MAX_LOOKED_AT", 2)
    with pytest.raises(InvalidCall, match="virtual environments"):
        archive.pack(Tree(str(tmp_path)))


def test_large_data_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, job_py="x" * 20, large="x" * 20)
    monkeypatch.setattr(archive, "MAX_DATA", 10)
    assert names(archive.pack(Tree(str(tmp_path)))) == ["job.py"]


def test_commands_are_no_scripts() -> None:
    assert archive.script_tree("/usr/bin/rack") is None
    assert archive.script_tree(str(Path(sys.executable).parent / "rack")) is None
    assert archive.script_tree(pytest.__file__) is None


def test_what_was_imported_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, gathered_py="", other_py="")
    module, renamed = ModuleType("gathered"), ModuleType("not_its_name")
    module.__file__, renamed.__file__ = str(tmp_path / "gathered.py"), str(tmp_path / "other.py")
    monkeypatch.setitem(sys.modules, "gathered", module)
    monkeypatch.setitem(sys.modules, "not_its_name", renamed)
    trees = archive.module_trees()
    assert Tree(str(tmp_path), ("gathered",)) in trees
    known = {name for tree in trees for name in tree.names or ()}
    assert not known & {"os", "pytest", "zmq", "rackactor", "rackactor_runtime", "__main__", "not_its_name"}


def test_files_that_a_command_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "here", script="", sub__x="")
    write(tmp_path, outside="")
    monkeypatch.chdir(tmp_path / "here")
    words = ["sh", "./script", "-x", "sub/x", "sub", "../outside", "/etc/passwd", "nowhere", ""]
    assert archive.named_files(words) == Tree(str(tmp_path / "here"), files=("script", "sub/x"))
    assert archive.named_files(["sh", "-c", "true"]) is None


def test_words_of_a_text_for_the_shell() -> None:
    assert "data/x" in shipping._words_of(["sh", "-c", "grep -c a <data/x; true"])
    assert list(shipping._words_of(["sh", "-c", "it's broken"])) == []
    assert list(shipping._words_of(["cat", "-c", "x"])) == ["cat", "-c", "x"]


def test_bytecode_of_another_python() -> None:
    there = [3, 99]
    shipping.check_python(there, [b"only a name"])
    shipping.check_python(list(sys.version_info[:2]), [b"make_code"])
    with pytest.raises(InvalidCall, match=r"on Python 3\.99: .*main file"):
        shipping.check_python(there, [b"a", memoryview(b".make_code.")])


def test_what_was_unpacked_is_where_a_script_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, job_py="1")
    assert unpacked.home_of("/home/me/job.py", b"1") == "/home/me/job.py"
    monkeypatch.setattr(unpacked, "directories", [str(tmp_path)])
    assert unpacked.home_of("/home/me/job.py", b"1") == str(tmp_path / "job.py")
    assert unpacked.home_of("/home/me/job.py", b"another") == "/home/me/job.py"


def test_what_requirements_say_of_the_machine() -> None:
    wanted = {"image": "debian", "flavor": "m1.small", "keypair": "mine", "security_groups": "web, db", "gpu": True}
    assert wanted_placement(wanted) == {
        "image": "debian",
        "flavor": "m1.small",
        "keypair": "mine",
        "security_groups": ["web", "db"],
    }
    assert other_requirements(wanted) == {"gpu": True}
    assert (wanted_placement(None), other_requirements(None), wanted_placement("x")) == ({}, {}, {})
    with pytest.raises(InvalidCall, match="image is a string"):
        wanted_placement({"image": 7})
    for wrong in (7, "web,,db", ["web", ""], [None], ["nul\0"]):
        with pytest.raises(InvalidCall, match="security_groups is a"):
            wanted_placement({"security_groups": wrong})


def test_what_the_group_keeps_for_itself() -> None:
    assert is_kept("/.rack") and is_kept("/.rack/code/x.zip")  # noqa: PT018
    assert not is_kept("/.racket") and not is_kept("/data/.rack")  # noqa: PT018


def test_a_link_out_of_where_things_are_installed_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "etc", custom_py="")
    library = tmp_path / "library"
    library.mkdir()
    (library / "custom.py").symlink_to(tmp_path / "etc" / "custom.py")
    module = ModuleType("custom")
    module.__file__ = str(library / "custom.py")
    monkeypatch.setitem(sys.modules, "custom", module)
    assert str(tmp_path / "etc") in [tree.root for tree in archive.module_trees()]
    monkeypatch.setattr("site.getsitepackages", lambda: [str(library)])
    assert str(tmp_path / "etc") not in [tree.root for tree in archive.module_trees()]
