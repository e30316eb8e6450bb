"""In every process `__main__` is the program's, however the program was started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rackcommand import RACK

#: Some of what programs define in their main file, and rely on.
DEFINITIONS = """
import argparse, dataclasses, enum, functools, inspect, os, pickle, sys, threading, typing
import rackactor as rack

class Colour(enum.Enum):
    RED = 1

@dataclasses.dataclass
class State:
    n: int
    other: "Other | None" = None
    colour: Colour = Colour.RED

class Other:
    __slots__ = ("a",)
    class Inner:
        pass

class Hinted:
    pass

class Cached:
    @functools.lru_cache(maxsize=3)
    def double(self, n): return n * 2
    @functools.cached_property
    def five(self): return 5

@functools.lru_cache
def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)

@functools.singledispatch
def kind(value): return "any"
@kind.register
def _(value: int): return "int"

def hints(one: "Other", two: "typing.Sequence[Hinted]") -> "Colour": ...

lock = threading.Lock()
model = None
rate = 1

def prepare(value):
    global model
    model = value

def predict(n):
    return model * n * rate

class Keeper(rack.Actor):
    def receiveMessage(self, message, sender):
        if isinstance(message, State):
            pickle.loads(pickle.dumps(message))
            self.send(sender, (message, Colour.RED))
        elif callable(message):
            self.send(sender, message())
