"""`rack run script.py` is `python script.py`: each program here is run by both."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from rackcommand import Rack, a_rack

ENOUGH = 60.0


class End(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture(scope="module")
def rack() -> Iterator[Rack]:
    with a_rack() as made:
        yield made


@pytest.fixture
def both(rack: Rack, tmp_path: Path) -> Any:
    """Run a script by Python and by `rack run`; return how both ended."""

    def run(*words: str, input: str = "") -> tuple[End, End]:
        options: dict[str, Any] = {"cwd": tmp_path, "input": input}
        # A name that is not its own: what is run under another one is noticed by the tracebacks of no other file.
        done = subprocess.run(
            [sys.executable, *words], text=True, capture_output=True, timeout=ENOUGH, check=False, **options
        )
        here = rack("run", *words, **options)
        return End(done.returncode, done.stdout, done.stderr), End(here.returncode, here.stdout, here.stderr)

    return run


LOOK = """\
'''What it is.'''
import sys
names = sorted(set(globals()) - {'names', 'sys', 'helper'})
print(names, __name__, __doc__, __package__, __annotations__, __builtins__.__name__, type(__loader__), __cached__)
print(sys.argv, __file__, sys.path[0], __spec__ and __spec__.name)
value: int = 1
print(__annotations__)
"""


def test_what_a_script_finds_in_its_main_module(both: Any, tmp_path: Path) -> None:
    (tmp_path / "look.py").write_text(LOOK)
    for words in (["look.py", "-x", "y"], [str(tmp_path / "look.py")], ["./look.py"]):
        python, rack = both(*words)
        assert python.code == 0, python.err
        assert rack == python


def test_a_link_leads_to_the_modules_beside_its_target(both: Any, tmp_path: Path) -> None:
    for name in ("links", "real"):
        (tmp_path / name).mkdir()
    (tmp_path / "real" / "helper.py").write_text("print('helps')\n")
    (tmp_path / "real" / "script.py").write_text(f"import helper\n{LOOK.partition('import sys')[2] and LOOK}")
    (tmp_path / "links" / "script.py").symlink_to("../real/script.py")
    (tmp_path / "linked").symlink_to("links")
    for place in ("links", "linked"):
        python, rack = both(f"{place}/script.py")
        assert python.code == 0, python.err
        assert rack == python


def test_a_directory_and_an_archive(both: Any, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.mkdir()
    (program / "helper.py").write_text("WORDS = 'the words of a module'\n")
    text = "import sys, helper\nprint(helper.WORDS, sys.argv, sys.path[0].rpartition('/')[2], repr(__package__))\n"
    (program / "__main__.py").write_text(text + "print(__file__.rpartition('/')[2])\n1 / 0\n")
    with zipfile.ZipFile(tmp_path / "program.zip", "w") as archive:
        for path in program.glob("*.py"):
            archive.write(path, path.name)
    for what in ("program", "program.zip"):
        python, rack = both(what, "word")
        assert python.code == 1, python.err
        assert rack[:2] == python[:2]
        assert rack.err.splitlines()[-1] == "ZeroDivisionError: division by zero"
    (program / "__main__.py").unlink()
    assert both("program")[1] == End(1, "", "rack: cannot find a '__main__.py' in the directory 'program'\n")


def test_standard_input(both: Any) -> None:
    text = "import sys\nprint(sys.argv, sys.path[0], '__file__' in globals(), sys.stdin.read())\n"
    python, rack = both("-", "word", input=text)
    assert python.code == 0, python.err
    assert rack == python


ENDS = {
    "None": "sys.exit()",
    "0": "sys.exit(0)",
    "True": "sys.exit(True)",
    "-1": "sys.exit(-1)",
    "256": "sys.exit(256)",
    "huge": "sys.exit(2**40 + 5)",
    "beyond": "sys.exit(2**70)",
    "text": "sys.exit('a text')",
    "empty text": "sys.exit('')",
    "tuple": "sys.exit((1, 2))",
    "float": "sys.exit(3.0)",
    "raise": "raise SystemExit",
    "two": "raise SystemExit(1, 2)",
    "exit of a class": "class E(SystemExit): pass\nraise E(7)",
    "builtin": "exit(4)",
    "exception": "def f(): raise LookupError('lost')\nf()",
    "with a cause": "try: 1 / 0\nexcept Exception as e: raise LookupError('lost') from e",
    "group": "raise ExceptionGroup('several', [ValueError(1), OSError(2)])",
    "note": "e = LookupError('lost')\ne.add_note('look here')\nraise e",
    "hook": "sys.excepthook = lambda kind, e, t: print('hook', kind, e, t.tb_frame.f_code.co_name, t.tb_lineno)\n1 / 0",
    "hook that fails": "def h(*_): raise ValueError('bad hook')\nsys.excepthook = h\n1 / 0",
    "hook that exits": "sys.excepthook = lambda *_: sys.exit(9)\n1 / 0",
    "hooks come after the traceback": "import atexit\natexit.register(lambda: print('end', file=sys.stderr))\n1 / 0",
    "a hook of atexit that fails": "import atexit\natexit.register(lambda: 1 / 0)\nprint(1)",
    "a warning is shown once": "print(1 is 1)",
    "latin": "print(ascii('\xe4'))",
    "output without a newline": "print('no newline', end='')",
}


#: Those that the ordinary run has: one of a kind.
ENDS_OF_A_KIND = {"256", "text", "exit of a class", "exception", "hook", "a hook of atexit that fails", "latin"}


@pytest.mark.parametrize(
    "name", [name if name in ENDS_OF_A_KIND else pytest.param(name, marks=pytest.mark.wide) for name in ENDS]
)
def test_how_a_script_ends(both: Any, tmp_path: Path, name: str) -> None:
    text = f"# -*- coding: latin-1 -*-\nimport sys\n{ENDS[name]}\n"
    (tmp_path / "script.py").write_bytes(text.encode("latin-1"))
    python, rack = both("script.py")
    if name == "a hook of atexit that fails":
        assert "ZeroDivisionError" in rack.err
        python, rack = python._replace(err=""), rack._replace(err="")
    assert rack == python


def test_an_interrupt(both: Any, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("def f():\n    raise KeyboardInterrupt\n\nf()\n")
    python, rack = both("script.py")
    assert (python.code, rack.code) == (-2, 130)
    assert rack.err.startswith(python.err)


def test_a_stale_name_of_a_deleted_script_is_told(both: Any) -> None:
    assert both(f"gone-{os.getpid()}.py")[1].code == 1


def test_an_async_main_runs(rack: Rack, tmp_path: Path) -> None:
    text = """
        import asyncio
        import rackactor
        async def main(n: int = 1):
            await asyncio.sleep(0)
            print("ran", n, await asyncio.wrap_future(rackactor.fork(answer).submit(n)))
            return 3
        def answer():
            message = rackactor.receive()
            message.reply(message.value + 1)
    """
    (tmp_path / "script.py").write_text(textwrap.dedent(text))
    done = rack("run", "script.py", "--n", "7", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, "ran 7 8\n"), done.stderr
