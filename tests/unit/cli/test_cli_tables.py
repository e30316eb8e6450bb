"""What people see: escapes in the place of what a terminal obeys, and tables no wider than it."""

from __future__ import annotations

import argparse
import io
import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from rackactor.cli.escaping import block, visible
from rackactor.cli.fitting import as_blocks, fit
from rackactor.cli.tables import Cell, Listed, Shown
from rackactor_runtime.providers.nova import gc


@pytest.mark.parametrize(
    "text, shown",
    [
        ("words, é, 漢, 🎉 and\u3000blanks", "words, é, 漢, 🎉 and\u3000blanks"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("two\nlines\r\n\tend\x7f", "two\\nlines\\r\\n\\tend\\x7f"),
        ("\x9b31m\x85", "\\x9b31m\\x85"),  # C1: what begins a sequence, and the end of a line
        ("a\u202eb\u2066c\u200bd\u2028e", "a\\u202eb\\u2066c\\u200bd\\u2028e"),
        ("\udcff\ud800", "\\xff\\ud800"),
        ("\U000e0041", "\\U000e0041"),  # a tag: it does not show
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert visible(shown) == shown


def test_a_block_keeps_its_lines() -> None:
    assert block("one\r\n\ttwo\x1b[2J\rthree\n") == "one\n\ttwo\\x1b[2J\\rthree\n"


@given(st.text(st.characters()))
@settings(max_examples=50, deadline=None)
def test_nothing_else_is_left(text: str) -> None:
    shown = visible(text)
    assert all(unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for character in shown)
    shown.encode()


_NAMES = ["PID", "Name", "Revision", "Runs", "Status"]
_CELLS = st.text("ab c漢é", max_size=40)
_ROWS = st.lists(st.tuples(st.integers(0, 10**6), _CELLS, st.integers(0, 99), _CELLS, _CELLS), min_size=1, max_size=6)


@given(_ROWS, st.integers(20, 200))
@settings(max_examples=50, deadline=None)
def test_a_table_is_no_wider_than_the_terminal(rows: list[Any], width: int) -> None:
    printed = _print(Listed, _NAMES, rows, "--max-width", str(width))
    assert all(cell_len(line) <= width for line in printed.splitlines())


@given(_ROWS, st.integers(20, 200))
@settings(max_examples=50, deadline=None)
def test_a_table_says_all_or_leaves_out_whole_columns(rows: list[Any], width: int) -> None:
    fitted = fit(_NAMES, rows, width, ["Revision", "Runs"])
    if fitted is None:
        return
    names, cells = fitted
    assert [name for name in _NAMES if name not in names] in ([], ["Revision"], ["Revision", "Runs"])
    chosen = [index for index, name in enumerate(_NAMES) if name in names]
    for row, shown in zip(rows, cells, strict=True):
        assert [_squeezed(row[index]) for index in chosen] == [_squeezed(cell) for cell in shown]


def _squeezed(cell: Any) -> str:
    return "".join(str(cell).split())


def test_a_table_that_fits_is_as_it_is() -> None:
    assert fit(["A", "B"], [[1, "two words"]], 40, ["A"]) == (["A", "B"], [[1, "two words"]])


def test_what_no_table_can_show_comes_in_blocks() -> None:
    assert list(as_blocks(["PID", "Runs"], [[3, "a b"], [4, ""]], 80)) == ["PID: 3", "Runs: a b", "", "PID: 4"]


# -- the formats -----------------------------------------------------------------------------------------


def _print(command: type[Any], names: Any, data: Any, *words: str) -> str:
    app = argparse.Namespace(stdout=io.StringIO())

    class Made(command):  # type: ignore[misc]
        """Show what there is."""

        app_dist_name = None
        only_data = ("Code",)

        def get_epilog(self) -> str:
            return ""

        def take_action(self, parsed_args: argparse.Namespace) -> Any:
            return names, data

    made = Made(app, None)
    made.run(made.get_parser("rack made").parse_args(words))
    return str(app.stdout.getvalue())


_FACTS = ("Name", "Age", "Code", "Pids")
_ROW = ("a\x1b[31m\nb", Cell(0.25, "250 ms"), None, Cell([3, 4], "3 4"))


def test_data_are_data() -> None:
    expected = {"Name": _ROW[0], "Age": 0.25, "Code": None, "Pids": [3, 4]}
    assert json.loads(_print(Listed, _FACTS, [_ROW], "-f", "json")) == [expected]
    assert json.loads(_print(Shown, _FACTS, _ROW, "-f", "json")) == expected
    assert _print(Shown, _FACTS, _ROW, "-f", "csv", "-c", "Age", "-c", "Pids") == '"Age","Pids"\n0.25,"[3, 4]"\n'
    assert "Age: 0.25" in _print(Listed, _FACTS, [_ROW], "-f", "yaml")
    assert _print(Listed, _FACTS, [_ROW], "-f", "csv") == (
        '"Name","Age","Code","Pids"\n"a\x1b[31m\nb",0.25,"","[3, 4]"\n'
    )


def test_people_read_texts() -> None:
    assert _print(Listed, _FACTS, [_ROW], "-f", "value") == "a\\x1b[31m\\nb 250 ms 3 4\n"
    table = _print(Listed, _FACTS, [_ROW])
    assert "| a\\x1b[31m\\nb | 250 ms | 3 4  |" in table
    assert "Code" not in table
    assert "Code" in _print(Listed, _FACTS, [_ROW], "-c", "Code")
    assert "| Name  | a\\x1b[31m\\nb |" in _print(Shown, _FACTS, _ROW)


def test_rows_are_sorted_by_what_they_are() -> None:
    rows = [(Cell(seconds, text),) for seconds, text in ((9, "9 s"), (600, "10 min"), (70, "1 min"))]
    assert _print(Listed, ["Age"], rows, "-f", "value", "--sort-column", "Age") == "9 s\n1 min\n10 min\n"


def test_a_shell_reads_values_and_runs_none_of_them() -> None:
    assert _print(Shown, ["a name"], ["$(touch x) 'y'"], "-f", "shell") == """a_name='$(touch x) '"'"'y'"'"''\n"""


def test_what_a_cloud_says_is_escaped_too(capsys: pytest.CaptureFixture[str]) -> None:
    row = dict.fromkeys(("kind", "name", "id", "gid", "reason", "result"), "x")
    gc._show([row | {"name": "a\x1b[2J\nb"}], "table", "nothing")
    assert "a\\x1b[2J\\nb  x" in capsys.readouterr().out
