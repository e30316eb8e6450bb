"""What a process in a network of its own still sees: Python's modules, wherever they were installed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from rackactor_runtime.providers.local import namespaces


def test_packages_that_an_import_hook_finds_stay_in_sight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "clone" / "edited"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    hook = ModuleType("__editable___edited_1_0_finder")
    source = f"MAPPING = {{'edited': {str(package)!r}}}\nclass Finder:\n    pass\n"
    exec(source, hook.__dict__)
    monkeypatch.setitem(sys.modules, hook.__name__, hook)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, hook.Finder])
    assert str(package) in namespaces._needed()


def test_what_is_imported_stays_in_sight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "lonely.py"
    file.touch()
    spec = importlib.util.spec_from_file_location("lonely", file)
    assert spec is not None
    monkeypatch.setitem(sys.modules, "lonely", importlib.util.module_from_spec(spec))
    assert str(file) in namespaces._needed()
    assert str(Path(namespaces.__file__).parents[2]) in namespaces._needed(), "this package, however it was installed"
