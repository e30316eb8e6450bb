"""A function's annotated parameters as the options of a command line.

`rack run script.py --workers 8` calls `main(workers=8)`. The signature defines the options, the types say how to read
them, the docstring describes them.
"""

from __future__ import annotations

import argparse
import inspect
import re
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any, Literal

from rackactor.errors import InvalidCall

_LISTS = (list, tuple, set, frozenset)


def read(main: Callable[..., Any], prog: str, words: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
    """Parse a command line as the arguments of a function.

    Args:
        main: its parameters are int, float, str, bool, list, Literal and other types that are made of one string;
            `*args` takes the arguments that are not options.
        prog: what the usage line calls the program.
        words: the command line without the program's name.

    Returns: positional arguments, keyword arguments.

    Raises:
        InvalidCall: a parameter cannot be an option.
        SystemExit: after --help, or with 2 and a line on standard error, as argparse does.
    """
    known = vars(_parser(main, prog).parse_args(words))
    positional: list[Any] = []
    for parameter in inspect.signature(main).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            positional = list(known.pop(parameter.name))
    return positional, known


def _parser(main: Callable[..., Any], prog: str) -> argparse.ArgumentParser:
    summary, helps = _explain(inspect.getdoc(main) or "")
    parser = argparse.ArgumentParser(prog=prog, description=summary, allow_abbrev=False)
    hints = typing.get_type_hints(main)
    for parameter in inspect.signature(main).parameters.values():
        _add(parser, parameter, hints.get(parameter.name, str), helps.get(parameter.name, ""))
    return parser


def _add(parser: argparse.ArgumentParser, parameter: inspect.Parameter, hint: Any, text: str) -> None:
    name, text = parameter.name, text.replace("%", "%%")
    if parameter.kind in (parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
        raise InvalidCall(f"the parameter {name!r} of main() cannot be an option: name it, and drop / and **")
    if parameter.kind is parameter.VAR_POSITIONAL:
        parser.add_argument(name, nargs="*", help=text, **_reading(name, hint))
        return
    required = parameter.default is parameter.empty
    default = None if required else parameter.default
    if not required and default is not None:
        text = f"{text} (default: {str(default).replace('%', '%%')})".strip()
    parser.add_argument(
        f"--{name.replace('_', '-')}", dest=name, required=required, default=default, help=text, **_reading(name, hint)
    )


def _reading(name: str, hint: Any) -> dict[str, Any]:
    """Return how argparse reads a value of this type."""
    origin, inside = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        rest = [each for each in inside if each is not type(None)]
        if len(rest) == 1:
            return _reading(name, rest[0])
    elif hint is bool:
        return {"action": argparse.BooleanOptionalAction}
    elif origin is Literal:
        return {"choices": inside, "type": type(inside[0])}
    elif hint in _LISTS or origin in _LISTS or origin is Sequence:
        return {**_reading(name, inside[0] if inside else str), "nargs": "*"}
    elif hint is Any:
        return {"type": str}
    elif isinstance(hint, type):
        return {"type": hint}
    raise InvalidCall(f"the parameter {name!r} of main() cannot be an option: nothing makes a {hint} of a string")


def _explain(doc: str) -> tuple[str, dict[str, str]]:
    """Return the first paragraph of a docstring, and what its `Args:` section says of each parameter."""
    summary = " ".join(doc.partition("\n\n")[0].split())
    helps: dict[str, str] = {}
    found = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)+)", doc, re.MULTILINE)
    if found is None:
        return summary, helps
    name = ""
    for line in found[1].splitlines():
        started = re.match(r"\s+\*{0,2}(\w+)(?: \([^)]*\))?:\s*(.*)", line)
        if started is not None:
            name = started[1]
            helps[name] = started[2]
        elif name and line.strip():
            helps[name] += " " + line.strip()
    return summary, helps
