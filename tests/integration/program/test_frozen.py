"""Programs whose executable is no Python: frozen ones, and interpreters inside of others.

A frozen program is played by an executable of its own that runs a script, with `sys.frozen` and `sys.executable` as
PyInstaller sets them. It notes each of its starts, so that it is seen when it starts itself.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import rackactor as rack
from rackactor.system import executable

BODY = """
    import rackactor as rack
    def square(n):
        import __main__, os, sys
        assert __main__.square is square
        return n * n
    if __name__ == "__main__":
        rack.freeze_support()
        with rack.group() as g:
            print(g.fork(square, 3).result(), g.fork(rack.fork, square, 4).wait().ok)
            with g.open("/file", "w") as file:
                file.write("a service runs, too")
            print(g.open("/file").read())
"""


class App:
    """A frozen program."""

    def __init__(self, place: Path, body: str) -> None:
        self.path, self._starts = place / "app", place / "starts"
        script = place / "program.py"
        script.write_text(textwrap.dedent(body))
        lines = f"""\
            #!{sys.executable}
            import sys
            with open({str(self._starts)!r}, "a") as file:
                file.write("start\\n")
                if file.tell() > 60:
                    sys.exit("it starts itself again and again")
            sys.frozen, sys.executable = True, {str(self.path)!r}
            sys.argv[0] = {str(self.path)!r}
            code = compile(open({str(script)!r}).read(), {str(script)!r}, "exec")
            exec(code, vars(sys.modules["__main__"]))
            """
        self.path.write_text(textwrap.dedent(lines))
        self.path.chmod(0o755)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([self.path, *words], capture_output=True, text=True, timeout=120, check=False)

    @property
    def starts(self) -> int:
        return self._starts.read_text().count("start")


def test_a_frozen_program_is_its_own_supervisor(tmp_path: Path) -> None:
    app = App(tmp_path, BODY)
    done = app.run("--an-option", "of the program")
    assert done.stdout.splitlines() == ["9 True", "a service runs, too"], done.stdout + done.stderr
    assert app.starts == 3  # the program, its supervisor, and the service of files


def test_without_freeze_support_nothing_is_started(tmp_path: Path) -> None:
    app = App(tmp_path, BODY.replace("rack.freeze_support()", "pass"))
    done = app.run()
    assert app.starts == 1
    assert done.returncode == 1
    assert "StartError: no supervisor can be started: this program is frozen" in done.stderr
    assert "freeze_support()" in done.stderr


def test_freeze_support_that_comes_too_late_ends_in_an_error(tmp_path: Path) -> None:
    """It makes a group, in what was started to be the supervisor, before it comes to it."""
    late = (
        "from rackactor.system import executable as x; x._supported = True; rack.group().end(); rack.freeze_support()"
    )
    app = App(tmp_path, BODY.replace("rack.freeze_support()", late))
    done = app.run()
    assert done.returncode == 1
    assert "call rackactor.freeze_support() first of all in the main module" in done.stderr
    assert app.starts == 2


def test_a_frozen_program_may_use_another_python(tmp_path: Path) -> None:
    app = App(tmp_path, BODY.replace("rack.freeze_support()", f"rack.set_executable({sys.executable!r})"))
    done = app.run()
    assert done.stdout.splitlines() == ["9 True", "a service runs, too"], done.stdout + done.stderr
    assert app.starts == 1


@pytest.mark.parametrize("name", ["", None, "/usr/sbin/uwsgi", "/opt/blender/blender", "/opt/pythonista/app"])
def test_what_is_no_python_is_not_started(monkeypatch: pytest.MonkeyPatch, name: str | None) -> None:
    started: list[object] = []
    monkeypatch.setattr(subprocess, "Popen", lambda *words, **_: started.append(words))
    monkeypatch.setattr(sys, "executable", name)
    with pytest.raises(rack.StartError, match=r"set_executable\(\)"):
        rack.group()
    assert not started


@pytest.mark.parametrize("name", ["python", "python3.12", "python3.11-dbg", "python3-intel64", "pypy3", "graalpy"])
def test_what_is_a_python_is(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(sys, "executable", f"/opt/bin/{name}")
    assert executable.words("some.module", "word") == [f"/opt/bin/{name}", "-P", "-m", "some.module", "word"]


def test_a_python_by_any_other_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "interpreter").symlink_to(Path(sys.executable).resolve())
    monkeypatch.setattr(sys, "executable", str(tmp_path / "interpreter"))
    assert executable.words("some.module")[0] == str(tmp_path / "interpreter")


def test_an_executable_must_be_one(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program")
    for path in (tmp_path, tmp_path / "text", tmp_path / "nothing", ""):
        with pytest.raises(rack.InvalidCall, match="not a program that can be started"):
            rack.set_executable(path)


def test_a_program_that_comes_up_instead_of_a_supervisor_is_told(tmp_path: Path) -> None:
    """Whatever its way there: nothing is started by what was itself started to be a supervisor."""
    app = App(
        tmp_path,
        BODY.replace("rack.freeze_support()", "rack.set_executable(sys.executable)").replace(
            "import rackactor as rack", "import sys, rackactor as rack", 1
        ),
    )
    done = app.run()
    assert done.returncode == 1
    assert "was started to be the supervisor of a group" in done.stderr
    assert app.starts == 2