"""


def run(words: list[str], stdin: str | None = None, cwd: Path | None = None) -> str:
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=120, cwd=cwd, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def as_script(place: Path, text: str) -> str:
    (place / "prog.py").write_text(text)
    return run([sys.executable, str(place / "prog.py"), "--speed", "2"])


def under_rack_run(place: Path, text: str) -> str:
    (place / "prog.py").write_text(text)
    return run([str(RACK), "run", str(place / "prog.py"), "--speed", "2"])


def as_module(place: Path, text: str) -> str:
    (place / "pack").mkdir()
    (place / "pack/__init__.py").touch()
    (place / "pack/prog.py").write_text(text)
    return run([sys.executable, "-m", "pack.prog", "--speed", "2"], cwd=place)


def as_words(place: Path, text: str) -> str:
    return run([sys.executable, "-c", text, "--speed", "2"], cwd=place)


def from_stdin(place: Path, text: str) -> str:
    return run([sys.executable, "-", "--speed", "2"], text, cwd=place)


def typed_in(place: Path, text: str) -> str:
    """As lines of an interactive Python."""
    return run([sys.executable, "-i", "-q", "-", "--speed", "2"], f"exec({text!r})\n", cwd=place)


def spawned_by_multiprocessing(place: Path, text: str) -> str:
    body = text.replace('if __name__ == "__main__":', "def body():")
    start = (
        "import multiprocessing, sys\nif __name__ == '__main__':\n  p = multiprocessing.get_context('spawn').Process("
    )
    (place / "prog.py").write_text(body + start + "target=body)\n  p.start(); p.join(); sys.exit(p.exitcode)\n")
    return run([sys.executable, str(place / "prog.py"), "--speed", "2"])


def profiled(place: Path, text: str) -> str:
    """By a program that runs a script under its own name `__main__`."""
    (place / "prog.py").write_text(text)
    start = "import runpy, sys; sys.argv[:] = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    return run([sys.executable, "-c", start, str(place / "prog.py"), "--speed", "2"])


FILES = [as_script, under_rack_run, as_module]
TOP_LEVEL = [*FILES, as_words, from_stdin, typed_in, profiled]
ALL = [*TOP_LEVEL, spawned_by_multiprocessing]
#: One of a kind: a file, a module, no file, another program's main module. The others are for the longer run.
KINDS = (as_script, as_module, as_words, spawned_by_multiprocessing)


def one_of_a_kind(modes: list[Any]) -> list[Any]:
    return [mode if mode in KINDS else pytest.param(mode, marks=pytest.mark.wide) for mode in modes]


Mode = Callable[[Path, str], str]


def program(body: str) -> str:
    return DEFINITIONS + '\nif __name__ == "__main__":\n' + textwrap.indent(textwrap.dedent(body), "    ")


@pytest.fixture(params=ALL, ids=lambda mode: mode.__name__)
def started(request: pytest.FixtureRequest) -> Mode:
    mode: Mode = request.param
    return mode


def test_a_program_finds_what_is_its_own_in_its_processes(started: Mode, tmp_path: Path) -> None:
    text = program("""
        def work(state, path):
            with lock:
                assert type(state) is State and state.colour is Colour.RED
            main = sys.modules["__main__"]
            assert main.State is State
            from __main__ import Other
            with open(path, "wb") as file:
                pickle.dump((state, Other.Inner(), Colour.RED, fib), file)
            with open(path, "rb") as file:
                again, inner, colour, known = pickle.load(file)
            assert again == state and type(again) is State and type(inner) is Other.Inner
            assert colour is Colour.RED and known is fib
            assert (fib(20), Cached().double(2), Cached().five, kind(1), kind("")) == (6765, 4, 5, "int", "any")
            found = typing.get_type_hints(hints)
            assert found == {"one": Other, "two": typing.Sequence[Hinted], "return": Colour}, found
            assert typing.get_type_hints(State)["other"] == Other | None
            other = Other()
            other.a = 3
            return State(2, other), Other.Inner(), fib, Cached(), Colour.RED, work

        path = "here.pickle"
        here = os.getcwd()
        path = os.path.join(here, path)
        assert rack.fork(fib, 20).result() == 6765
        assert rack.fork(Cached().double, 20).result() == 40
        state, inner, known, cached, colour, function = rack.fork(work, State(1), path).result()
        assert type(state) is State and type(state.other) is Other and state.other.a == 3
        assert type(inner) is Other.Inner and known is fib and type(cached) is Cached and colour is Colour.RED
        with open(path, "rb") as file:
            assert type(pickle.load(file)[0]) is State
        os.unlink(path)
        keeper = rack.fork(Keeper)
        reply, colour = keeper.ask(State(4))
        assert reply == State(4) and type(reply) is State and colour is Colour.RED
        print("as it should be")
    """)
    os.chdir(tmp_path)
    assert "as it should be" in started(tmp_path, text)


@pytest.mark.parametrize("started", one_of_a_kind(ALL))
def test_processes_of_processes(started: Mode, tmp_path: Path) -> None:
    text = program("""
        def leaf(state):
            import __main__
            rack.shm["leaf"] = State(7)
            return pickle.loads(pickle.dumps(state)), __main__.State is State, sys.argv[1:]

        def branch(state):
            state, same, argv = rack.fork(leaf, state).result()
            assert type(rack.shm["leaf"]) is State
            return state, same and type(state) is State, argv

        with rack.group() as g:
            reader, writer = g.pipe()
            state, same, argv = g.fork(branch, State(3)).result()
            assert (type(state), same, argv) == (State, True, ["--speed", "2"]), (state, same, argv)
            assert type(g.shm["leaf"]) is State
            g.fork(lambda: writer.send(State(8)))
            writer.close()
            (got,) = reader
            assert type(got) is State and got.n == 8
        print("as it should be")
    """)
    assert "as it should be" in started(tmp_path, text)


@pytest.mark.parametrize("started", one_of_a_kind(TOP_LEVEL))
def test_globals_are_each_process_s_own(started: Mode, tmp_path: Path) -> None:
    text = program("""
        keeper = rack.fork(Keeper)
        keeper.ask(functools.partial(prepare, 10))
        assert keeper.ask(functools.partial(predict, 2)) == 20
        rate = 3  # a constant that the process has not changed itself follows
        assert keeper.ask(functools.partial(predict, 2)) == 60
        assert model is None
        assert keeper.ask(lambda: model + rate) == 13
        print("as it should be")
    """)
    assert "as it should be" in started(tmp_path, text)


@pytest.mark.parametrize("started", one_of_a_kind(TOP_LEVEL))
def test_what_is_defined_anew_replaces_the_old(started: Mode, tmp_path: Path) -> None:
    text = program("""
        keeper = rack.fork(Keeper)
        helper = lambda: 1
        def use(): return inner()
        def inner(): return "old"
        assert keeper.ask(use) == "old"
        def inner(): return "new"
        assert keeper.ask(use) == "new"
        old = State
        class State:
            n = "new"
        assert keeper.ask(lambda: (State.n, pickle.loads(pickle.dumps(State())).n)) == ("new", "new")
        print("as it should be")
    """)
    assert "as it should be" in started(tmp_path, text)


@pytest.mark.parametrize("started", FILES)
def test_its_file_its_words_and_its_source(started: Mode, tmp_path: Path) -> None:
    text = program("""
        import json
        def look():
            import __main__
            spec = __main__.__spec__
            return {
                "file": __main__.__file__, "package": __main__.__package__, "spec": spec and spec.name,
                "name": __main__.__name__, "argv": sys.argv, "prog": argparse.ArgumentParser().prog,
                "source": inspect.getsource(fib), "class": inspect.getsource(Hinted),
            }
        there, here = rack.fork(look).result(), look()
        assert there == here, (there, here)
        print(json.dumps(there))
    """)
    about = json.loads(started(tmp_path, text))
    assert about["argv"][1:] == ["--speed", "2"]
    assert about["prog"] == "prog.py"
    assert about["source"].startswith("@functools.lru_cache")
    assert about["class"] == "class Hinted:\n    pass\n"


@pytest.mark.parametrize("started", FILES)
def test_tracebacks_name_file_and_line(started: Mode, tmp_path: Path) -> None:
    text = program("""
        def fail():
            raise ValueError("no")  # the line
        def twice():
            rack.fork(fail).result()
        for target in (fail, twice):
            status = rack.fork(target).wait()
            path, line = sys.modules["__main__"].__file__, fail.__code__.co_firstlineno + 1
            assert f'File "{path}", line {line}, in fail' in status.evidence, status.evidence
            assert 'raise ValueError("no")  # the line' in status.evidence, status.evidence
        print("as it should be")
    """)
    assert "as it should be" in started(tmp_path, text)


def test_the_lines_of_what_was_typed_in_travel_along(tmp_path: Path) -> None:
    """As notebooks have it: a cell is code whose lines only `linecache` knows."""
    text = """
        import linecache
        import rackactor as rack
        cell = 'def fail():\\n    raise ValueError("in a cell")\\n'
        linecache.cache["<cell 1>"] = len(cell), None, cell.splitlines(True), "<cell 1>"
        exec(compile(cell, "<cell 1>", "exec"))
        evidence = rack.fork(fail).wait().evidence
        assert 'File "<cell 1>", line 2, in fail' in evidence, evidence
        assert 'raise ValueError("in a cell")' in evidence, evidence
        print("as it should be")
    """
    assert "as it should be" in as_script(tmp_path, textwrap.dedent(text))


def test_the_script_does_not_run_again(tmp_path: Path) -> None:
    text = """
        import pickle
        import rackactor as rack
        print("once")
        class A: pass
        def make(): return pickle.dumps(A())
        assert type(pickle.loads(rack.fork(make).result())) is A
    """
    assert as_script(tmp_path, textwrap.dedent(text)) == "once\n"


def test_two_programs_in_one_group_do_not_mix(tmp_path: Path) -> None:
    """What comes from another program's main file finds that program's globals, and not one's own."""
    text = """
        import sys, time
        import rackactor as rack
        name = "{0}"
        class Thing:
            def who(self): return name
        def main():
            rack.shm["{0}"] = Thing()
            for key in ("one", "two"):
                while key not in rack.shm:
                    time.sleep(0.01)
                assert rack.shm[key].who() == key
            assert type(rack.shm["{0}"]) is Thing
        main()
    """
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text).format(name))
    start = """
        import subprocess, sys
        import rackactor as rack
        from rackactor.program.script import Script, run_script
        with rack.group() as g:
            both = [g.fork(run_script, Script(path, open(path, "rb").read(), path), []) for path in sys.argv[1:]]
            for process in both:
                status = process.wait()
                assert status.ok, status.evidence
        print("as it should be")
    """
    words = [sys.executable, "-c", textwrap.dedent(start), str(tmp_path / "one.py"), str(tmp_path / "two.py")]
    assert "as it should be" in run(words)


