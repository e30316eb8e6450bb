"""A program's own code reaches processes that do not see its disk: in namespaces with mounts of their own, on machines.

The programs lie in /tmp, which is another one there, and are started from "/".
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import machines
import pytest
from rackcommand import a_rack
from targets import add

import rackactor as rackpkg

PREAMBLE = """
import json, os, sys
import rackactor as rack

def options():
    return json.loads(os.environ["OPTIONS"])
"""


@pytest.fixture(params=["netns", "machines"])
def elsewhere(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What a group is told whose processes do not see /tmp."""
    if request.param == "machines":
        yard: dict[str, Any] = request.getfixturevalue("on_machines")
        return yard
    options: dict[str, Any] = request.getfixturevalue("shared_lab").options
    return options


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that processes elsewhere do not see."""
    with tempfile.TemporaryDirectory(prefix="shipped-", dir="/tmp") as path:
        yield Path(path)


def write(place: Path, **files: str) -> None:
    for name, text in files.items():
        path = place / name.replace("__", "/").replace("_py", ".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))


def run(elsewhere: dict[str, Any], place: Path, text: str, cwd: str = "/") -> str:
    """Run a program that lies in `place`; return what it printed."""
    (place / "job.py").write_text(PREAMBLE + textwrap.dedent(text))
    env = {**os.environ, "OPTIONS": json.dumps(elsewhere), "PYTHONPATH": machines.HERE}  # where the provider is
    done = subprocess.run(
        [sys.executable, place / "job.py"], env=env, cwd=cwd, text=True, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_modules_beside_a_script(elsewhere: dict[str, Any], place: Path) -> None:
    write(place, helper_py="def shout(x): return x.upper()\nclass Thing:\n    n = 3\n", late_py="VALUE = 'late'\n")
    shown = run(
        elsewhere,
        place,
        """
        import helper

        class Echo(rack.Actor):
            def receiveMsg_Thing(self, thing, sender):
                import late
                thing.word = late.VALUE
                self.send(sender, thing)

        def nested(word):
            return rack.fork(helper.shout, word).result(20)

        if __name__ == "__main__":
            with rack.group(**options()) as g:
                print(g.fork(helper.shout, "one").result(20), g.fork(nested, "two").result(20))
                print(g.fork(Echo).ask(helper.Thing()).word)
                print([p.result(20) for p in g.fork(helper.shout, each=["a", "b"])])
                print(g.listdir("/"), len(g.listdir("/.rack/code")), g.fs.ls("/", detail=False))
        """,
    )
    assert shown.splitlines() == ["ONE TWO", "late", "['A', 'B']", "[] 1 []"]


def test_packages_find_their_data(elsewhere: dict[str, Any], place: Path) -> None:
    write(place, words="beside the script")
    (place / "pkg" / "tables").mkdir(parents=True)
    (place / "pkg" / "tables" / "one.txt").write_text("in a package")
    (place / "pkg" / "__init__.py").write_text(
        "from importlib.resources import files\n\ndef read():\n"
        "    return (files('pkg') / 'tables' / 'one.txt').read_text()\n"
    )
    write(
        place, beside_py="from pathlib import Path\ndef read(): return (Path(__file__).parent / 'words').read_text()\n"
    )
    shown = run(
        elsewhere,
        place,
        """
        import beside, pkg
        with rack.group(**options()) as g:
            print(g.fork(pkg.read).result(20), "and", g.fork(beside.read).result(20))
        """,
    )
    assert shown == "in a package and beside the script\n"


def test_what_was_imported_from_another_directory(elsewhere: dict[str, Any], place: Path) -> None:
    write(place, lib__mine_py="def value(): return 42\n", lib__other_py="")
    write(place, app__nothing_py="")
    shown = run(
        elsewhere,
        place / "app",
        """
        sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
        import mine
        with rack.group(**options()) as g:
            print(g.fork(mine.value).result(20), len(g.listdir("/.rack/code")))
        """,
    )
    assert shown == "42 2\n"


def test_what_the_image_lacks(elsewhere: dict[str, Any], place: Path) -> None:
    write(place, lib__mine_py="def value(): return 42\n")
    shown = run(
        elsewhere,
        place,
        """
        def asks(): import no_such_package.part
        with rack.group(**options(), echo=False) as g:
            print(g.fork(asks).wait().evidence)
            unpickled = g.fork(asks, kwargs=None)
            print(unpickled.wait().cause)
        """,
    )
    assert "No module named 'no_such_package'" in shown
    assert "'no_such_package' is not in the image of this process" in shown
    assert "install it into the image" in shown


def test_a_thespian_program(elsewhere: dict[str, Any], place: Path) -> None:
    write(
        place,
        actors_py="""
        from thespian.actors import Actor
        class Hello(Actor):
            def receiveMessage(self, message, sender):
                if message == "child":
                    self.send(self.createActor("actors.Hello"), ("for", sender))
                elif isinstance(message, tuple):
                    self.send(message[1], "the child's")
                elif isinstance(message, str):
                    self.send(sender, message.upper())
        """,
    )
    shown = run(
        elsewhere,
        place,
        """
        import actors
        from thespian.actors import ActorSystem
        system = ActorSystem(rack.SystemBase(**options()))
        try:
            hello = system.createActor(actors.Hello, {"image": "none that matters"})
            print(system.ask(hello, "hello", 20), system.ask(hello, "child", 20))
            print(system.ask(system.createActor("actors.Hello"), "dotted", 20))
        finally:
            system.shutdown()
        """,
    )
    assert shown.splitlines() == ["HELLO the child's", "DOTTED"]


def test_a_home_directory_is_not_sent(elsewhere: dict[str, Any], place: Path) -> None:
    for number in range(5):
        (place / f"m{number}.py").write_text(f"X = {' ' * (1 << 20)}1")
    shown = run(
        elsewhere,
        place,
        """
        from rackactor.program import archive
        archive.MAX_BYTES = 4 << 20
        with rack.group(**options()) as g:
            try:
                g.fork(lambda: 1)
            except rack.InvalidCall as error:
                print(error)
            print(g.fork(["true"]).wait().code)
        """,
    )
    assert shown.startswith(f"{place} holds more than 4 MiB or 5000 files")
    assert shown.endswith("\n0\n")


def test_a_command_has_the_files_that_it_names(elsewhere: dict[str, Any], place: Path) -> None:
    write(place, data="some words\n", sub__script="cat data; pwd\n")
    shown = run(
        elsewhere,
        place,
        """
        os.chdir(os.path.dirname(os.path.abspath(__file__)))
        with rack.group(**options()) as g:
            print(g.fork(["sh", "./sub/script", "data"]).stdout.read().decode().splitlines()[0])
            print(g.fork(["sh", "-c", "wc -w <data; exit 3"]).stdout.read().decode().strip())
            print(g.fork(["sh", "sub/script"], cwd="/").wait().code != 0)
        """,
    )
    assert shown.splitlines() == ["some words", "2", "True"]


def test_where_everybody_sees_the_disk_nothing_is_sent(group: rackpkg.Group, transport: str) -> None:
    assert group.fork(add, 3, 4).result(20) == 7
    assert not group.shipping.needed
    assert not group.fs.exists("/.rack/code")


def test_programs_cannot_change_it(group: rackpkg.Group) -> None:
    with group.open("/.rack/code/x", "xb") as file:
        file.write(b"1")
    attempts: list[Any] = [
        lambda: group.open("/.rack/code/x", "w"),
        lambda: group.open("/.rack/code/x", "a"),
        lambda: group.fs.rm("/.rack/code/x"),
        lambda: group.fs.mv("/.rack/code/x", "/x"),
        lambda: group.fs.pipe_file("/.rack/code/x", b"2"),
    ]
    for attempt in attempts:
        with pytest.raises(PermissionError):
            attempt()
    with pytest.raises(FileExistsError):
        group.open("/.rack/code/x", "x").close()
    group.fs.rm("/", recursive=True)
    with group.open("/.rack/code/x", "rb") as file:
        assert file.read() == b"1"
    assert group.listdir("/") == []


def test_it_does_not_stay_on_a_backend(tmp_path: Path) -> None:
    with rackpkg.group(files=str(tmp_path)) as g:
        with g.open("/.rack/code/x", "xb") as file:
            file.write(b"1")
        assert g.open("/.rack/code/x").read() == "1"
    assert list(tmp_path.iterdir()) == []


def test_rack_run(elsewhere: dict[str, Any], place: Path) -> None:
    """The process that runs the script is elsewhere, too; so are its children."""
    write(place, helper_py="def twice(x): return 2 * x\n", words="text of mine")
    (place / "job.py").write_text(
        textwrap.dedent(
            """
            from pathlib import Path
            import rackactor as rack
            import helper

            def own(n: int) -> int:
                return helper.twice(n) + 1

            def main(n: int = 1) -> None:
                print(rack.fork(helper.twice, n).result(20), rack.fork(own, n).result(20))
                print((Path(__file__).parent / "words").read_text())
            """
        )
    )
    driver = f"""
