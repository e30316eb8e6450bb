"""Docstrings and signatures that are written once, and shown wherever the same call can be made."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

_F = TypeVar("_F", bound=Callable[..., Any])


def says(method: Callable[..., Any], more: str = "") -> Callable[[_F], _F]:
    """Decorate a function with the docstring and the signature of a method."""

    def describe(function: _F) -> _F:
        text = inspect.getdoc(method) or ""
        function.__doc__ = f"{text}\n\n{more}" if more else text
        signature = inspect.signature(method)
        _, *rest = signature.parameters.values()
        function.__signature__ = signature.replace(parameters=rest)  # type: ignore[attr-defined]
        return function

    return describe


def takes(function: Callable[..., Any]) -> Callable[[_F], _F]:
    """Decorate a method with the parameters of the function that it passes all of its arguments to."""

    def describe(method: _F) -> _F:
        own = inspect.signature(method)
        parameters = [next(iter(own.parameters.values())), *inspect.signature(function).parameters.values()]
        method.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        return method

    return describe
