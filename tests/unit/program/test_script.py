"""Scripts: which of them have their main() called, and how its parameters become options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from rackactor.errors import InvalidCall
from rackactor.program import options
from rackactor.program.script import wants_options

CALLS_ITSELF = [
    "def main(n: int = 1): ...\nmain()",
    "import sys\ndef main(n: int = 1): ...\nsys.exit(main())",
    "def main(n: int = 1): ...\nif __name__ == '__main__': main()",
    "def main(n: int = 1): ...\nif __name__ == '__main__': other()",
    "def main(n: int = 1): ...\ntry:\n    main()\nfinally: pass",
    "def main(n=1): ...",
    "def main(n: int, **more): ...",
    "class C:\n    def main(n: int): ...",
    "print('no main')",
]
LEAVES_IT = [
    "async def main(n: int = 1): ...",
    "def main(): ...",
    "def main(n: int): ...",
    "def main(n: int = 1, *rest: str) -> None: ...",
    "def main(n: int = 1): ...\ndef other(): main()",
    "def main(n: int = 1): ...\nlater = lambda: main()",
]


@pytest.mark.parametrize("text", CALLS_ITSELF)
def test_a_script_that_starts_itself_is_left_alone(text: str) -> None:
    assert not wants_options(text)


@pytest.mark.parametrize("text", LEAVES_IT)
def test_a_script_with_a_main_that_nobody_calls(text: str) -> None:
    assert wants_options(text)


def many(
    number: int,
    *rest: str,
    ratio: float = 0.5,
    text: str = "x",
    flag: bool = True,
    items: list[int] | None = None,
    mode: Literal["a", "b"] = "a",
    where: Path = Path("/"),
) -> None:
    """Do it.

    Args:
        number: how many,
            in 100 % of cases.
        mode (str): which.

    Returns: nothing.
    """


def test_every_kind_of_parameter() -> None:
    words = "--number 3 --ratio .25 --text y --no-flag --mode b --where /tmp --items 1 2".split()  # noqa: SIM905
    args, kwargs = options.read(many, "prog", ["left", "over", *words])
    assert args == ["left", "over"]
    where = Path("/tmp")
    assert kwargs == {
        "number": 3, "ratio": 0.25, "text": "y", "flag": False, "items": [1, 2], "mode": "b", "where": where,
    }  # fmt: skip


def test_defaults_are_the_signatures() -> None:
    _, kwargs = options.read(many, "prog", ["--number", "1"])
    assert (kwargs["ratio"], kwargs["flag"], kwargs["items"], kwargs["where"]) == (0.5, True, None, Path("/"))


@pytest.mark.parametrize("words", [[], ["--number", "x"], ["--number", "1", "--mode", "c"], ["--nonsense"]])
def test_what_cannot_be_read_is_said_with_the_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        options.read(many, "prog", words)
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: prog")


def test_help_is_the_docstring(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options.read(many, "prog", ["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "Do it." in shown
    assert "how many, in 100 % of cases." in shown
    assert "which. (default: a)" in shown


def test_no_option_can_be_made_of_some_parameters() -> None:
    def mapping(sizes: dict[str, int]) -> None: ...
    def keywords(**more: Any) -> None: ...
    def function(what: Callable[[], None]) -> None: ...

    for main in (mapping, keywords, function):
        with pytest.raises(InvalidCall, match="cannot be an option"):
            options.read(main, "prog", [])