@pytest.mark.parametrize("started", one_of_a_kind(ALL))
def test_troupes_of_the_main_file(started: Mode, tmp_path: Path) -> None:
    """A troupe names the class of its members, by text."""
    text = """
        import rackactor
        from thespian.actors import ActorSystem, ActorTypeDispatcher
        from thespian.troupe import troupe

        @troupe(max_count=3, idle_count=1)
        class Worker(ActorTypeDispatcher):
            def receiveMsg_int(self, number, sender):
                self.send(sender, number * number)

        class Foreman(ActorTypeDispatcher):
            def receiveMsg_list(self, numbers, sender):
                self.asker, self.left, self.total = sender, len(numbers), 0
                workers = self.createActor(Worker)
                for number in numbers:
                    self.send(workers, number)
            def receiveMsg_int(self, square, sender):
                self.total, self.left = self.total + square, self.left - 1
                if not self.left:
                    self.send(self.asker, self.total)

        if __name__ == "__main__":
            system = ActorSystem("rackprocBase")
            try:
                assert system.ask(system.createActor(Worker), 3, 30) == 9
                assert system.ask(system.createActor(Foreman), [1, 2, 3, 4], 30) == 30
                by_name = system.createActor(__name__ + ".Worker")
                assert system.ask(by_name, 4, 30) == 16
                print("as it should be")
            finally:
                system.shutdown()
    """
    assert "as it should be" in started(tmp_path, textwrap.dedent(text))