import rackactor.cli.commands.run as run
from rackactor.syscalls.group import group
from rackactor.cli.main import main
run.make_group = lambda options, *_: group(options.name, echo=False, **{elsewhere!r})
raise SystemExit(main(["run", {str(place / "job.py")!r}, "--n", "4"]))
"""
    with a_rack() as rack:
        done = subprocess.run(
            [sys.executable, "-c", driver],
            env={**rack.env, "PYTHONPATH": machines.HERE},
            cwd="/",
            text=True,
            capture_output=True,
            timeout=120,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["8 9", "text of mine"]


def test_tracebacks_show_lines_of_files_that_are_not_there(elsewhere: dict[str, Any], place: Path) -> None:
    """They name the file as the author knows it; `rack why` shows the same."""
    out = run(
        elsewhere,
        place,
        """
        import inspect, pickle

        class State:
            pass

        def fail():
            raise ValueError("no")  # the line

        def look():
            import __main__
            assert type(pickle.loads(pickle.dumps(State()))) is __main__.State
            return inspect.getsource(fail), os.path.exists(__main__.__file__)

        with rack.group(**options()) as g:
            print(g.fork(fail).wait().evidence)
            print(g.fork(look).result())
        """,
    )
    assert f'File "{place}/job.py"' in out
    assert 'raise ValueError("no")  # the line\n' in out
    assert "('def fail():\\n" in out
    assert out.rstrip().endswith("True)")
