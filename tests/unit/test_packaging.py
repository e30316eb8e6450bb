"""What is packed, what it says of itself, and what it needs."""

from __future__ import annotations

import ast
import email
import re
import shutil
import subprocess
import sys
import tarfile
import types
import zipfile
from collections.abc import Iterator
from importlib.metadata import entry_points, packages_distributions, version
from pathlib import Path

import pytest

from rackactor._version import __version__
from rackactor.system import platform_check
from rackactor_runtime.supervisor.provider_loading import OWN

ROOT = Path(__file__).parents[2]
#: What is imported only where an extra is installed: by the provider `nova`, by the suite that providers are held to.
EXTRAS = {"openstack", "keystoneauth1", "pytest"}


@pytest.mark.parametrize("platform", ["darwin", "win32", "cygwin", "freebsd14"])
def test_another_system_is_named_at_the_import(platform: str) -> None:
    with pytest.raises(ImportError, match=rf"runs on Linux, and this is {platform}: "):
        platform_check.check(platform)


def test_an_old_system_is_named_at_the_import() -> None:
    with pytest.raises(ImportError, match=r"needs os\.pidfd_open, "):
        platform_check.check("linux", types.SimpleNamespace(memfd_create=None))
    platform_check.check()


def test_the_import_itself_says_it_before_anything_else() -> None:
    others = (
        "import sys; sys.platform = 'darwin'; sys.modules |= dict.fromkeys(['ctypes', 'thespian', 'typing', 'zmq'])"
    )
    code = f"{others}; import rackactor"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ImportError: rackactor runs on Linux" in done.stderr.splitlines()[-1]


def test_the_readme_says_it_on_the_first_screen() -> None:
    assert "Linux" in "\n".join((ROOT / "README.md").read_text().splitlines()[:24])


def _imported(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                yield node.module.partition(".")[0]


def test_what_is_needed_is_what_is_imported() -> None:
    names = {*_imported(ROOT / "rackactor"), *_imported(ROOT / "runtime")} - sys.stdlib_module_names
    names -= {"rackactor", "rackactor_runtime", "thespian", *EXTRAS}
    known = packages_distributions()
    imported = {known[name][0].lower() for name in names} | {"thespian"}
    (needed,) = (
        ast.literal_eval(node.value)
        for node in ast.parse((ROOT / "setup.py").read_text()).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "INSTALL"
    )
    assert {re.split(r"[<>=!~]", text)[0].lower() for text in needed} == imported


# -- the packages themselves -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], list[str], email.message.Message]:
    """Build a source distribution, and a wheel from it alone; return their files, and what the wheel says of itself."""
    place = tmp_path_factory.mktemp("packed")
    copy = place / "clone"
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if tracked.returncode:
        pytest.skip("what belongs to the sources is what git knows, and this is no clone")
    if int(version("setuptools").partition(".")[0]) < 71 and "wheel" not in packages_distributions():
        pytest.skip("this setuptools makes no wheels: pip install 'rackactor[test]' brings one that does")
    for name in filter(None, tracked.stdout.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    _setup(copy, "sdist", "--dist-dir", place)
    (source,) = place.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # from 3.11.4 on
        archive.extractall(place / "source")
        root = f"rackactor-{__version__}/"
        sources = [name.removeprefix(root) for name in archive.getnames()]
    _setup(place / "source" / root, "bdist_wheel", "--dist-dir", place)
    (wheel,) = place.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (said,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        return sources, names, email.message_from_bytes(archive.read(said))


def _setup(place: Path, *words: str | Path) -> None:
    done = subprocess.run([sys.executable, "setup.py", "-q", *words], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.timeout(180)
def test_a_source_distribution_is_whole(packed: tuple[list[str], list[str], email.message.Message]) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    ).stdout.splitlines()
    wanted = {name for name in tracked if (ROOT / name).is_file()} - {".gitignore"}
    assert wanted - set(packed[0]) == set()


@pytest.mark.timeout(180)
def test_a_wheel_is_whole_and_has_nothing_else(packed: tuple[list[str], list[str], email.message.Message]) -> None:
    _, names, said = packed
    modules = {
        *(str(path.relative_to(ROOT)) for path in (ROOT / "rackactor").rglob("*.py")),
        *(str(path.relative_to(ROOT / "runtime")) for path in (ROOT / "runtime/rackactor_runtime").rglob("*.py")),
        "rackactor/py.typed",
        "rackactor_runtime/py.typed",
        "rackactor_runtime/recipe/build",
    }
    assert modules - set(names) == set()
    assert {name.split("/")[0] for name in names} == {
        "rackactor",
        "rackactor_runtime",
        f"rackactor-{said['Version']}.dist-info",
    }


@pytest.mark.timeout(180)
def test_what_the_packages_say_of_themselves(packed: tuple[list[str], list[str], email.message.Message]) -> None:
    said = packed[2]
    assert said["License-File"] == "LICENSE"
    assert said["Requires-Python"] == ">=3.11"
    assert {line.partition(",")[0] for line in said.get_all("Project-URL") or ()} >= {
        "Documentation",
        "Source",
        "Changelog",
    }
    text = said.get_payload()
    assert isinstance(text, str)
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    assert len(links) > 20
    assert [link for link in links if not re.match(r"https://|#", link)] == []


def test_our_own_providers_are_found_where_they_are_said_to_be() -> None:
    known = {point.name: point.value for point in entry_points(group="rackactor.providers")}
    assert OWN.items() <= known.items()