@pytest.mark.parametrize("started", one_of_a_kind(ALL))
def test_names_that_have_not_come_are_asked_for(started: Mode, tmp_path: Path) -> None:
    text = program("""
        print("once")
        class Unused: pass
        Unused.__qualname__ = "Unused"
        settings = {"a": 1}
        Number = typing.NewType("Number", int)
        class Singleton:
            def __reduce__(self): return "MISSING"
        MISSING = Singleton()
        stream = sys.stdout.buffer if hasattr(sys.stdout, "buffer") else None
        sys.modules["__main__"].__dict__.update(Unused=Unused, settings=settings, stream=stream)
        sys.modules["__main__"].__dict__.update(Number=Number, Singleton=Singleton, MISSING=MISSING)

        def load(data, missing, number):
            import __main__
            assert missing is __main__.MISSING and number is __main__.Number and number(3) == 3
            thing = pickle.loads(data)
            from __main__ import settings as found
            import __main__
            assert type(thing) is __main__.Unused and pickle.loads(pickle.dumps(thing))
            for wrong, why in (("nothing", "no attribute 'nothing'"), ("stream", "cannot pickle")):
                assert not hasattr(__main__, wrong)
                try:
                    getattr(__main__, wrong)
                except AttributeError as error:
                    assert why in str(error), error
            return thing, found, missing

        def deeper(*args):
            return rack.fork(load, *args).result()

        data = pickle.dumps(Unused())
        for target in (load, deeper):
            thing, found, missing = rack.fork(target, data, MISSING, Number).result()
            assert type(thing) is Unused and found == {"a": 1} and missing is MISSING
        print("as it should be")
    """)
    out = started(tmp_path, text)
    assert "as it should be" in out
    assert out.count("once") == 1


@pytest.mark.parametrize("started", one_of_a_kind(ALL))
def test_names_that_are_looked_for_in_globals(started: Mode, tmp_path: Path) -> None:
    text = program("""
        def call(name, n):
            return globals()[name](n)
        assert rack.fork(call, "fib", 10).result() == 55
        print("as it should be")
    """)
    assert "as it should be" in started(tmp_path, text)
