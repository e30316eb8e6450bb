"""The application behind `rack`: global options, errors as one line, exit codes."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from cliff.app import App
from cliff.commandmanager import CommandManager
from cliff.help import HelpAction

from rackactor._version import __version__
from rackactor.cli import encoding
from rackactor.cli.escaping import block

#: The global options that take an argument.
_WITH_VALUE = frozenset({"--log-file"})
#: The sub-commands that are followed by another program's command line.
_WORDS_OF_OTHERS = frozenset({"run", "pipeline"})


class Commands(CommandManager):
    """The sub-commands, each imported at its use: cliff's own manager imports all of them at every start."""

    def load_commands(self, namespace: str) -> None:
        """Note the commands of an entry point group."""
        self.group_list.append(namespace)
        for found in entry_points(group=namespace):
            self.commands[found.name.replace("_", " ")] = found


class RackApp(App):
    """Run one sub-command."""

    NAME = "rack"
    LOG = logging.getLogger("rack")
    CONSOLE_MESSAGE_FORMAT = "rack: %(message)s"
    # Messages at this level are shown on request only.
    DEFAULT_VERBOSE_LEVEL = 0

    def __init__(self) -> None:
        super().__init__(
            description="Virtual machines as Unix processes: run, ps, kill, wait.",
            version=__version__,
            command_manager=Commands("rack.commands"),
            deferred_help=True,
        )
        # cliff's own, which it has just added, knows one shell, with a package beside it
        complete = EntryPoint("complete", "rackactor.cli.commands.completing:Complete", "rack.commands")
        self.command_manager.commands["complete"] = complete

    def build_option_parser(
        self, description: str | None, version: str | None, argparse_kwargs: dict[str, Any] | None = None
    ) -> argparse.ArgumentParser:
        """Return the parser of the global options, under the name `rack` whatever the program's file is called."""
        App.NAME = self.NAME
        return super().build_option_parser(description, version, {**(argparse_kwargs or {}), "prog": self.NAME})

    def configure_logging(self) -> None:
        """Show errors as plain text, whatever control characters a process, a cloud or a person has put into them."""
        super().configure_logging()
        for handler in logging.getLogger().handlers:
            if type(handler) is logging.StreamHandler:
                handler.setFormatter(_PlainText(self.CONSOLE_MESSAGE_FORMAT))

    def run(self, argv: list[str]) -> int:
        """Run a command line; return the exit code."""
        head, words = split(argv)
        if not words:  # cliff would open its own shell
            self.options = self.parser.parse_args(head)
            HelpAction([], argparse.SUPPRESS, default=self)(self.parser, self.options, None)
        if words[0] not in _WORDS_OF_OTHERS:
            return super().run(argv)
        # What follows these belongs to a script or a command: cliff would take its -v or -h for its own.
        self.options = self.parser.parse_args(head)
        self.configure_logging()
        try:
            return self.run_subcommand(words)
        except BrokenPipeError:
            return 141
        except KeyboardInterrupt:
            return 130


class _PlainText(logging.Formatter):
    """Escapes control characters, and indents further lines of a message, so that none looks like another message."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line, or the lines."""
        return block(super().formatMessage(record)).replace("\n", "\n  ")

    def formatException(self, ei: Any) -> str:
        """Return a traceback."""
        return block(super().formatException(ei))


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split a command line before the sub-command."""
    index = 0
    while index < len(argv) and argv[index].startswith("-"):
        index += 2 if argv[index] in _WITH_VALUE else 1
    return list(argv[:index]), list(argv[index:])


def main(argv: list[str] | None = None) -> int:
    """Run the `rack` command."""
    _open_standard_files()
    if argv is None:
        encoding.leave_ascii()
        gc.freeze()  # what has been imported stays: to look through it for garbage, in the end too, takes it 20 ms
    encoding.prepare()
    code = RackApp().run(sys.argv[1:] if argv is None else argv)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader is gone; without this, Python complains about it again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    return code


def _open_standard_files() -> None:
    """Open standard files that were closed at the start: otherwise a socket would get such a number, and the output."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
            setattr(sys, name, open(number, "r" if number == 0 else "w", closefd=False))  # noqa: SIM115


if __name__ == "__main__":
    sys.exit(main())
