"""What the command line's words mean, without a group: pipelines, values, paths, pieces of input."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from rackactor.cli.files import inside
from rackactor.cli.pipes import lines, pieces
from rackactor.cli.stages import Stage, StageParser, check
from rackactor.cli.values import from_word, to_bytes, to_json, to_word
from rackactor.errors import InvalidCall


def parse(*words: str) -> Any:
    parser = StageParser(prog="rack pipeline", allow_abbrev=False)
    parser.add_argument("-g", "--group")
    parser.add_argument("--stdin", action="store_true")
    return parser.parse_args(words)


@pytest.mark.parametrize(
    "words, stages",
    [
        (["a b", "c"], [Stage("a b"), Stage("c")]),
        (["a", "b", "-n", "4", "c"], [Stage("a"), Stage("b", 4), Stage("c")]),
        (["a", "-n2", "b", "-n", "03"], [Stage("a", 2), Stage("b", 3)]),
        (["-g", "there", "a", "--stdin", "-n", "2", "b"], [Stage("a", 2), Stage("b")]),
        (["--group=there", "--", "-n", "a"], [Stage("-n"), Stage("a")]),
        ([], []),
    ],
)
def test_the_words_of_a_pipeline(words: Sequence[str], stages: list[Stage]) -> None:
    options = parse(*words)
    assert options.stages == stages
    assert options.stdin is ("--stdin" in words)
    assert options.group == ("there" if any("there" in word for word in words) else None)


@pytest.mark.parametrize("words", [["-n", "4", "a"], ["a", "-n", "0"], ["a", "-n"], ["a", "-n", "²"], ["a", "--oh"]])
def test_words_that_are_no_pipeline(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as info:
        parse(*words)
    assert info.value.code == 2
    assert "rack pipeline: error: " in capsys.readouterr().err


def test_pipelines_that_cannot_be_meant() -> None:
    for stages in ([], [Stage("a"), Stage(" ")]):
        with pytest.raises(InvalidCall):
            check(stages)


def test_a_stage_is_named_after_its_command() -> None:
    assert Stage("/usr/bin/sort -u").plan.name == "sort"
    assert Stage("a | b").plan.target == ["sh", "-c", "a | b"]


@pytest.mark.parametrize(
    "value, shown, word, plain",
    [
        ("text", b"text\n", "text", "text"),
        ("a line\n", b"a line\n", '"a line\\n"', "a line\n"),
        (b"\xffraw\n", b"\xffraw\n", '"\\\\xffraw\\n"', "\\xffraw\n"),
        (5, b"5\n", "5", 5),
        (True, b"true\n", "true", True),
        (None, b"null\n", "null", None),
        (["ä", 1.5], '["ä", 1.5]\n'.encode(), '["ä", 1.5]', ["ä", 1.5]),
        (1j, b"1j\n", "1j", "1j"),
    ],
)
def test_values_as_a_shell_sees_them(value: Any, shown: bytes, word: str, plain: Any) -> None:
    assert (to_bytes(value), to_word(value), to_json(value)) == (shown, word, plain)


def test_words_as_values() -> None:
    assert from_word("5", as_json=False) == "5"
    assert from_word("5", as_json=True) == 5
    with pytest.raises(InvalidCall, match="is not JSON"):
        from_word("five", as_json=True)


@pytest.mark.parametrize("path", ["rack:/a/b", "rack:a/b", "/a/b", "a/b/", "/a/../a/b", "//a/b"])
def test_paths_of_the_group(path: str) -> None:
    assert inside(path) == "/a/b"
    assert inside("rack:") == inside("..") == "/"


@pytest.mark.parametrize(
    "text", [b"", b"one", b"one\ntwo", b"one\r\ntwo\n\n", b"x" * 100_000 + b"\n" + b"y\n" * 50_000]
)
def test_input_comes_in_whole_lines(text: bytes) -> None:
    reading, writing = os.pipe()

    def write() -> None:
        with open(writing, "wb") as file:
            file.write(text)

    writer = threading.Thread(target=write)
    writer.start()
    found = list(pieces(reading))
    writer.join()
    os.close(reading)
    assert b"".join(found) == text
    assert all(piece.endswith(b"\n") or len(piece) >= 64 << 10 for piece in found[:-1])
    assert [line for piece in found for line in lines(piece)][-1:] == text.splitlines(keepends=True)[-1:]
