"""Lists and single objects: tables for people, and data for programs.

cliff knows the formats; this module decides what a cell is in each of them. JSON, YAML and CSV get values unchanged:
numbers, lists, seconds. A table and `-f value` get text for people, with control characters escaped. A table fits
the terminal: cells are wrapped, then columns are left out that the command can spare. If that does not suffice,
each row is shown as a block of lines.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any, TextIO

from cliff.columns import FormattableColumn
from cliff.lister import Lister
from cliff.show import ShowOne

from rackactor.cli.escaping import visible
from rackactor.cli.fitting import as_blocks, fit

#: The formats for programs.
DATA = frozenset({"json", "yaml", "csv"})


class Cell(FormattableColumn[Any]):
    """A value with another text for people.

    Args:
        value: the value, as data.
        text: its text for people.
    """

    def __init__(self, value: Any, text: str) -> None:
        super().__init__(value)
        self._text = text

    def human_readable(self) -> str:
        """Return the text for people."""
        return self._text


class Listed(Lister):
    """A command that lists things.

    Attributes:
        only_data: columns that only data formats have, unless `-c` asks for them.
        spare: columns that a table may leave out, in this order, where the terminal is narrow.
    """

    only_data: Sequence[str] = ()
    spare: Sequence[str] = ()

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Iterable[Sequence[Any]]
    ) -> int:
        """Show the rows."""
        chosen = bool(parsed_args.columns)
        if not chosen and parsed_args.formatter not in DATA:
            parsed_args.columns = [name for name in column_names if name not in self.only_data]
        formatter: Any = _Formatter(self.formatter, parsed_args.formatter, () if chosen else self.spare)
        self.formatter = formatter
        return int(super().produce_output(parsed_args, column_names, data))


class Shown(ShowOne):
    """A command that shows the properties of one object; cliff has no CSV for those."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser."""
        parser = super().get_parser(prog_name)
        for action in parser._actions:
            if action.dest == "formatter":
                action.choices = sorted({*(action.choices or ()), "csv"})
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Run it."""
        self._format = parsed_args.formatter
        if self._format == "csv":
            parsed_args.formatter = "json"  # cliff looks up a formatter of its own
        return int(super().run(parsed_args))

    def produce_output(self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Sequence[Any]) -> int:
        """Show them."""
        formatter: Any = _Formatter(self.formatter, self._format, ())
        self.formatter = formatter
        return int(super().produce_output(parsed_args, column_names, data))


def write_csv(names: Sequence[str], data: Sequence[Any], stdout: TextIO) -> None:
    """Write the properties of one object: a line of names, and a line of values."""
    writer = csv.writer(stdout, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow(names)
    writer.writerow([_datum(value, "csv") for value in data])


class _Formatter:
    """A formatter of cliff's in which each cell has the form for its format."""

    def __init__(self, formatter: Any, format: str, spare: Sequence[str]) -> None:
        self._formatter = formatter
        self._format = format
        self._spare = spare

    def emit_list(
        self, names: Sequence[str], data: Iterable[Sequence[Any]], stdout: TextIO, options: argparse.Namespace
    ) -> None:
        """Show a list."""
        rows = [[self._cell(value) for value in row] for row in data]
        width = _width(options) if self._format == "table" else None
        if width is None or not rows:
            self._formatter.emit_list(names, rows, stdout, options)
            return
        fitted = fit(names, rows, width, self._spare)
        if fitted is None:
            stdout.writelines(line + "\n" for line in as_blocks(names, rows, width))
        else:
            self._formatter.emit_list(*fitted, stdout, _unfitted(options))

    def emit_one(self, names: Sequence[str], data: Sequence[Any], stdout: TextIO, options: argparse.Namespace) -> None:
        """Show the properties of one object."""
        cells = [self._cell(value) for value in data]
        if self._format == "csv":
            write_csv(names, cells, stdout)
            return
        if self._format == "shell":
            _emit_shell(names, cells, stdout, options)
            return
        width = _width(options) if self._format == "table" else None
        fitted = width and fit(("Field", "Value"), list(zip(names, cells, strict=True)), width, ())
        if width is not None and fitted is None:
            stdout.writelines(line + "\n" for line in as_blocks(names, [cells], width))
        elif fitted:
            self._formatter.emit_one(*zip(*fitted[1], strict=True), stdout, _unfitted(options))
        else:
            self._formatter.emit_one(names, cells, stdout, options)

    def _cell(self, value: Any) -> Any:
        if self._format in DATA:
            return _datum(value.machine_readable() if isinstance(value, Cell) else value, self._format)
        if isinstance(value, Cell):
            value = value.human_readable()
        if value is None:
            return ""
        return visible(value) if isinstance(value, str) else value


def _emit_shell(names: Sequence[str], cells: Sequence[Any], stdout: TextIO, options: argparse.Namespace) -> None:
    """Write assignments for a shell; with cliff's own formatter a value could become a command."""
    for name, cell in zip(names, cells, strict=True):
        variable = name.lower().replace(" ", "_")
        if not options.variables or variable in options.variables:
            stdout.write(f"{options.prefix}{variable}={shlex.quote(str(cell))}\n")


def _datum(value: Any, format: str) -> Any:
    if format != "csv":
        return value
    if value is None:
        return ""
    if not isinstance(value, str):
        return value if isinstance(value, int | float) else json.dumps(value)
    return visible(value) if sys.stdout.isatty() else value


def _width(options: argparse.Namespace) -> int | None:
    """Return the greatest width of a table; None: no limit."""
    if options.max_width > 0:
        return int(options.max_width)
    if options.fit_width or sys.stdout.isatty():
        return shutil.get_terminal_size().columns
    return None


def _unfitted(options: argparse.Namespace) -> argparse.Namespace:
    """Return the options without those that make cliff itself narrow columns."""
    return argparse.Namespace(**{**vars(options), "max_width": 1 << 20, "fit_width": False})
